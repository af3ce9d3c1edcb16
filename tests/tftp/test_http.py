"""The catalog over HTTP and HTTPS, asked by curl and by octets written out."""

import socket
import subprocess
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trustme

from tftp.content import ErrorReply, Later, Octets
from tftp.http import serve_http
from tftp.packets import ErrorCode
from tftp.root import Root


@asynccontextmanager
async def web(find, **keywords):
    events = []
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        port = bound.getsockname()[1]
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            await nursery.start(
                partial(
                    serve_http,
                    bound,
                    find=find,
                    report=events.append,
                    stop=stop,
                    drain_seconds=0.2,
                    **keywords,
                )
            )
            yield port, events
            stop.set()


async def ask(port, request):
    with trio.fail_after(5):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(request + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
            octets = b""
            while chunk := await stream.receive_some():
                octets += chunk
    head, _, body = octets.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, body


@pytest.fixture
def find(folder):
    root = Root(folder)

    def found(name, _peer):
        if name == "made":
            return Later(lambda: Octets(b"made", key="made"))
        if name == "busy":
            return ErrorReply(ErrorCode.UNDEFINED, "busy")
        return root.open(name)

    return found


async def test_whole_files_parts_and_heads(find, folder):
    config = (folder / "config").read_bytes()
    async with web(find) as (port, events):
        status, headers, body = await ask(port, b"GET /config HTTP/1.1")
        assert (status, body, headers["content-length"]) == (200, config, "10240")
        tag = headers["etag"].encode()
        for asked, expected, span in (
            (b"bytes=0-0", config[:1], "bytes 0-0/10240"),
            (b"bytes=10000-", config[10000:], "bytes 10000-10239/10240"),
            (b"bytes=-5", config[-5:], "bytes 10235-10239/10240"),
            (b"bytes=5-99999", config[5:], "bytes 5-10239/10240"),
        ):
            status, headers, body = await ask(port, b"GET /config HTTP/1.1\r\nRange: " + asked)
            assert (status, body, headers["content-range"]) == (206, expected, span)
        for asked in (b"bytes=9-3", b"bytes=0-1,3-4", b"lines=1-2", b"bytes=-"):
            status, _, body = await ask(port, b"GET /config HTTP/1.1\r\nRange: " + asked)
            assert (status, body) == (200, config)
        status, headers, _ = await ask(port, b"GET /config HTTP/1.1\r\nRange: bytes=10240-")
        assert (status, headers["content-range"]) == (416, "bytes */10240")
        other = b"GET /config HTTP/1.1\r\nRange: bytes=0-0\r\nIf-Range: "
        assert (await ask(port, other + b'"other"'))[0] == 200
        assert (await ask(port, other + tag))[0] == 206
        assert (await ask(port, b"GET /config HTTP/1.1\r\nIf-None-Match: " + tag))[0] == 304
        status, headers, body = await ask(port, b"HEAD /config HTTP/1.1")
        assert (status, headers["content-length"], body) == (200, "10240", b"")
        assert (await ask(port, b"GET /empty HTTP/1.1"))[2] == b""
        assert (await ask(port, b"GET /made HTTP/1.1"))[2] == b"made"
        assert events[0]["event"] == "http.transfer"
        assert events[0]["bytes"] == 10240


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/missing", 404),
        (b"/../root/config", 403),
        (b"/%2e%2e/root/config", 403),
        (b"/..%5croot%5cconfig", 403),
        (b"/config%00", 403),
        (b"/busy", 503),
        (b"/", 403),
    ],
)
async def test_errors(find, target, status):
    async with web(find) as (port, events):
        assert (await ask(port, b"GET " + target + b" HTTP/1.1"))[0] == status
        assert events[0]["event"] == "http.error"
        assert (await ask(port, b"PUT /config HTTP/1.1\r\nContent-Length: 0"))[0] == 405


async def test_https_with_curl(find, folder, tmp_path, program):
    pem = tmp_path / "identity.pem"
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with web(find, identity=pem) as (port, events):
        command = [program("curl"), "-sS", "--cacert", str(tmp_path / "ca.pem")]
        command.append(f"https://127.0.0.1:{port}/config")
        with trio.fail_after(15):
            ran = await trio.run_process(
                command, capture_stdout=True, stderr=subprocess.STDOUT, check=False
            )
        assert ran.stdout == (folder / "config").read_bytes()
        assert events[0]["event"] == "https.transfer"
