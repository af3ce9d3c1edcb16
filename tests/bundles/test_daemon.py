"""A running daemon takes up what an import brings, while it answers."""

import json
import time

from itl.certificates import load_certificates
from tests.daemons import Daemon, serving
from tests.daemons import trustlab as program

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
