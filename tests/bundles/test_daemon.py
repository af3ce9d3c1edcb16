"""A running daemon takes up what an import brings, while it answers."""

import json
import time
from contextlib import closing

import pytest

from itl.certificates import load_certificates
from tests.daemons import Daemon, serving
from tests.daemons import trustlab as program
from tvs.schema import connect

PROMISED_SECONDS = 1
SLACK_SECONDS = 1  # of a machine that runs other tests as well


def status(daemon: Daemon, certificate) -> int:
    where = f"127.0.0.1:{daemon.tvs[1]}"
    return json.loads(program("tvs", "verify", where, certificate, "--json").stdout)["status"]


def changes(daemon: Daemon) -> int:
    return sum(event["event"] == "plane.changed" for event in daemon.events())


def wait_for_change(daemon: Daemon, seen: int) -> None:
    deadline = time.monotonic() + PROMISED_SECONDS + SLACK_SECONDS
    while changes(daemon) == seen:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_import_is_in_force_within_a_second(exchanged, trustlab, tmp_path):
    pem = (exchanged.a / "identities" / "ITLRecovery.pem").read_bytes()
    certificate = tmp_path / "signer.cer"
    certificate.write_bytes(load_certificates(pem)[0])
    with serving(exchanged.b) as daemon:
        assert status(daemon, certificate) == 1
        seen = changes(daemon)
        receipt = trustlab(exchanged.b, "bundle", "import", exchanged.shared, "--yes", "--json").one
        wait_for_change(daemon, seen)
        assert status(daemon, certificate) == 0
        seen = changes(daemon)
        trustlab(exchanged.b, "bundle", "undo", receipt["receipt"])
        wait_for_change(daemon, seen)
        assert status(daemon, certificate) == 1


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ("serial = 'text'", ": a column of another type"),
        ("serial = 7", ": a column of another type"),
        ("serial = x'0102', issuer = 'CN=evil', der = x'3000'", "its octets are others"),
    ],
)
def test_a_store_edited_by_hand_is_refused_and_the_daemon_goes_on(
    exchanged, trustlab, columns, reason
):
    trustlab(exchanged.b, "bundle", "import", exchanged.shared, "--yes")
    certificate = exchanged.a / "identities" / "ITLRecovery.pem"
    with serving(exchanged.b) as daemon:
        with closing(connect(exchanged.b / "store.sqlite3")) as connection:
            connection.execute(f"UPDATE certificate SET {columns}")  # noqa: S608 - the lines above
        deadline = time.monotonic() + PROMISED_SECONDS + SLACK_SECONDS
        while not (found := [e for e in daemon.events() if e["event"] == "plane.refused"]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert found[0]["outcome"] == "kept"
        assert reason in found[0]["reason"]
        assert status(daemon, certificate) == 0
        assert daemon.stop() == 0
