"""Several processes that answer on one port."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from itl.certificates import load_certificates
from tests.daemons import Daemon, new_node, serving, trustlab
from tests.tvs.conftest import read_message, shaken
from tvs.messages import Request, encode_request


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_node(tmp_path_factory.mktemp("workers") / "node")


@pytest.fixture(scope="module")
def daemon(state: Path) -> Iterator[Daemon]:
    with serving(state, "--workers", "2") as running:
        yield running


def children(pid: int) -> list[int]:
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(text) for path in lists for text in path.read_text().split()]


def ask(daemon: Daemon, der: bytes) -> int:
    with shaken(daemon.tvs[1]) as tls:
        tls.send(encode_request(Request(1, b"sess", certificate=der)))
        return read_message(tls)[13]


def certificate(state: Path, name: str) -> bytes:
    return load_certificates((state / "identities" / f"{name}.pem").read_bytes())[0]


def seconds_of_processor(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_both_processes_answer_and_one_log_has_all(daemon: Daemon, state: Path) -> None:
    der = certificate(state, "CallManager")
    (worker,) = children(daemon.process.pid)
    before = seconds_of_processor(daemon.process.pid), seconds_of_processor(worker)
    for _ in range(100):
        assert ask(daemon, der) == 0
    after = seconds_of_processor(daemon.process.pid), seconds_of_processor(worker)
    assert all(now > then for now, then in zip(after, before, strict=True))
    begin = time.monotonic()
    while len([e for e in daemon.events() if e["event"] == "tvs.answer"]) < 100:
        assert time.monotonic() - begin < 15
    assert all("time" in event for event in daemon.events())


def test_ctrl_c_of_a_terminal_reaches_the_daemon_alone(daemon: Daemon) -> None:
    """A worker that still starts would end with a traceback; the daemon ends it as it ends."""
    (worker,) = children(daemon.process.pid)
    assert os.getpgid(worker) != os.getpgid(daemon.process.pid)


def test_both_take_up_a_change_of_the_store(daemon: Daemon, state: Path, tmp_path: Path) -> None:
    other = new_node(tmp_path / "other")
    der = certificate(other, "CallManager")
    assert {ask(daemon, der) for _ in range(20)} == {1}
    pem = other / "identities" / "CallManager.pem"
    added = trustlab("store", "add", pem, "--store", "Phone-SAST-trust", state=state)
    assert added.returncode == 0, added.stderr
    begin = time.monotonic()
    while {ask(daemon, der) for _ in range(20)} != {0}:
        assert time.monotonic() - begin < 10


def test_a_worker_that_dies_is_started_again(daemon: Daemon, state: Path) -> None:
    der = certificate(state, "CallManager")
    (worker,) = children(daemon.process.pid)
    os.kill(worker, signal.SIGKILL)
    begin = time.monotonic()
    while not [e for e in daemon.events() if e["event"] == "tvs.worker"]:
        assert time.monotonic() - begin < 15
    # nobody is turned away meanwhile: what the dead one's socket took waits for the next
    assert {ask(daemon, der) for _ in range(30)} == {0}
    assert len(children(daemon.process.pid)) == 1
    assert children(daemon.process.pid) != [worker]


def test_they_end_together(state: Path, tmp_path: Path) -> None:
    with serving(new_node(tmp_path / "node"), "--workers", "2") as running:
        (worker,) = children(running.process.pid)
        begin = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - begin < 6
        assert not Path(f"/proc/{worker}").exists()


def test_workers_do_not_outlive_a_killed_daemon(tmp_path: Path) -> None:
    with serving(new_node(tmp_path / "node"), "--workers", "2") as running:
        (worker,) = children(running.process.pid)
        running.process.kill()
        running.process.wait(10)
        begin = time.monotonic()
        while Path(f"/proc/{worker}").exists():
            assert time.monotonic() - begin < 15
            time.sleep(0.05)


def test_a_taken_port_is_refused_to_several_as_well(daemon: Daemon, tmp_path: Path) -> None:
    other = new_node(tmp_path / "node")
    port = str(daemon.tvs[1])
    taken = trustlab("serve", "--tvs-port", port, "--tftp-port", "0", "--workers", "2", state=other)
    assert taken.returncode == 2
    assert "another program has this port" in taken.stderr
