"""`trustlab status` asks the running daemon what a phone would ask."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from conf.identity import encode_identity, identity_file
from conf.selfsigned import self_signed
from lab.cli.main import run
from tests.daemons import serving, trustlab


def ask(node: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, object]]:
    capsys.readouterr()
    code = run(["--state", str(node), "status", "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_daemon_that_is_well(node: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(node, "--address", "0.0.0.0") as daemon:  # reached over loopback all the same
        code, found = ask(node, capsys)
        assert (code, found["well"], found["pid"]) == (0, True, daemon.process.pid)
        tvs, tftp = found["findings"]
        assert "trusts the node's CallManager certificate" in tvs["found"]
        assert "ITLFile.tlv" in tftp["found"]
        assert "signature valid" in tftp["found"]
        words = trustlab("status", state=node).stdout
        assert words.count(" ok ") == 2
        assert f"pid {daemon.process.pid}: well" in words


def test_every_port_is_asked(
    node: Path, capsys: pytest.CaptureFixture[str], setting: Callable[[str, object], None]
) -> None:
    for key, value in {"enabled": True, "port": 0, "tls_enabled": True, "tls_port": 0}.items():
        setting(f"http.{key}", value)
    with serving(node):
        code, found = ask(node, capsys)
    assert [one["service"] for one in found["findings"]] == ["TVS", "TFTP", "HTTP", "HTTPS"]
    assert code == 0, found


def test_a_daemon_that_hangs_is_unwell(node: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(node) as daemon:
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            code, found = ask(node, capsys)
        finally:
            daemon.process.send_signal(signal.SIGCONT)
        assert (code, found["well"]) == (1, False)
        assert "did not answer within 5 s" in found["findings"][0]["found"]


def test_a_daemon_with_another_certificate_than_the_node_is_unwell(
    node: Path, capsys: pytest.CaptureFixture[str], rsa_keys: Callable
) -> None:
    with serving(node, "--address", "127.0.0.1"):
        os.truncate(node / "store.sqlite3", 0)  # so that it keeps what it has
        stranger = encode_identity(self_signed("CallManager", "other", rsa_keys(0)))
        identity_file(node, "CallManager").write_bytes(stranger)
        record = node / "cluster" / "pub.json"
        kept = json.loads(record.read_text())
        kept["certificates"]["TVS"], kept["certificates"]["CAPF"] = (
            kept["certificates"]["CAPF"],
            kept["certificates"]["TVS"],
        )
        record.write_text(json.dumps(kept))
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
