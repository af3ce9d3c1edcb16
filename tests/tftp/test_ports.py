"""Ports that transfers share: who is heard there, who is not, and what may go wrong between."""

import errno
import os
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import AsyncExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import trio
import trio.testing

from tests.tftp.conftest import Phone, phone, serving
from tftp import ports
from tftp.admission import Admission
from tftp.content import ErrorReply, Later
from tftp.engine import Engine
from tftp.frames import Frames
from tftp.limits import Limits
from tftp.listener import Listener
from tftp.mmsg import Outbox
from tftp.names import name_of
from tftp.packets import ErrorCode
from tftp.root import Root

pytestmark = pytest.mark.usefixtures("one_thread")
DATA_1 = b"\0\3\0\1"
RRQ_CONFIG = b"\0\1config\0octet\0"


@pytest.fixture
def engine(monkeypatch):
    """The engines that were made."""
    made = []

    def make(**keywords):
        made.append(Engine(**keywords))
        return made[-1]

    monkeypatch.setattr("tftp.server.Engine", make)
    return made


async def whole(client: Phone, name: bytes) -> None:
    """Fetch a file of one block."""
    assert (await client.rrq(name))[:4] == DATA_1
    await client.tell(b"\0\4\0\1")


async def test_a_peer_that_always_asks_from_one_port_does_not_make_others_strangers(folder):
    async with serving(folder) as service, phone(service) as client, phone(service) as other:
        await whole(other, b"one")
        for _ in range(ports.PORTS + 2):
            service.events.clear()
            await whole(client, b"one")
            await service.event(file="one")
        await other.tell(b"\0\4\0\1")
        assert await other.silent()


async def test_who_asks_anew_from_the_port_of_one_that_went_away_is_served(folder, monkeypatch):
    """The kernel tells of the closed port only after the new request has come."""
    real = Outbox.send
    anew = []

    def send(self, descriptor, names, datagrams, note=b""):
        sent = real(self, descriptor, names, datagrams, note)
        if not anew and names and names[0] == name_of(where):
            anew.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            anew[0].bind(where)
            anew[0].sendto(RRQ_CONFIG, (service.host, service.port))
        return sent

    monkeypatch.setattr(Outbox, "send", send)
    async with serving(folder) as service:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first:
            first.bind(("127.0.0.1", 0))
            where = first.getsockname()
            first.sendto(RRQ_CONFIG, (service.host, service.port))
        await service.event(file="config", outcome="gone")
        with anew[0] as second:
            client = Phone(trio.socket.from_stdlib_socket(second), ())
            assert (await client.hear())[:4] == DATA_1
            assert await client.goes_on(1)


async def test_a_last_ack_is_heard_although_another_peer_of_the_port_is_gone(folder, engine):
    async with serving(folder) as service:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
            client = Phone(trio.socket.from_stdlib_socket(plain), (service.host, service.port))
            datagram, last = await client.ask(RRQ_CONFIG), 1
            while len(datagram) == 516:
                datagram, last = await client.ack(last), last + 1
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind(("127.0.0.1", 0))
                gone = other.getsockname()
            port = next(iter(engine[0].ports.ports.values()))
            plain.sendto(b"noise", client.service)  # so that the service port is read first
            port.socket.sendto(b"\0\3\0\1", gone)
            plain.sendto(b"\0\4" + last.to_bytes(2, "big"), client.peer)
            plain.sendto(RRQ_CONFIG, client.service)
            assert (await client.hear(0.5))[:4] == DATA_1
        assert (await service.event(file="config"))["outcome"] == "done"


async def test_what_comes_before_a_socket_is_connected_is_nobodys(folder, monkeypatch):
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    class Raced(socket.SocketType):
        def connect(self, peer) -> None:
            stranger.sendto(b"\0\5\0\0not yours\0", self.getsockname())
            super().connect(peer)

    with stranger:
        async with serving(folder) as service, phone(service) as client:
            monkeypatch.setattr("socket.SocketType", Raced)
            assert (await client.rrq(b"config", b"windowsize", b"4"))[:2] == b"\0\6"
            assert (await client.ack(0))[:4] == DATA_1


async def test_without_a_descriptor_small_files_go_out_of_the_ports_there_are(folder, monkeypatch):
    async with serving(folder) as service, phone(service) as client:
        await whole(client, b"one")

        def none_left(*_, **__):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        monkeypatch.setattr(ports, "Port", none_left)
        await whole(client, b"exact")


async def test_what_was_made_is_sent_again_if_it_is_lost(folder):
    files = Root(folder)
    async with (
        serving(folder, find=lambda name, _: Later(lambda: files.open(name))) as service,
        phone(service) as client,
    ):
        assert (await client.rrq(b"one"))[:4] == DATA_1
        assert (await client.hear())[:4] == DATA_1


