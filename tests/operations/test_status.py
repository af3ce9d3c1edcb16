"""`trustlab status` asks the running daemon what a phone would ask."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conf.identity import encode_identity, identity_file
from conf.running import read_record
from conf.selfsigned import self_signed
from lab.cli.main import run
from tests.daemons import Daemon, serving, trustlab


def ask(node: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, object]]:
    capsys.readouterr()
    code = run(["--state", str(node), "status", "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def daemon(founded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon on every port; reached over loopback although it listens on all addresses."""
    state = shutil.copytree(founded, tmp_path_factory.mktemp("status") / "node")
    with serving(state, "--address", "0.0.0.0", "--http-port", "0", "--https-port", "0") as daemon:
        yield daemon


def test_a_daemon_that_is_well(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = ask(daemon.state, capsys)
    assert (code, found["well"], found["pid"]) == (0, True, daemon.process.pid)
    assert [one["service"] for one in found["findings"]] == ["TVS", "TFTP", "HTTP", "HTTPS"]
    tvs, tftp, *_ = found["findings"]
    assert "trusts the node's CallManager certificate" in tvs["found"]
    assert "ITLFile.tlv" in tftp["found"]
    assert "signature valid" in tftp["found"]
    words = trustlab("status", state=daemon.state).stdout
    assert words.count(" ok ") == 4
    assert f"pid {daemon.process.pid}: well" in words


def test_no_endpoint_for_metrics_unless_it_is_asked_for(daemon: Daemon) -> None:
    record = read_record(daemon.state)
    assert record is not None
    assert record.metrics is None


def test_a_daemon_that_hangs_is_unwell(
    daemon: Daemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.health.TIMEOUT_SECONDS", 0.1)
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        code, found = ask(daemon.state, capsys)
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    assert (code, found["well"]) == (1, False)
    assert "did not answer within 0.1 s" in found["findings"][0]["found"]


def test_a_daemon_with_another_certificate_than_the_node_is_unwell(
    node: Path, capsys: pytest.CaptureFixture[str], rsa_keys: Callable
) -> None:
    with serving(node, "--address", "127.0.0.1"):
        os.truncate(node / "store.sqlite3", 0)  # so that it keeps what it has
        for name in ("CallManager", "TVS"):
            stranger = encode_identity(self_signed(name, "other", rsa_keys(0)))
            identity_file(node, name).write_bytes(stranger)
        code, found = ask(node, capsys)
        assert code == 1
        assert "another certificate than the node's TVS identity" in found["findings"][0]["found"]


def test_no_daemon(node: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(node, capsys)[0] == 1
    with serving(node) as daemon:
        daemon.process.kill()
        daemon.process.wait(10)
        assert (node / "run.json").exists()
        code, found = ask(node, capsys)  # what was left behind deceives nobody
    assert (code, found["well"]) == (1, False)
    assert "no daemon runs" in found["why"]


def test_a_folder_without_a_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(tmp_path, capsys)[0] == 1
