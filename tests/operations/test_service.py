"""The daemon under a service manager: sockets handed over, notices, reload, drain."""

import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import trio

from conf.node import load_node
from conf.running import read_record
from lab.health import ask_tftp, ask_tvs
from lab.systemd import SOCKET_KINDS
from tests.daemons import PROGRAM, Daemon, serving, trustlab
from tests.operations.clients import BLOCK, PATIENCE, eventually, reading


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


def answers(daemon: Daemon) -> list[dict[str, object]]:
    return [event for event in daemon.events() if event["event"] == "tvs.answer"]


def test_the_manager_hears_of_readiness_life_reload_and_stop(
    node: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    with manager(tmp_path, monkeypatch) as listening, serving(node) as daemon:
        ready = notice(listening, "READY=1")
        assert "STATUS=5 certificates, 1 lists; TVS answered 0 times yes" in ready
        notice(listening, "WATCHDOG=1")
        eventually(lambda: answers(daemon))
        assert answers(daemon)[0]["device_name"] == "trustlab-health"
        assert answers(daemon)[0]["outcome"] == "trusted"
        assert "1 times yes" in notice(listening, "STATUS=5 certificates, 1 lists; TVS answered 1")
        daemon.process.send_signal(signal.SIGHUP)
        assert "MONOTONIC_USEC=" in notice(listening, "RELOADING=1")
        notice(listening, "READY=1")
        daemon.process.send_signal(signal.SIGTERM)
        notice(listening, "STOPPING=1")


def test_there_is_no_readiness_without_lists(
    node: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (node / "identities" / "ITLRecovery.pem").write_text("garbage")
    with manager(tmp_path, monkeypatch) as listening:
        failed = trustlab("serve", "--tvs-port", "0", "--tftp-port", "0", state=node)
        listening.settimeout(0)
        with pytest.raises(BlockingIOError):
            listening.recv(4096)
    assert failed.returncode == 2
    assert "ITLRecovery.pem: no readable private key" in failed.stderr


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
    with ExitStack() as opened:
        passed = {
            name: opened.enter_context(socket.socket(type=kind))
            for name, kind in SOCKET_KINDS.items()
        }
        for one in passed.values():
            one.bind(("127.0.0.1", 0))
            if one.type == socket.SOCK_STREAM:
                one.listen()
        # moved up first: a socket's own number may be one of those that systemd hands over
        numbers = [fcntl.fcntl(one, fcntl.F_DUPFD, 100) for one in passed.values()]
        moves = " ".join(f"{3 + place}<&{number}" for place, number in enumerate(numbers))
        shell = (
            f"exec {moves}; LISTEN_PID=$$ LISTEN_FDS={len(passed)} "
            f'LISTEN_FDNAMES={":".join(passed)} exec "$@"'
        )
        serve = [*PROGRAM, "--state", str(node), "serve", "--json"]
        with subprocess.Popen(
            ["bash", "-c", shell, "bash", *serve],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=numbers,
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline()
                record = read_record(node)
                assert record is not None
                # served whatever the settings say: HTTP, HTTPS and metrics are off there
                assert {name: getattr(record, name) for name in passed} == {
                    name: one.getsockname() for name, one in passed.items()
                }
                status = trustlab("status", state=node)
                assert status.returncode == 0
                assert status.stdout.count("signature valid") == 3
            finally:
                process.terminate()
                process.wait(PATIENCE)
        for number in numbers:
            os.close(number)


@pytest.mark.parametrize(
    ("name", "family"), [("tsv", socket.AF_INET), ("tftp", socket.AF_INET), ("tvs", socket.AF_UNIX)]
)
def test_an_unknown_socket_is_refused(node: Path, name: str, family: int) -> None:
    with socket.socket(family) as one:
        one.bind(("127.0.0.1", 0) if family == socket.AF_INET else "")
        one.listen()
        shell = f'exec 3<&"$1"; shift; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name} exec "$@"'
        refused = subprocess.run(
            ["bash", "-c", shell, "bash", str(one.fileno()), *PROGRAM, "--state", node, "serve"],
            pass_fds=[one.fileno()],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert refused.returncode == 3
    assert f"a socket named {name!r} that is none of ours" in refused.stderr


def test_a_stop_lets_a_transfer_end(node: Path) -> None:
    (node / "tftp" / "phone.loads").write_bytes(payload := os.urandom(40 * BLOCK))
    with serving(node) as daemon, reading(daemon, "phone.loads") as slow:
        slow.take(3)
        daemon.process.send_signal(signal.SIGTERM)
        eventually(lambda: any(e["event"] == "daemon.stopping" for e in daemon.events()))
        assert slow.take(len(payload))
        assert slow.received == payload
        assert daemon.process.wait(PATIENCE) == 0
