"""Each limit is a setting that is reached here, while a good client goes on being served."""

import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import trio

from conf.node import Node, load_node
from itl.certificates import describe
from lab.health import ask_tftp, ask_tvs
from tests.daemons import Daemon, serving
from tests.operations.clients import (
    ELSEWHERE,
    begun,
    connected,
    eventually,
    is_answered,
    is_closed,
    reading,
    reasons,
    shaken,
    tls_context,
)
from tvs.client import connect
from tvs.messages import Request, encode_request


def client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    tls = tls_context().wrap_bio(ssl.MemoryBIO(), outgoing)
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


TIGHT = {
    "tvs.handshake_seconds": 0.5,
    "tvs.request_seconds": 0.5,
    "tvs.idle_seconds": 0.5,
    "tvs.write_seconds": 0.5,
    "tvs.max_request_bytes": 1200,
    "tvs.max_connections_per_address": 2,
    "tvs.max_unfinished_handshakes": 3,
    "tftp.max_transfers_per_address": 2,
    "tftp.signatures_per_address": 2,
}
FULL = {
    "tvs.max_connections": 3,
    "tftp.max_transfers": 2,
    "tftp.max_requests_per_second": 20,
}


@contextmanager
def limited(folder: Path, founded: Path, limits: dict[str, object]) -> Iterator[Daemon]:
    node = shutil.copytree(founded, folder / "node")
    for number in range(4):
        (node / "tftp" / f"file{number}.xml").write_text("<a/>")
    with pytest.MonkeyPatch.context() as environment:
        for key, value in limits.items():
            name = key.upper().replace(".", "__")
            environment.setenv(f"TRUSTLAB_SET_{name}", str(value))
        with serving(node) as daemon:
            yield daemon


