"""The daemon as its users meet it: started from the shell, asked by programs, ended by signals."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemons import Daemon, new_node, serving, trustlab

CHANGE_SECONDS = 1.0  # a change of the store is in force within this time


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_node(tmp_path_factory.mktemp("daemon") / "node")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_node(tmp_path_factory.mktemp("daemon") / "other", host="other")


@pytest.fixture(scope="module")
def daemon(state: Path) -> Iterator[Daemon]:
    with serving(state) as running:
        yield running


def at(place: tuple[str, int]) -> str:
    return f"{place[0]}:{place[1]}"


def verify(daemon: Daemon, certificate: Path) -> subprocess.CompletedProcess[str]:
    return trustlab("tvs", "verify", at(daemon.tvs), certificate, "--json")


def test_others_find_it_by_run_json(daemon: Daemon) -> None:
    record = json.loads((daemon.state / "run.json").read_text())
    assert record["pid"] == daemon.process.pid
    assert (tuple(record["tvs"]), tuple(record["tftp"])) == (daemon.tvs, daemon.tftp)


def test_a_second_daemon_on_the_same_state_is_refused(daemon: Daemon) -> None:
    second = trustlab("serve", "--tvs-port", "0", "--tftp-port", "0", state=daemon.state)
    assert second.returncode == 2
    assert "a daemon runs on this node already" in second.stderr
    assert (daemon.state / "run.json").exists()


def test_a_taken_port_is_named(daemon: Daemon, other: Path) -> None:
    ports = ("--tvs-port", str(daemon.tvs[1]), "--tftp-port", "0")
    taken = trustlab("serve", *ports, state=other)
    assert taken.returncode == 2
    assert f"TVS cannot listen on {daemon.tvs[0]} port {daemon.tvs[1]}" in taken.stderr


def test_openssl_completes_a_handshake(daemon: Daemon, program: Callable[[str], str]) -> None:
    shown = subprocess.run(
        [program("openssl"), "s_client", "-connect", at(daemon.tvs), "-brief"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert "CN = pub" in shown.stderr
    assert "CONNECTION ESTABLISHED" in shown.stderr


def test_curl_downloads_a_list_that_verifies(
    daemon: Daemon, tmp_path: Path, program: Callable[[str], str]
) -> None:
    path = tmp_path / "ITLFile.tlv"
    url = f"tftp://{at(daemon.tftp)}/ITLFile.tlv"
    subprocess.run([program("curl"), "-so", path, url], check=True, timeout=20)
    verified = trustlab("itl", "verify", path, "--json")
    assert verified.returncode == 0
    assert json.loads(verified.stdout)["verdict"] == "valid"
    shown = json.loads(trustlab("itl", "show", path, "--json").stdout)
    assert [record["role"]["name"] for record in shown["records"]] == [
        "SAST",
        "SAST",
        "TFTP",
        "CAPF",
        "TVS",
    ]


def test_a_change_of_the_store_by_another_process_is_taken_up(daemon: Daemon, other: Path) -> None:
    certificate = other / "identities" / "ITLRecovery.pem"
    assert verify(daemon, certificate).returncode == 1
    where = ("--store", "Phone-SAST-trust", "--type", "ITLRecovery")
    added = trustlab("store", "add", certificate, *where, state=daemon.state)
    assert added.returncode == 0, added.stderr
    begin = time.monotonic()
    while (answer := verify(daemon, certificate)).returncode == 1:
        assert time.monotonic() - begin < 10 * CHANGE_SECONDS, answer.stderr
    changed = next(e for e in daemon.events() if e["event"] == "plane.changed")
    answers = [e for e in daemon.events() if e["event"] == "tvs.answer"]
    assert changed["outcome"] == "in force"
    assert answers[-1]["outcome"] == "trusted"
    roles = json.loads(answer.stdout)["roles"]
    assert roles == [{"code": 0, "name": "SAST"}, {"code": 3, "name": "TFTP"}]


def test_silent_clients_disturb_nobody(daemon: Daemon) -> None:
    silent = [socket.create_connection(daemon.tvs, timeout=10) for _ in range(200)]
    try:
        answer = verify(daemon, daemon.state / "identities" / "CallManager.pem")
        assert answer.returncode == 0, answer.stderr
    finally:
        for connection in silent:
            connection.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_and_ends_within_three_seconds(other: Path, number: int) -> None:
    with serving(other) as running:
        idle = socket.create_connection(running.tvs, timeout=10)
        begin = time.monotonic()
        assert running.stop(number) == 0
        assert time.monotonic() - begin < 3
        idle.close()
    assert not (other / "run.json").exists()


def test_after_kill_minus_nine_it_starts_again(other: Path) -> None:
    with serving(other) as running:
        running.process.kill()
        running.process.wait(10)
    assert (other / "run.json").exists()
    with serving(other) as running:
        assert running.stop() == 0


def test_a_bad_settings_file_keeps_the_old_settings(other: Path) -> None:
    path = other / "trustlab.toml"
    good = path.read_text()
    with serving(other) as running:
        try:
            path.write_text(good + "\n[tvs]\nprot = 1\n")
            running.process.send_signal(signal.SIGHUP)
            begin = time.monotonic()
            while not any(event["event"] == "plane.refused" for event in running.events()):
                assert time.monotonic() - begin < 10
                os.sched_yield()
            refused = next(e for e in running.events() if e["event"] == "plane.refused")
            assert "tvs.prot: unknown key" in refused["reason"]
            assert verify(running, other / "identities" / "CAPF.pem").returncode == 0
        finally:
            path.write_text(good)


def test_nodes_of_a_cluster_name_each_others_ports(tmp_path: Path) -> None:
    first = new_node(tmp_path / "first")
    second = new_node(tmp_path / "second", "--join", first, "--address", "127.0.0.2", host="sub")
    with serving(first) as one, serving(second, "--address", "127.0.0.2") as two:
        for state in (first, second):
            records = {
                path.stem: json.loads(path.read_text()) for path in (state / "cluster").iterdir()
            }
            assert records["pub"]["tvs_port"] == one.tvs[1]
            assert records["sub"]["tvs_port"] == two.tvs[1]


def test_one_node_vouches_for_the_certificates_of_the_other(tmp_path: Path) -> None:
    first = new_node(tmp_path / "first")
    second = new_node(tmp_path / "second", "--join", first, host="sub")
    with serving(first) as one:
        for name in ("CallManager", "TVS"):
            answer = verify(one, second / "identities" / f"{name}.pem")
            assert answer.returncode == 0, answer.stderr
