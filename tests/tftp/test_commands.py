"""``trustlab tftp get`` and ``put`` against the service."""

import json
import subprocess
import sys

import trio

from tests.tftp.conftest import serving
from tftp.uploads import Uploads


async def trustlab(*arguments, cwd):
    with trio.fail_after(30):
        return await trio.run_process(
            [sys.executable, "-m", "lab", "tftp", *map(str, arguments)],
            capture_stdout=True,
            capture_stderr=True,
            stdin=subprocess.DEVNULL,
            check=False,
            cwd=cwd,
        )


async def test_get_and_put(folder, tmp_path):
    async with serving(folder, uploads=Uploads(tmp_path, max_bytes=20_000)) as service:
        at = f"{service.host}:{service.port}"
        asked = ("--blksize", 1024, "--windowsize", 4, "--json")
        got = await trustlab("get", at, "config", "here", *asked, cwd=tmp_path)
        assert got.returncode == 0
        answer = json.loads(got.stdout)
        assert (answer["file"], answer["bytes"]) == ("config", 10_240)
        assert (tmp_path / "here").read_bytes() == (folder / "config").read_bytes()
        put = await trustlab("put", at, "here", "there", cwd=tmp_path)
        assert put.returncode == 0
        assert (tmp_path / "there").read_bytes() == (folder / "config").read_bytes()
        for arguments, code, words in (
            (("get", at, "missing"), 1, b"ERROR 1"),
            (("put", at, "here", "there"), 1, b"ERROR 6"),
            (("get", at, "config", "--blksize", 7), 2, b"between 8 and 65464"),
            (("get", "host:x", "config"), 2, b"HOST"),
        ):
            ran = await trustlab(*arguments, cwd=tmp_path)
            assert ran.returncode == code
            assert words in ran.stderr
