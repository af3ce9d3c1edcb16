"""The catalog over HTTP and HTTPS, asked by curl and by octets written out."""

import random
import socket
import ssl
import subprocess
from contextlib import asynccontextmanager, suppress
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


async def event(events, **wanted):
    """The first event with these values, once there is one."""
    with trio.fail_after(5):
        while True:
            for each in events:
                if all(each.get(key) == value for key, value in wanted.items()):
                    return each
            await trio.sleep(0.005)  # reports come by a plain call


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
            (b"Bytes=-99999", config, "bytes 0-10239/10240"),
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
        for known in (tag, b"W/" + tag, b'"other", ' + tag, b'"x"\r\nIf-None-Match: ' + tag, b"*"):
            asked = b"GET /config HTTP/1.1\r\nIf-None-Match: " + known
            status, headers, body = await ask(port, asked)
            assert (status, headers["etag"].encode(), body) == (304, tag, b"")
        assert (await ask(port, b'GET /config HTTP/1.1\r\nIf-None-Match: "other"'))[0] == 200
        for more in (b"", b"\r\nRange: bytes=0-0"):  # which is of GET alone
            status, headers, body = await ask(port, b"HEAD /config HTTP/1.1" + more)
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
        (b"http://x/../root/config", 403),
        (b"*", 404),
        (b"/con%fffig", 404),
        (b"/%2fdev/null", 404),
        (b"/proc/self/environ", 404),
        (b"http://[::1/x", 400),
        (b"http://x%E2%84%80/x", 400),
        (b"/" + b"n" * 256, 414),
    ],
)
async def test_errors(find, target, status):
    async with web(find) as (port, events):
        assert (await ask(port, b"GET " + target + b" HTTP/1.1"))[0] == status
        assert events[0]["event"] == "http.error"
        status, headers, _ = await ask(port, b"PUT /config HTTP/1.1\r\nContent-Length: 0")
        assert (status, headers["allow"]) == (405, "get, head")
        assert events[1]["status"] == 405


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
        assert (await event(events, event="https.transfer"))["bytes"] == 10240


async def test_an_identity_that_was_renewed_is_shown_to_the_next_client(find, tmp_path):
    pem = tmp_path / "identity.pem"
    authorities = trustme.CA(), trustme.CA()
    async with web(find, identity=pem_of(authorities[0], pem)) as (port, _):
        for authority in (*authorities, authorities[1]):
            if authority is authorities[1]:
                pem_of(authority, pem)
            context = ssl.create_default_context()
            authority.configure_trust(context)
            stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", port, ssl_context=context)
            async with stream:
                await stream.do_handshake()
        pem.write_text("no identity")  # the one before stays
        stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", port, ssl_context=context)
        async with stream:
            await stream.do_handshake()


def pem_of(authority, path):
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


@pytest.fixture
def large(folder):
    """A file that no socket's buffers hold."""
    (folder / "large").write_bytes(bytes(24 << 20))
    return folder / "large"