async def test_what_was_asked_before_a_stop_is_answered(folder):
    files, stop, go_on = Root(folder), trio.Event(), trio.Event()

    def late():
        trio.from_thread.run(go_on.wait)
        return ErrorReply(ErrorCode.NOT_FOUND, "late")

    def find(name, _):
        return Later(late) if name == "late" else files.open(name)

    async with (
        serving(folder, find=find, stop=stop) as service,
        phone(service) as running,
        phone(service) as client,
    ):
        await client.sock.sendto(b"\0\1late\0octet\0", client.service)
        await running.rrq(b"config")
        stop.set()
        await trio.testing.wait_all_tasks_blocked()
        go_on.set()
        assert await client.hear() == b"\0\5\0\1late\0"


@pytest.mark.parametrize(
    ("source", "head", "answered"),
    [
        (40_000, b"\0\4\0\1", True),
        (40_000, b"\0\3\0\1", True),
        (40_000, b"\0\5\0\1", False),
        (40_000, b"text", False),
        (19, b"\0\4\0\1", False),  # chargen answers whatever it gets
    ],
)
def test_strangers_are_answered_where_it_cannot_go_round(source, head, answered):
    port = ports.Port(socket.AF_INET, ("127.0.0.1", 0), shared=True)
    with port.socket:
        port.stranger(name_of(("127.0.0.1", source)), head)
        assert bool(port.names) is answered


async def test_a_datagram_too_short_to_be_one_is_not_answered(folder):
    async with serving(folder) as service, phone(service) as client, phone(service) as other:
        await client.rrq(b"config")
        for short in (b"", b"\0\4", b"\0\4\0"):
            await other.sock.sendto(short, client.peer)
        assert await other.silent()
        assert await client.goes_on(1)


SMALL_PATH = """
import pathlib, sys, trio
from tests.tftp.conftest import phone, serving

async def main():
    async with serving(pathlib.Path(sys.argv[1])) as service, phone(service) as client:
        print((await client.rrq(b"config"))[:4])

trio.run(main)
"""


