"""The daemon under a service manager: sockets handed over, notices, reload, drain."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trio

from conf.identity import load_node
from conf.running import read_record
from lab.health import ask_tftp, ask_tvs
from tests import daemons
from tests.daemons import PROGRAM, Daemon, serving, trustlab
from tvs.client import connect

PATIENCE = 15.0  # seconds a slow machine may take
BLOCK = 512


def eventually(true: Callable[[], object]) -> None:
    begin = time.monotonic()
    while not true():
        assert time.monotonic() - begin < PATIENCE
        time.sleep(0.01)


@contextmanager
def manager(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket on which a service manager takes notices."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        path = folder / "notify"
        listening.bind(str(path))
        listening.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield listening


def notice(listening: socket.socket, wanted: str) -> str:
    while True:
        got = listening.recv(4096).decode()
        if wanted in got:
            return got


def test_the_manager_hears_of_readiness_life_reload_and_stop(
    node: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    with manager(tmp_path, monkeypatch) as listening, serving(node) as daemon:
        ready = notice(listening, "READY=1")
        assert "STATUS=5 certificates, 1 lists; TVS answered 0 times yes" in ready
        notice(listening, "WATCHDOG=1")
        asked = [e for e in daemon.events() if e["event"] == "tvs.answer"]
        assert asked[0]["device_name"] == "trustlab-health"
        assert asked[0]["outcome"] == "trusted"
        assert "1 times yes" in notice(listening, "STATUS=5 certificates, 1 lists; TVS answered 1")
        daemon.process.send_signal(signal.SIGHUP)
        assert "MONOTONIC_USEC=" in notice(listening, "RELOADING=1")
        notice(listening, "READY=1")
        daemon.process.send_signal(signal.SIGTERM)
        notice(listening, "STOPPING=1")


def test_a_tvs_that_answers_nobody_feeds_no_watchdog(
    node: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    setting: Callable[[str, object], None],
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    setting("tvs.max_connections", 1)
    with manager(tmp_path, monkeypatch) as listening, serving(node) as daemon:
        notice(listening, "WATCHDOG=1")

        def held() -> bool:
            with socket.create_connection(daemon.tvs, timeout=PATIENCE) as one:
                one.settimeout(1.0)
                try:
                    return one.recv(1) != b""
                except TimeoutError:  # it is kept open: ours is the one connection
                    before = len(unwell(daemon))
                    eventually(lambda: len(unwell(daemon)) > before + 1)
                    return True

        eventually(held)
        drained = time.monotonic()
        notice(listening, "WATCHDOG=1")  # it is fed again once TVS answers
        assert time.monotonic() - drained < PATIENCE


def unwell(daemon: Daemon) -> list[dict[str, object]]:
    return [event for event in daemon.events() if event["event"] == "daemon.unwell"]


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE)


@pytest.mark.parametrize(
    ("name", "kind"), [("tvs", socket.SOCK_STREAM), ("tftp", socket.SOCK_DGRAM)]
)
async def test_systemd_hands_a_socket_over(
    node: Path, program: Callable[[str], str], name: str, kind: socket.SocketKind
) -> None:
    port = free_port(kind)
    datagram = ["--datagram"] if kind is socket.SOCK_DGRAM else []
    command = [
        program("systemd-socket-activate"),
        *datagram,
        f"--listen=127.0.0.1:{port}",
        f"--fdname={name}",
        "--setenv=PYTHONPATH",
        *PROGRAM,
        *("--state", str(node), "serve", "--tvs-port", "0", "--tftp-port", "0"),
    ]
    with running(command), socket.socket(socket.AF_INET, kind) as first:
        # we are started when the first phone asks; what it asks waits in the socket
        first.setblocking(False)
        with trio.fail_after(PATIENCE):
            while read_record(node) is None:
                with suppress(OSError):
                    first.connect(("127.0.0.1", port))
                    first.send(b"\0\1ITLFile.tlv\0octet\0")
                await trio.sleep(0.05)
        record = read_record(node)
        assert record is not None
        assert {"tvs": record.tvs, "tftp": record.tftp}[name] == ("127.0.0.1", port)
        assert "trusts" in await ask_tvs(load_node(node), record.tvs)
        assert "signature valid" in await ask_tftp(record.tftp, ["ITLFile.tlv"])


def test_all_sockets_are_handed_over_at_once(node: Path) -> None:
    tcp, udp, web = socket.socket(), socket.socket(type=socket.SOCK_DGRAM), socket.socket()
    with tcp, udp, web:
        for one in (tcp, udp, web):
            one.bind(("127.0.0.1", 0))
        for one in (tcp, web):
            one.listen()
        shell = (
            'exec 3<&"$1" 4<&"$2" 5<&"$3"; shift 3; LISTEN_PID=$$ LISTEN_FDS=3 '
            'LISTEN_FDNAMES=tvs:tftp:metrics exec "$@"'
        )
        numbers = [os.dup(one.fileno()) for one in (tcp, udp, web)]
        serve = [*PROGRAM, "--state", str(node), "serve", "--json"]
        with subprocess.Popen(
            ["bash", "-c", shell, "bash", *map(str, numbers), *serve],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=numbers,
        ) as process:
            try:
                assert process.stdout is not None
                ready = json.loads(process.stdout.readline())
                assert ready["tvs"] == list(tcp.getsockname())
                assert ready["tftp"] == list(udp.getsockname())
                record = read_record(node)
                assert record is not None
                assert record.metrics == web.getsockname()
                assert trustlab("status", state=node).returncode == 0
            finally:
                process.terminate()
                process.wait(PATIENCE)
        for number in numbers:
            os.close(number)


def test_an_unknown_socket_is_refused(node: Path) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        shell = 'exec 3<&"$1"; shift; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=tsv exec "$@"'
        refused = subprocess.run(
            ["bash", "-c", shell, "bash", str(one.fileno()), *PROGRAM, "--state", node, "serve"],
            pass_fds=[one.fileno()],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert refused.returncode != 0
    assert "a socket named 'tsv' that is none of ours" in refused.stderr


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
def reading(daemon: Daemon, name: str) -> Iterator[Reader]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connected:
        yield Reader(connected, daemon, name)


async def test_a_reload_under_load_drops_nothing(node: Path) -> None:
    (node / "tftp" / "firmware.bin").write_bytes(payload := os.urandom(200 * BLOCK))
    public = load_node(node)
    own = public.own.certificates["CallManager"]
    text = (node / "trustlab.toml").read_text()
    answers = 0
    with serving(node) as daemon, reading(daemon, "firmware.bin") as slow:
        slow.take(5)
        async with trio.open_nursery() as nursery, connect(*daemon.tvs) as held:

            async def ask() -> None:
                nonlocal answers
                while True:
                    assert (await held.verify(certificate=own)).status == 0
                    await ask_tvs(public, daemon.tvs)
                    await ask_tftp(daemon.tftp, ["ITLFile.tlv"])
                    answers += 1

            nursery.start_soon(ask)
            for number in range(6):
                # each reload changes what is served: the list names another digest
                digest = ("sha512", "sha1")[number % 2]
                (node / "trustlab.toml").write_text(f'{text}\n[lists]\ndigest = "{digest}"\n')
                daemon.process.send_signal(signal.SIGHUP)
                before = answers
                with trio.fail_after(PATIENCE):
                    # what another process does is not to be awaited
                    while changes(daemon) < number + 1 or answers < before + 2:  # noqa: ASYNC110
                        await trio.sleep(0.01)
                slow.take(5)
            nursery.cancel_scope.cancel()
        assert slow.take(len(payload))
        assert slow.received == payload
        ended = [e for e in daemon.events() if e["event"] == "tftp.transfer"]
        assert {event["outcome"] for event in ended} == {"done"}


def changes(daemon: Daemon) -> int:
    return sum(
        event["event"] == "plane.changed" and "settings" in str(event["reason"])
        for event in daemon.events()
    )


def test_a_stop_lets_a_transfer_end(node: Path) -> None:
    (node / "tftp" / "phone.loads").write_bytes(payload := os.urandom(40 * BLOCK))
    with serving(node) as daemon, reading(daemon, "phone.loads") as slow:
        slow.take(3)
        daemon.process.send_signal(signal.SIGTERM)
        eventually(lambda: any(e["event"] == "daemon.stopping" for e in daemon.events()))
        assert slow.take(len(payload))
        assert slow.received == payload
        assert daemon.process.wait(PATIENCE) == 0


def test_it_runs_where_no_memory_becomes_executable(
    node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MemoryDenyWriteExecute= of the unit, by the kernel's own means (PR_SET_MDWE, Linux 6.3)."""
    denied = "import ctypes, os, sys; code = ctypes.CDLL(None).prctl(65, 1, 0, 0, 0); "
    if subprocess.run([sys.executable, "-c", denied + "sys.exit(code)"], check=False).returncode:
        pytest.skip("this kernel has no PR_SET_MDWE")
    start = [sys.executable, "-c", denied + "os.execv(sys.argv[1], sys.argv[1:])"]
    monkeypatch.setattr(daemons, "PROGRAM", [*start, *PROGRAM])
    with serving(node):
        monkeypatch.setattr(daemons, "PROGRAM", PROGRAM)
        asked = trustlab("status", state=node)
        assert asked.returncode == 0, asked.stdout
