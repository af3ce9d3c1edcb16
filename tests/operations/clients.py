"""Clients of a daemon that do as a test wants: hold a connection, stop halfway, take their time."""

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client.parser import text_string_to_metric_families

from conf.running import read_record
from tests.daemons import Daemon

PATIENCE = 15.0  # seconds a slow machine may take
ELSEWHERE = "127.0.0.2"  # another address of this machine
BLOCK = 512

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def eventually(true: Callable[[], object]) -> None:
    begin = time.monotonic()
    while not true():
        assert time.monotonic() - begin < PATIENCE
        time.sleep(0.01)


def reasons(daemon: Daemon, *events: str) -> str:
    told = [e for e in daemon.events() if e["event"] in events]
    return " | ".join(f"{event['outcome']}: {event['reason']}" for event in told)


def connected(daemon: Daemon, source: str = "127.0.0.1") -> socket.socket:
    made = socket.create_connection(daemon.tvs, timeout=PATIENCE, source_address=(source, 0))
    made.settimeout(PATIENCE)
    return made


def tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def shaken(daemon: Daemon, source: str = "127.0.0.1") -> ssl.SSLSocket:
    return tls_context().wrap_socket(connected(daemon, source))


def is_closed(one: socket.socket) -> bool:
    try:
        return one.recv(1) == b""
    except ConnectionResetError:
        return True


@contextmanager
def begun(
    daemon: Daemon, source: str, name: str = "ITLFile.tlv", patience: float = PATIENCE
) -> Iterator[bytes]:
    """A transfer that is begun, not acknowledged, and given up at the end; its first packet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.bind((source, 0))
        asking.settimeout(patience)
        asking.sendto(b"\0\1" + name.encode() + b"\0octet\0", daemon.tftp)
        packet, peer = asking.recvfrom(1024)
        try:
            yield packet
        finally:
            asking.sendto(b"\0\5\0\0enough\0", peer)


def is_answered(daemon: Daemon, source: str) -> bool:
    try:
        with begun(daemon, source, patience=0.5):
            return True
    except TimeoutError:
        return False


class Reader:
    """A TFTP client that acknowledges when the test wants it to."""

    def __init__(self, connected: socket.socket, daemon: Daemon, name: str) -> None:
        self.socket = connected
        self.socket.settimeout(PATIENCE)
        self.socket.sendto(b"\0\1" + name.encode() + b"\0octet\0", daemon.tftp)
        self.blocks = 0
        self.received = b""

    def take(self, blocks: int) -> bool:
        """Take and acknowledge ``blocks`` blocks; answers whether that was all."""
        last = self.blocks + blocks
        while self.blocks < last:
            packet, peer = self.socket.recvfrom(1024)
            assert packet[:2] == b"\0\3", packet
            if int.from_bytes(packet[2:4], "big") == self.blocks + 1:  # else sent again meanwhile
                self.blocks += 1
                self.received += packet[4:]
            self.socket.sendto(b"\0\4" + packet[2:4], peer)
            if len(packet) < 4 + BLOCK:
                return True
        return False


@contextmanager
def reading(daemon: Daemon, name: str, source: str = "127.0.0.1") -> Iterator[Reader]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connected:
        connected.bind((source, 0))
        yield Reader(connected, daemon, name)


def parsed(text: str) -> Values:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(daemon: Daemon) -> tuple[str, Values]:
    record = read_record(daemon.state)
    assert record is not None
    assert record.metrics is not None
    assert record.metrics[0] == "127.0.0.1"
    connection = http.client.HTTPConnection(*record.metrics, timeout=10)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        assert response.status == 200
        text = response.read().decode()
    finally:
        connection.close()
    return text, parsed(text)