def test_a_path_smaller_than_a_block_gets_fragments(folder):
    unshare = shutil.which("unshare")
    space = [str(unshare), "--map-root-user", "--net", "sh", "-c"]
    alone = "ip link set lo mtu 400 up"
    if unshare is None or subprocess.run([*space, alone], check=False).returncode:
        pytest.skip("no network namespace of its own is to be had here")
    asked = f'{alone} && exec "$0" -c "$1" "$2"'
    done = subprocess.run(
        [*space, asked, sys.executable, SMALL_PATH, folder],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout == f"{DATA_1!r}\n"


@pytest.mark.parametrize("number", [errno.EMSGSIZE, errno.ENETUNREACH, errno.ENOBUFS])
async def test_only_a_closed_port_ends_a_transfer(folder, number):
    class Disturbed(socket.SocketType):
        told = False

        def recv(self, *arguments) -> bytes:
            if not self.told:
                self.told = True
                raise OSError(number, os.strerror(number))
            return super().recv(*arguments)

    def link(_name, _peer, made):
        return Disturbed(fileno=made.detach())

    async with serving(folder, link=link) as service, phone(service) as client:
        await client.rrq(b"config")
        assert await client.goes_on(1)
        assert service.events == []


async def test_a_last_ack_counts_although_the_kernel_tells_of_the_closed_port_first(folder):
    async with serving(folder) as service:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
            client = Phone(trio.socket.from_stdlib_socket(plain), (service.host, service.port))
            await client.rrq(b"exact", b"windowsize", b"2")
            await client.ack(0)
            assert (await client.hear())[:4] == b"\0\3\0\2"
            assert (await client.ack(2))[:4] == b"\0\3\0\3"
            plain.sendto(b"\0\4\0\2", client.peer)  # once more: it gets block 3 again, too late
            plain.sendto(b"\0\4\0\3", client.peer)
        assert (await service.event(file="exact"))["outcome"] == "done"


def test_a_peer_that_becomes_slow_keeps_others_waiting_for_one_block(folder):
    """Alone until then it was waited for, since it was near."""
    waited = []

    class Slow(socket.SocketType):
        def recv(self, octets, flags) -> bytes:
            waited.append(not flags)
            made.now += 0.003 if waited[-1] else 0
            return super().recv(octets, flags)

        def send(self, datagram, flags) -> int:
            made.client.sendto(b"\0\4" + datagram[2:4], self.getsockname())
            return super().send(datagram, flags)

    def link(_name, _peer, connected):
        return Slow(fileno=connected.detach())

    (folder / "large").write_bytes(bytes(100_000))
    with by_hand(folder, link=link) as made:
        made.ask(b"\0\1large\0octet\0")
        while not made.events:
            made.engine.drain()
    assert made.events[0]["outcome"] == "done"
    assert True in waited
    assert not any(first and second for first, second in pairwise(waited))


async def test_who_asks_for_something_else_gets_that_alone(folder):
    files, go_on, made = Root(folder), threading.Event(), threading.Event()

    def late():
        go_on.wait()
        made.set()
        return files.open("one")

    def after():
        made.wait()
        return files.open("one")

    slow = {"late": Later(late), "after": Later(after)}
    async with (
        serving(folder, find=lambda name, _: slow.get(name) or files.open(name)) as service,
        phone(service) as client,
        phone(service) as other,
    ):
        await client.sock.sendto(b"\0\1late\0octet\0", client.service)
        assert (await client.rrq(b"config"))[:4] == DATA_1
        first = client.peer
        go_on.set()
        await whole(other, b"after")
        await service.event(file="after", outcome="done")
        assert await client.goes_on(1)
        assert client.peer == first
        assert await client.goes_on(2)
        assert len(service.events) == 1


@dataclass
class ByHand:
    """An engine that runs when it is told to, and a client."""

    client: socket.socket
    where: tuple[str, int] = ("", 0)
    now: float = 100.0
    events: list[dict] = field(default_factory=list)
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        self.engine = Engine(report=self.events.append, clock=lambda: self.now)

    def ask(self, request) -> bytes:
        self.client.sendto(request, self.where)
        self.engine.drain()
        datagram, self.peer = self.client.recvfrom(600)
        return datagram

    def tell(self, datagram) -> None:
        self.client.sendto(datagram, self.peer)

    def let_pass(self, *moments) -> None:
        """Look at the deadlines so many seconds after the beginning."""
        for seconds in moments:
            self.now = 100 + seconds
            self.engine.sweep()


@contextmanager
def by_hand(folder, **keywords):
    files = Root(folder)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(2)
        bound.bind(("127.0.0.1", 0))
        made = ByHand(client, bound.getsockname())
        admission = Admission(
            made.engine,
            Frames(),
            find=lambda name, _: files.open(name),
            make=lambda later, resume: resume(later.make()),
            limits=Limits,
            **keywords,
        )
        with closing(made.engine):
            made.engine.listen(Listener(bound), admission.admit)
            yield made


@pytest.mark.parametrize("late_seconds", [0.2, 6.0])
def test_what_came_in_time_counts_although_we_were_late(folder, late_seconds):
    """The process slept, the phone acknowledged all and closed its port."""
    with by_hand(folder) as made:
        assert made.ask(b"\0\1one\0octet\0")[:4] == DATA_1
        if late_seconds > 1:
            made.let_pass(0.11, 0.22, 0.45)
        made.tell(b"\0\4\0\1")
        made.client.close()
        made.let_pass(0.45 + late_seconds)
        made.engine.drain()
    assert [event["outcome"] for event in made.events] == ["done"]


def test_a_phone_slow_at_first_is_not_waited_for_so_long_again(folder):
    with by_hand(folder) as made:
        first = made.ask(RRQ_CONFIG)
        made.let_pass(0.11, 0.22, 0.45)  # three copies: now it has seconds
        assert [made.client.recv(600), made.client.recv(600)] == [first, first]
        made.tell(b"\0\4\0\1")
        made.engine.drain()
        second = made.client.recv(600)
        made.let_pass(0.65)
        assert made.client.recv(600) == second


async def test_who_is_cut_off_by_the_end_of_the_service_is_told(folder):
    async with AsyncExitStack() as held:
        async with serving(folder) as service:
            clients = [await held.enter_async_context(phone(service)) for _ in range(2)]
            await clients[0].rrq(b"config")
            await clients[1].rrq(b"config", b"windowsize", b"4")
        for client in clients:
            while (told := await client.hear())[:2] in {b"\0\3", b"\0\6"}:
                pass  # a repetition
            assert told == b"\0\5\0\0the server stops\0"
    assert [event["outcome"] for event in service.events] == ["failed", "failed"]


async def test_ports_of_addresses_that_nobody_asks_any_more_are_let_go(folder, engine, monkeypatch):
    monkeypatch.setattr(ports, "MOST_PORTS", 4)
    async with serving(folder, host="0.0.0.0") as service, phone(service) as client:
        client.service = ("127.0.1.250", service.port)
        await client.rrq(b"config")
        lasting = client.peer
        async with phone(service) as other:
            for number in range(1, 21):
                service.events.clear()
                other.service = (f"127.0.1.{number}", service.port)
                await whole(other, b"one")
                await service.event(outcome="done")
                assert len(engine[0].ports.ports) <= 4
        assert await client.goes_on(1)
        assert client.peer == lasting
