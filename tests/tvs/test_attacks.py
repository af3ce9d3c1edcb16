"""While each attack runs, a good client is answered within a second and memory stays flat.

The server is the daemon itself, in a process of its own; what is measured is its resident memory.
"""

import os
import re
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from OpenSSL import SSL

from itl.certificates import load_certificates
from tests.daemons import Daemon, new_node, serving
from tests.tvs.conftest import read_message
from tvs.messages import Request, encode_request
from tvs.tls import client_context

pytestmark = pytest.mark.timeout(120)

GOOD_SECONDS = 1.0
FLAT_MEGABYTES = 25
HELLO = bytes.fromhex("16030100c8010000c40303")  # a record of 200 octets that begins a hello


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    state = new_node(tmp_path_factory.mktemp("attacks") / "node")
    with serving(state) as running:
        yield running
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def certificate(daemon: Daemon) -> bytes:
    pem = (daemon.state / "identities" / "CallManager.pem").read_bytes()
    return load_certificates(pem)[0]


def megabytes(daemon: Daemon) -> float:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def connected(daemon: Daemon, source: str = "127.0.0.1") -> socket.socket:
    address = None if source == "127.0.0.1" else (source, 0)  # else the kernel picks the port late
    return socket.create_connection(daemon.tvs, timeout=10, source_address=address)


@contextmanager
def shaken(daemon: Daemon, source: str = "127.0.0.1") -> Iterator[SSL.Connection]:
    with connected(daemon, source) as sock:
        sock.settimeout(None)
        tls = SSL.Connection(client_context("modern"), sock)
        tls.set_connect_state()
        tls.do_handshake()
        yield tls


@pytest.fixture
def good(daemon: Daemon, certificate: bytes) -> Callable[..., None]:
    """``good()``: a good client is answered, and in time.

    A busy machine gets three tries; a server that is held up misses them all.
    """

    def seconds(source: str) -> float:
        begin = time.monotonic()
        with shaken(daemon, source) as tls:
            tls.send(encode_request(Request(1, b"good", certificate=certificate)))
            answer = read_message(tls)
        assert answer[10:14] == b"\7\0\1\0"
        return time.monotonic() - begin

    def ask(source: str = "127.0.0.1") -> None:
        tries = [seconds(source)]
        while tries[-1] >= GOOD_SECONDS and len(tries) < 3:
            tries.append(seconds(source))
        assert tries[-1] < GOOD_SECONDS, tries

    ask()
    return ask


@pytest.fixture
def flat(daemon: Daemon) -> Iterator[None]:
    before = megabytes(daemon)
    yield
    assert megabytes(daemon) - before < FLAT_MEGABYTES


@contextmanager
def crowd(daemon: Daemon, number: int, octets: bytes = b"") -> Iterator[list[socket.socket]]:
    """``number`` clients that connect, send ``octets`` and say nothing more."""
    with ExitStack() as stack:
        sockets = []
        for _ in range(number):
            sockets.append(stack.enter_context(connected(daemon)))
            if octets:
                sockets[-1].sendall(octets)
        yield sockets


def test_a_thousand_silent_clients(daemon, good, flat) -> None:
    with crowd(daemon, 1000):
        for _ in range(5):
            good()


def test_half_a_hello(daemon, good, flat) -> None:
    with crowd(daemon, 500, HELLO):
        for _ in range(5):
            good()


def test_an_octet_at_a_time(daemon, good, flat) -> None:
    with crowd(daemon, 200) as slow:
        for number in HELLO:
            for sock in slow:
                sock.send(bytes((number,)))
            good()


def test_a_header_that_promises_65535_octets_and_stops(daemon, good, flat) -> None:
    promise = bytes.fromhex("57010100") + b"sess" + b"\xff\xff"
    with ExitStack() as stack:
        for _ in range(150):
            stack.enter_context(shaken(daemon)).send(promise + bytes(100))
        for _ in range(5):
            good()


def test_clients_that_never_read(daemon, good, certificate) -> None:
    request = encode_request(Request(1, b"lazy", certificate=certificate)) * 50
    before = megabytes(daemon)
    with ExitStack() as stack:
        lazy = [stack.enter_context(shaken(daemon)) for _ in range(20)]
        for tls in lazy:
            tls._socket.setblocking(False)
        for _ in range(10):
            for tls in lazy:
                with suppress(SSL.Error):
                    while True:
                        tls.send(request)
            good()
    assert megabytes(daemon) - before < FLAT_MEGABYTES


def test_resets_in_mid_handshake(daemon, good, flat) -> None:
    linger = b"\1\0\0\0\0\0\0\0"  # on, zero seconds: close resets
    for round_number in range(300):
        with connected(daemon) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            sock.setblocking(False)
            tls = SSL.Connection(client_context("modern"), sock)
            tls.set_connect_state()
            with suppress(SSL.WantReadError):
                tls.do_handshake()
        if round_number % 60 == 0:
            good()


def test_garbage(daemon, good, flat) -> None:
    for round_number in range(300):
        with connected(daemon) as sock, suppress(OSError):
            sock.sendall(os.urandom(1 + round_number * 7))
        if round_number % 60 == 0:
            good()


def test_ten_thousand_connects_and_closes(daemon, good, flat) -> None:
    for number in range(10_000):
        connected(daemon).close()
        if number % 1000 == 0:
            good()


def test_handshakes_of_one_address_leave_room_for_another(daemon, good, flat) -> None:
    stop = threading.Event()
    counts = [0] * 48

    def flood(number: int) -> None:
        while not stop.is_set():
            with suppress(OSError, SSL.Error), shaken(daemon):
                counts[number] += 1

    with ThreadPoolExecutor(len(counts)) as pool:
        for number in range(len(counts)):
            pool.submit(flood, number)
        try:
            for _ in range(10):
                good("127.0.0.2")
                time.sleep(0.05)
        finally:
            stop.set()
    assert sum(counts) > 100


def test_five_hundred_idle_connections_are_small(daemon, good, certificate) -> None:
    before = megabytes(daemon)
    with ExitStack() as stack:
        for _ in range(500):
            stack.enter_context(shaken(daemon))
        each = (megabytes(daemon) - before) * 1024 / 500
        good()
    assert each < 50


def test_ten_thousand_silent_connections_are_smaller(daemon, good) -> None:
    number = min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500)
    with crowd(daemon, number):
        good()
        assert megabytes(daemon) < 150
    good()


def test_it_is_still_the_same_process_and_says_what_it_saw(daemon) -> None:
    assert daemon.process.poll() is None
    events = daemon.events()
    outcomes = {event["outcome"] for event in events if event["event"] == "tvs.connection"}
    assert "handshake failed" in outcomes
    assert not [event for event in events if event.get("outcome") == "failed"]
