"""Metrics: off by default, on loopback, true to what phones were answered."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from conf.running import read_record
from lab.cli.main import run
from lab.metrics import Metrics
from tests.daemons import serving, trustlab
from tests.operations.clients import parsed, scraped

CONTRIB = Path(__file__).parents[2] / "contrib"


def test_no_endpoint_unless_it_is_asked_for(node: Path) -> None:
    with serving(node):
        record = read_record(node)
        assert record is not None
        assert record.metrics is None


def test_what_phones_were_answered_is_counted(
    node: Path, founded: Path, setting: Callable[[str, object], None]
) -> None:
    setting("metrics.enabled", True)
    setting("metrics.port", 0)
    with serving(node) as daemon:
        host, port = daemon.tvs
        own = node / "identities" / "CallManager.pem"
        stranger = node.parent / "stranger.pem"
        made = run(
            [
                *("--state", str(node.parent / "elsewhere"), "init", "--cluster", "x"),
                *("--node", "other", "--address", "127.0.0.1"),
            ]
        )
        assert made == 0
        stranger = node.parent / "elsewhere" / "identities" / "CallManager.pem"
        assert run(["tvs", "verify", f"{host}:{port}", str(own), "--json"]) == 0
        assert run(["tvs", "verify", f"{host}:{port}", str(stranger), "--json"]) == 1
        assert trustlab("status", state=node).returncode == 0
        boot = ("phone", "boot", "--tftp", f"127.0.0.1:{daemon.tftp[1]}", "--json")
        run([*boot, "--phone-dir", str(node.parent / "phone"), "--mac", "001122334455"])
        text, values = scraped(daemon)

    def value(name: str, **labels: str) -> float:
        return values[name, tuple(sorted(labels.items()))]

    yes = {"request": "verify", "verdict": "trusted", "reason": "in a store"}
    no = {"request": "verify", "verdict": "not trusted", "reason": "in no store"}
    assert value("trustlab_tvs_answers_total", **yes) == 2
    assert value("trustlab_tvs_answers_total", **no) == 1
    assert value("trustlab_tvs_handshakes_total", version="TLSv1.3") == 3
    assert value("trustlab_tvs_answer_seconds_count") == 3
    files = {"service": "tftp", "outcome": "done", "expected": "false"}
    assert value("trustlab_transfers_total", **files) >= 2
    missing = {"service": "tftp", "outcome": "not found", "expected": "true"}
    assert value("trustlab_transfers_total", **missing) >= 1  # a CTL, on a non-secure cluster
    assert value("trustlab_trusted_certificates") == 5
    assert 1800 < value("trustlab_nearest_expiry_days", of="identities") < 1826
    assert value("trustlab_lists_up_to_date") == 1
    assert value("trustlab_list_bytes", file="ITLFile.tlv") > 5000
    known = set(re.findall(r"^# HELP (\w+)", text, re.MULTILINE))
    assert {re.sub("_(bucket|count|sum)$", "", name) for name in names_used()} <= known


def test_a_refused_change_is_seen(node: Path, setting: Callable[[str, object], None]) -> None:
    setting("metrics.enabled", True)
    setting("metrics.port", 0)
    with serving(node) as daemon:
        (node / "identities" / "CallManager.pem").write_text("garbage")
        while not any(event["event"] == "plane.refused" for event in daemon.events()):
            pass
        values = scraped(daemon)[1]
    assert values["trustlab_lists_up_to_date", ()] == 0
    assert values["trustlab_refused_changes_total", ()] == 1


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("not in any store; issuer and serial unknown", "in no store"),
        (
            "not in any store; serial known, but issued by CN=a, not CN=b",
            "serial of another issuer",
        ),
        (
            "not in any store; issuer and serial unknown; a certificate … renewed after the export",
            "renewed after the export",
        ),
        ("the query names no issuer", "incomplete request"),
        ("refused by the override for SEP1; else: in X", "override"),
        ("command 9 is not known; answered by 10, status 1 (assumed)", "unknown command"),
        ("something new", "other"),
    ],
)
def test_reasons_are_sorted_into_few_kinds(reason: str, kind: str) -> None:
    metrics = Metrics()
    for device in ("SEP1", "SEP2"):  # who asked never becomes a label
        metrics.read(
            {
                "event": "tvs.answer",
                "device": device,
                "request": device,
                "outcome": "not trusted",
                "reason": reason,
                "milliseconds": 1,
            }
        )
    labels = {"request": "other", "verdict": "not trusted", "reason": kind}
    key = ("trustlab_tvs_answers_total", tuple(sorted(labels.items())))
    assert parsed(metrics.text().decode())[key] == 2


def names_used() -> set[str]:
    """The metrics that the dashboard and the alert rules look at."""
    files = [CONTRIB / "grafana-dashboard.json", CONTRIB / "alerts.yaml"]
    return set(re.findall(r"\btrustlab_[a-z_]+", " ".join(path.read_text() for path in files)))


def test_the_dashboard_is_one() -> None:
    dashboard = json.loads((CONTRIB / "grafana-dashboard.json").read_text())
    assert dashboard["title"] == "trustlab"
    places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    assert len(places) == len(set(places)) >= 8
    assert all(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
