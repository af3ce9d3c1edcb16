"""Programs of others as clients of ours, and ours as a client of theirs."""

import socket
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest
import tftpy
import trio

from tests.tftp.conftest import serving
from tftp.client import get, put
from tftp.uploads import Uploads


async def run(*command, feed=b"", cwd):
    with trio.fail_after(20):
        return await trio.run_process(
            list(map(str, command)),
            stdin=feed,
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            cwd=cwd,
        )


@pytest.mark.parametrize("options", [(), ("--tftp-blksize", "1428"), ("--tftp-no-options",)])
async def test_curl(folder, tmp_path, program, options):
    async with serving(folder) as service:
        url = f"tftp://{service.host}:{service.port}/config"
        await run(program("curl"), "-sS", *options, "-o", "got", url, cwd=tmp_path)
    assert (tmp_path / "got").read_bytes() == (folder / "config").read_bytes()


@pytest.mark.parametrize("mode", ["octet", "netascii"])
async def test_tftp_hpa(folder, tmp_path, program, mode):
    (folder / "text").write_bytes(b"one\ntwo\n" * 200)
    async with serving(folder, uploads=Uploads(tmp_path, max_bytes=9999)) as service:
        talk = f"mode {mode}\nget text got\nput got back\nquit\n".encode()
        await run(program("tftp"), service.host, service.port, feed=talk, cwd=tmp_path)
        await service.event(direction="received", outcome="done")
    assert (tmp_path / "got").read_bytes() == (folder / "text").read_bytes()
    assert (tmp_path / "back").read_bytes() == (folder / "text").read_bytes()


async def test_atftp_with_options(folder, tmp_path, program):
    async with serving(folder) as service:
        options = ("--option", "blksize 700", "--option", "tsize 0", "--option", "windowsize 4")
        await run(
            program("atftp"),
            *options,
            *("-g", "-r", "config", "-l", "got", service.host, service.port),
            cwd=tmp_path,
        )
        assert (await service.event(file="config"))["windowsize"] == 4
    assert (tmp_path / "got").read_bytes() == (folder / "config").read_bytes()


async def test_tftpy(folder, tmp_path):
    async with serving(folder) as service:
        client = tftpy.TftpClient(service.host, service.port, {"blksize": 900, "tsize": 0})
        await trio.to_thread.run_sync(client.download, "config", str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == (folder / "config").read_bytes()


async def listened_at(port):
    """Wait until somebody has bound the port: what is sent before that is lost."""
    await trio.to_thread.run_sync(_wait_until_listened_at, port)


def _wait_until_listened_at(port):
    for _ in range(2000):
        if f":{port:04X} 00000000:0000" in Path("/proc/net/udp").read_text():
            return
        time.sleep(0.005)


async def test_our_client_at_atftpd(folder, program, nursery, tmp_path):
    port = _free_port()
    command = [program("atftpd"), "--daemon", "--no-fork", "--port", str(port)]
    command += [
        "--bind-address",
        "127.0.0.1",
        "--user",
        "root",
        "--group",
        "root",
        "--logfile",
        "-",
        str(folder),
    ]
    folder.chmod(0o777)
    folder.parent.chmod(0o755)
    nursery.start_soon(partial(trio.run_process, command, check=False, capture_stderr=True))
    try:
        await listened_at(port)
        octets = await get(
            "127.0.0.1", port, "config", blksize=600, windowsize=5, tsize=True, timeout=1
        )
    finally:
        nursery.cancel_scope.cancel()
    assert octets == (folder / "config").read_bytes()


async def test_our_client_at_tftp_hpa(folder, program, nursery):
    port = _free_port()
    folder.chmod(0o777)
    (folder / "new").touch(0o666)
    (folder / "new").chmod(0o666)
    command = [program("in.tftpd"), "-L", "-a", f"127.0.0.1:{port}", "-u", "root", str(folder)]
    nursery.start_soon(partial(trio.run_process, command, check=False, capture_stderr=True))
    try:
        await listened_at(port)
        octets = await get("127.0.0.1", port, f"{folder}/config", blksize=600, tsize=True)
        await put("127.0.0.1", port, f"{folder}/new", b"stored", tsize=True)
    finally:
        nursery.cancel_scope.cancel()
    assert octets == (folder / "config").read_bytes()
    assert (folder / "new").read_bytes() == b"stored"


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