async def opened(port, target=b"/large"):
    """A connection that asked for something and reads little of it."""
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.connect(("127.0.0.1", port))
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(made.dup()))
    await stream.send_all(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert await stream.receive_some(500)
    return stream


async def test_a_failure_of_ours_is_told_and_the_service_goes_on(find):
    def broken(name, peer):
        if name == "broken":
            raise RuntimeError("no such luck")
        return find(name, peer)

    async with web(broken) as (port, events):
        status, _, body = await ask(port, b"GET /broken HTTP/1.1")
        assert (status, body) == (500, b"the server failed; its log says why\n")
        told = await event(events, event="http.error", status=500)
        assert told["reason"] == "RuntimeError: no such luck"
        assert (await ask(port, b"GET /one HTTP/1.1"))[0] == 200


async def test_a_client_that_goes_away_is_told_as_gone(find, large):
    async with web(find) as (port, events):
        stream = await opened(port)
        await stream.aclose()
        told = await event(events, file="large")
        assert told["outcome"] == "gone"
        assert told["bytes"] < large.stat().st_size


async def test_a_client_that_takes_nothing_is_let_go(find, large, monkeypatch):
    monkeypatch.setattr("tftp.http_server.WRITE_SECONDS", 0.05)
    async with web(find) as (port, events), await opened(port):
        assert (await event(events, file="large"))["outcome"] == "gone"


async def test_a_file_that_changes_midway_ends_the_connection_early(find, large):
    async with web(find) as (port, events):
        async with await opened(port) as stream:
            large.write_bytes(b"something else")
            got = 500
            with trio.fail_after(5):
                while chunk := await stream.receive_some():
                    got += len(chunk)
        assert got < 24 << 20
        told = await event(events, file="large")
        assert (told["outcome"], told["reason"]) == (
            "failed",
            "the file changed during the transfer",
        )


async def test_connections_are_bounded_for_each_address_and_in_all(find, monkeypatch):
    monkeypatch.setattr("tftp.http_server.MAX_PER_ADDRESS", 2)
    monkeypatch.setattr("tftp.http_server.MAX_CONNECTIONS", 3)
    async with web(find) as (port, events):

        async def served(host):
            stream = await trio.open_tcp_stream("127.0.0.1", port, local_address=host)
            held.append(stream)
            with trio.fail_after(5), suppress(trio.BrokenResourceError):
                await stream.send_all(b"HEAD /one HTTP/1.1\r\nHost: x\r\n\r\n")
                return (await stream.receive_some()).startswith(b"HTTP/1.1 200")
            return False

        held = []
        assert [await served("127.0.0.1") for _ in range(3)] == [True, True, False]
        refused = await event(events, event="http.refused_connection")
        assert refused["reason"] == "2 connections of this address are open, 2 in all"
        assert [await served(f"127.0.0.{n}") for n in (2, 3)] == [True, False]
        await held[0].aclose()
        with trio.fail_after(5):
            while not await served("127.0.0.3"):  # the server has to see the end first
                await trio.lowlevel.checkpoint()
        for stream in held:
            await stream.aclose()


async def test_a_request_that_does_not_arrive_and_idleness_end(find, monkeypatch):
    monkeypatch.setattr("tftp.http_server.IDLE_SECONDS", 0.1)
    async with web(find) as (port, _):
        for said in (b"", b"GET /one HTTP/1.1\r\nA: "):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                if said:
                    await stream.send_all(said)
                with trio.fail_after(5):
                    assert await stream.receive_some() == b""


async def raw(port, octets, connect=trio.open_tcp_stream):
    """All that comes for ``octets``, until the server ends the connection."""
    async with await connect("127.0.0.1", port) as stream:
        await stream.send_all(octets)
        got = b""
        with trio.fail_after(5), suppress(trio.BrokenResourceError):
            while chunk := await stream.receive_some():
                got += chunk
        return got


HOST = b" HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("request_octets", "status"),
    [
        (b"GET /one\r\n\r\n", 400),
        (b"GET /one HTTP/1.1\r\n\r\n", 400),
        (b"GET /on\xffe" + HOST + b"\r\n", 400),
        (b"GET /one" + HOST + b"A : b\r\n\r\n", 400),
        (b"GET /one" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"GET /one" + HOST + b"A: " + b"a" * 40_000, 431),
        (b"GET /one" + HOST + b"A: b\r\n" * 9000, 431),
        (b"\x16\3\1\0\xf8\1\0\0\xf4\3\3" + bytes(300), 400),
        (b"POST /one" + HOST + b"Content-Length: 99999999\r\n\r\nx", 405),
        (
            b"GET /one" + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            403,
        ),
    ],
)
async def test_what_is_no_request_is_refused_and_the_connection_ends(find, request_octets, status):
    async with web(find) as (port, _):
        got = await raw(port, request_octets)
        assert got.startswith(b"HTTP/1.1 %d " % status)
        assert got.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("secure", [False, True])
async def test_http_2_is_not_spoken(find, tmp_path, secure):
    connect, keywords = trio.open_tcp_stream, {}
    if secure:
        authority, context = trustme.CA(), ssl.create_default_context()
        authority.configure_trust(context)
        keywords = {"identity": pem_of(authority, tmp_path / "identity.pem")}
        connect = partial(trio.open_ssl_over_tcp_stream, ssl_context=context, https_compatible=True)
    upgrade = b"Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n"
    async with web(find, **keywords) as (port, events):
        got = await raw(port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", connect)
        assert got.startswith(b"HTTP/1.1 505 ")
        assert b"HTTP/1.1 400 " in got  # to what stands behind the preface's first line
        assert events[0]["status"] == 505
        got = await raw(port, b"GET /one" + HOST + upgrade + b"\r\n", connect)
        assert got.startswith(b"HTTP/1.1 200 ")
        assert got.endswith(b"\r\n\r\n\0")


async def test_no_second_request_hides_in_a_first_one_with_two_lengths(find):
    hidden = b"GET /config" + HOST + b"\r\n"
    async with web(find) as (port, events):
        two = b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        # the first may be lost to what follows it
        assert (await raw(port, b"GET /one" + HOST + two + hidden)).count(b"HTTP/1.1 ") < 2
        assert (await ask(port, b"GET /exact HTTP/1.1"))[0] == 200
        await event(events, file="exact")
        assert "config" not in [each["file"] for each in events]


async def test_noise_ends_its_own_connection_only(find):
    noise = random.Random(6)
    words = [b"GET ", b"/one", b" HTTP/1.1", b"\r\n", b"Host: x", b": ", b"\0", b"PRI * HTTP/2.0"]
    words += [b"\r\n\r\n", b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"-1", b"\xff"]
    words += [b"Upgrade: h2c", b"SM\r\n\r\n", b"\0\0\4\1\5\0\0\0\1abcd", b"Connection: upgrade"]
    async with web(find) as (port, _):
        for _ in range(150):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                with suppress(trio.BrokenResourceError):
                    await stream.send_all(b"".join(noise.choices(words, k=12)))
        assert (await ask(port, b"GET /one HTTP/1.1"))[2] == b"\0"