@pytest.fixture(scope="module")
def tight(founded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with low limits for each peer."""
    with limited(tmp_path_factory.mktemp("tight"), founded, TIGHT) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def full(founded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with low limits for all together."""
    with limited(tmp_path_factory.mktemp("full"), founded, FULL) as daemon:
        yield daemon


@pytest.fixture
def public(founded: Path) -> Node:
    return load_node(founded)


def served(daemon: Daemon, public: Node) -> bool:
    """Whether TVS and TFTP answer a good client."""
    trio.run(ask_tvs, public, daemon.tvs)
    trio.run(ask_tftp, daemon.tftp, ["ITLFile.tlv"])
    return True


def test_deadlines_of_tvs(tight: Daemon, public: Node) -> None:
    with ExitStack() as held:
        silent = held.enter_context(connected(tight, "127.0.0.3"))
        idle = held.enter_context(shaken(tight, "127.0.0.4"))
        halfway = held.enter_context(shaken(tight, "127.0.0.5"))
        halfway.send(b"\x01\x03")
        assert served(tight, public)
        assert is_closed(silent)
        assert is_closed(idle)
        assert is_closed(halfway)
        eventually(lambda: "was begun and not ended" in reasons(tight, "tvs.connection"))
        assert "said nothing" in reasons(tight, "tvs.connection")
        assert served(tight, public)


def test_the_deadline_for_taking_an_answer(tight: Daemon, public: Node) -> None:
    described = describe(public.own.certificates["CallManager"])
    asked = Request(3, b"sess", issuer=described.issuer, serial=described.serial)
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.bind(("127.0.0.6", 0))
        plain.connect(tight.tvs)
        with tls_context().wrap_socket(plain) as deaf, suppress(OSError):
            while True:
                deaf.send(encode_request(asked) * 100)  # what it is answered, it never reads
    eventually(lambda: "the answer was not taken in time" in reasons(tight, "tvs.connection"))
    assert served(tight, public)


def test_the_largest_request(tight: Daemon, public: Node) -> None:
    with shaken(tight, ELSEWHERE) as greedy:
        greedy.send(b"\x01\x01\x01\0\0\0\0\x01" + (1201).to_bytes(2, "big") + bytes(1201))
        assert is_closed(greedy)
        eventually(lambda: "malformed" in reasons(tight, "tvs.connection"))
        assert served(tight, public)


def test_connections_in_all(full: Daemon, public: Node) -> None:
    with ExitStack() as held:

        async def check() -> None:
            async with connect(*full.tvs) as good:
                others = [held.enter_context(connected(full, ELSEWHERE)) for _ in range(2)]
                with connected(full) as refused:
                    assert await trio.to_thread.run_sync(is_closed, refused)
                own = public.own.certificates["TVS"]
                assert (await good.verify(certificate=own)).status == 0  # who is in stays in
                for one in others:
                    one.close()

        trio.run(check)
        eventually(lambda: "open, the limit" in reasons(full, "tvs.refused_connection"))
        eventually(lambda: succeeds(lambda: served(full, public)))


def succeeds(what: Callable[[], object]) -> bool:
    try:
        what()
    except Exception:  # noqa: BLE001  it is asked again
        return False
    return True


def test_connections_of_one_address(tight: Daemon, public: Node) -> None:
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(connected(tight, ELSEWHERE))
        with connected(tight, ELSEWHERE) as refused:
            assert is_closed(refused)
        told = f"open from {ELSEWHERE}, its limit"
        eventually(lambda: told in reasons(tight, "tvs.refused_connection"))
        assert served(tight, public)


def test_unfinished_handshakes(tight: Daemon, public: Node) -> None:
    with ExitStack() as held:
        for number in range(10, 20):
            stuck = held.enter_context(connected(tight, f"127.0.0.{number}"))
            stuck.send(client_hello())
            assert stuck.recv(1) != b""  # it is the server's turn no more
        assert served(tight, public)
        told = "3 handshakes are unfinished, and this is the oldest"
        eventually(lambda: told in reasons(tight, "tvs.connection"))


def test_transfers_of_one_address(tight: Daemon, public: Node) -> None:
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(begun(tight, ELSEWHERE))
        assert not is_answered(tight, ELSEWHERE)
        assert served(tight, public)


def test_transfers_in_all(full: Daemon, public: Node) -> None:
    with reading(full, "ITLFile.tlv") as one, reading(full, "ITLFile.tlv") as other:
        assert not one.take(2)  # the second block shows that the first ACK has come
        assert not other.take(2)
        assert not is_answered(full, ELSEWHERE)
        assert one.take(1000)  # who is in stays in
        assert other.take(1000)
    with begun(full, ELSEWHERE), begun(full, ELSEWHERE):  # these have acknowledged nothing
        eventually(lambda: is_answered(full, "127.0.0.1"))
    eventually(lambda: succeeds(lambda: served(full, public)))


def test_signatures_of_one_address(tight: Daemon, public: Node) -> None:
    got = [opcode(tight, f"file{number}.xml.sgn", ELSEWHERE) for number in range(4)]
    assert got == [3, 3, 5, 5]  # DATA, DATA, ERROR, ERROR
    assert opcode(tight, "file0.xml.sgn", ELSEWHERE) == 3  # signed before: costs nothing
    assert opcode(tight, "file3.xml.sgn", "127.0.0.1") == 3
    assert served(tight, public)


def opcode(daemon: Daemon, name: str, source: str) -> int:
    with begun(daemon, source, name) as packet:
        return packet[1]


def test_requests_of_one_address_in_a_second(full: Daemon, public: Node) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
        flood.bind((ELSEWHERE, 0))
        for number in range(500):
            flood.sendto(b"\0\1none%d\0octet\0" % number, full.tftp)
        eventually(lambda: "more than 20 requests in a second" in reasons(full, "tftp.flood"))
        assert served(full, public)
        answered = sum(event["event"] == "tftp.error" for event in full.events())
        seconds = len([event for event in full.events() if event["event"] == "tftp.flood"])
        assert answered <= 20 * (seconds + 2)
        eventually(lambda: is_answered(full, ELSEWHERE))  # a second later it has its share again
