"""HTTP first, TFTP where HTTP gives nothing; a file at a time."""

import struct
from dataclasses import replace

import pytest
import trio

from lab.phone.fetch import MAX_FILE_BYTES, FileServer, Transfer, fetch
from tests.phone.servers import serve_files, udp_socket

NAME = "New_Zealand/g3 tones.xml.sgn"


async def serve_http(nursery, answer: bytes, asked: list[bytes]) -> int:
    """A server that answers every request with the same octets; its port."""

    async def talk(stream):
        asked.append(await stream.receive_some())
        await stream.send_all(answer)
        await stream.aclose()

    listeners = await nursery.start(trio.serve_tcp, talk, 0)
    return listeners[0].socket.getsockname()[1]


def answer(body: bytes, status="200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def test_http_is_asked_first_by_an_escaped_name(nursery):
    asked: list[bytes] = []
    server = await serve_files(nursery, {NAME: b"by tftp"})
    server = replace(server, http_port=await serve_http(nursery, answer(b"by http"), asked))
    fetched = await fetch(server, NAME)
    assert (fetched.transport, fetched.data) == ("http", b"by http")
    host = f"127.0.0.1:{server.http_port}"  # RFC 9112 section 3.2: with a port that is not 80
    lines = asked[0].decode().split("\r\n")
    assert lines[:2] == ["GET /New_Zealand/g3%20tones.xml.sgn HTTP/1.1", f"Host: {host}"]


@pytest.mark.parametrize(
    "octets",
    [
        answer(b"", "404 Not Found"),
        answer(b"no", "500 Internal Server Error"),
        b"\x16\x03\x01 not HTTP at all",
        b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\ncut",
        f"HTTP/1.1 200 OK\r\nContent-Length: {MAX_FILE_BYTES + 1}\r\n\r\n".encode() + b"x" * 4096,
        b"",
    ],
    ids=["404", "500", "garbage", "cut", "too long", "closed"],
)
async def test_whatever_is_wrong_with_http_tftp_is_the_fallback(nursery, octets):
    server = await serve_files(nursery, {NAME: b"by tftp"})
    server = replace(server, http_port=await serve_http(nursery, octets, []))
    fetched = await fetch(server, NAME)
    assert (fetched.transport, fetched.data) == ("tftp", b"by tftp")


async def test_http_that_is_refused_or_silent_costs_its_time_only(nursery, autojump_clock):
    server = await serve_files(nursery, {NAME: b"by tftp"}, seconds=1.0)
    silent = await trio.open_tcp_listeners(0, host="127.0.0.1")
    for port in (1, silent[0].socket.getsockname()[1]):
        assert (await fetch(replace(server, http_port=port), NAME)).transport == "tftp"
    await silent[0].aclose()


@pytest.mark.parametrize("host", ["a..b", "a" * 64])
async def test_a_host_that_has_no_possible_name_gives_no_answer(host):
    fetched = await fetch(FileServer(host, 69, 6970, 1.0), NAME)
    assert (fetched.transfer, fetched.transport) == (Transfer.NO_ANSWER, "tftp")
    assert fetched.text == f"{host} cannot be reached: not a host name"


async def test_a_file_may_take_longer_than_the_silence_allowed(nursery, autojump_clock):
    """Four blocks, half a second apart; nothing for one and a half would be too long."""
    asked = udp_socket()

    async def send_slowly():
        with trio.socket.from_stdlib_socket(asked) as own:
            _, phone = await own.recvfrom(2048)
            for number in range(1, 5):
                await trio.sleep(0.5)
                size = 512 if number < 4 else 0
                await own.sendto(struct.pack("!HH", 3, number) + bytes(size), phone)
                await own.recvfrom(2048)

    nursery.start_soon(send_slowly)
    server = FileServer("127.0.0.1", asked.getsockname()[1], None, 1.5)
    fetched = await fetch(server, "load.sbn")
    assert (fetched.transfer, len(fetched.data)) == (Transfer.OK, 3 * 512)


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_a_request_nobody_answers_is_repeated_as_often_as_told(retries, autojump_clock):
    with udp_socket() as silent:
        server = FileServer("127.0.0.1", silent.getsockname()[1], None, 60.0, retries)
        assert (await fetch(server, NAME)).transfer is Transfer.NO_ANSWER
        requests = [silent.recv(2048) for _ in range(retries + 1)]
        assert set(requests) == {b"\0\1" + NAME.encode() + b"\0octet\0"}
        with pytest.raises(BlockingIOError):
            silent.recv(2048)
