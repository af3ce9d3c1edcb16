"""Metrics: off by default, on loopback, true to what phones were answered."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.cli.main import run
from lab.metrics import Metrics
from tests.daemons import serving, trustlab
from tests.operations.clients import (
    Values,
    connected,
    eventually,
    is_closed,
    parsed,
    reading,
    reasons,
    scraped,
)
from tftp.transfer import Ending
from tvs.answers import Cause

PROJECT = Path(__file__).parents[2]
CONTRIB = PROJECT / "contrib"
OWN_ASKED = 8  # connections: the kernel deals them out to two processes
SUFFIX = "_(bucket|count|sum)$"


@dataclass(frozen=True)
class Page:
    """A page of metrics."""

    text: str
    values: Values

    def value(self, name: str, **labels: str) -> float:
        return self.values[name, tuple(sorted(labels.items()))]


@pytest.fixture(scope="module")
def page(founded: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """What a daemon with two processes tells after phones asked it, well and badly."""
    folder = tmp_path_factory.mktemp("metrics")
    node = shutil.copytree(founded, folder / "node")
    with (node / "trustlab.toml").open("a") as file:
        file.write("[metrics]\nenabled = true\nport = 0\n")
    with serving(node, "--workers", "2") as daemon:
        host, port = daemon.tvs
        own = node / "identities" / "CallManager.pem"
        stranger = ("--cluster", "x", "--node", "other", "--address", "127.0.0.1")
        assert run(["--state", str(folder / "elsewhere"), "init", *stranger]) == 0
        unknown = folder / "elsewhere" / "identities" / "CallManager.pem"
        asked = ["tvs", "verify", f"{host}:{port}"]
        for _ in range(OWN_ASKED):
            assert run([*asked, str(own), "--json"]) == 0
        assert run([*asked, str(unknown), "--json"]) == 1
        assert trustlab("status", state=node).returncode == 0
        boot = ("phone", "boot", "--tftp", f"127.0.0.1:{daemon.tftp[1]}", "--json")
        run([*boot, "--phone-dir", str(folder / "phone"), "--mac", "001122334455"])
        with connected(daemon) as garbled:
            garbled.send(b"this is no TLS")
            is_closed(garbled)
        with reading(daemon, "ITLFile.tlv") as deaf:
            first, _ = deaf.socket.recvfrom(1024)
            again, peer = deaf.socket.recvfrom(1024)
            assert again == first
            deaf.socket.sendto(b"\0\5\0\0enough\0", peer)
        eventually(lambda: "refused" in reasons(daemon, "tftp.transfer"))
        eventually(lambda: "handshake failed" in reasons(daemon, "tvs.connection"))
        eventually(lambda: handshakes(scraped(daemon)[1]) == OWN_ASKED + 3)  # a worker tells late
        return Page(*scraped(daemon))


def handshakes(values: Values) -> float:
    return sum(v for (name, _), v in values.items() if name == "trustlab_tvs_handshakes_total")


def test_what_phones_were_answered_is_counted(page: Page) -> None:
    yes = {"request": "verify", "verdict": "trusted", "reason": "in a store"}
    no = {"request": "verify", "verdict": "not trusted", "reason": "in no store"}
    assert page.value("trustlab_tvs_answers_total", **yes) == OWN_ASKED + 1  # status asks as well
    assert page.value("trustlab_tvs_answers_total", **no) == 1
    assert page.value("trustlab_tvs_handshakes_total", version="TLSv1.3") == OWN_ASKED + 2
    assert page.value("trustlab_tvs_handshakes_total", version="failed") == 1
    assert page.value("trustlab_tvs_problems_total", outcome="handshake failed") == 1
    assert page.value("trustlab_tvs_connections_open") == 0
    assert page.value("trustlab_tvs_answer_seconds_count") == OWN_ASKED + 2
    assert page.value("trustlab_tvs_answer_seconds_sum") > 0
    assert page.value("trustlab_tvs_answer_seconds_bucket", le="5.0") == OWN_ASKED + 2
    files = {"service": "tftp", "outcome": "done", "expected": "false"}
    assert page.value("trustlab_transfers_total", **files) >= 2
    assert page.value("trustlab_transfer_seconds_count", service="tftp") >= 2
    assert page.value("trustlab_transfer_seconds_sum", service="tftp") > 0
    assert page.value("trustlab_transfer_bytes_total", service="tftp") > 10_000
    missing = {"service": "tftp", "outcome": "not found", "expected": "true"}
    assert page.value("trustlab_transfers_total", **missing) >= 1  # a CTL, on a non-secure cluster
    assert page.value("trustlab_tftp_retransmissions_total") >= 1
    assert page.value("trustlab_trusted_certificates") == 5
    assert 1800 < page.value("trustlab_nearest_expiry_days", of="identities") < 1826
    assert 1800 < page.value("trustlab_nearest_expiry_days", of="trusted") < 1826
    assert page.value("trustlab_lists_up_to_date") == 1
    assert page.value("trustlab_refused_changes_total") == 0
    assert page.value("trustlab_events_lost_total") == 0
    assert page.value("trustlab_list_bytes", file="ITLFile.tlv") > 5000


def families(page: Page) -> dict[str, set[str]]:
    """The labels of each metric, which the document names."""
    found: dict[str, set[str]] = {}
    for name, labels in page.values:
        if not name.endswith("_created"):
            found.setdefault(name, set()).update(label for label, _ in labels)
    return found


def test_the_document_names_each_metric_and_each_value_of_a_label(page: Page) -> None:
    text = (PROJECT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    for name, labels in families(page).items():
        row = next(line for line in text.splitlines() if f"`{re.sub(SUFFIX, '', name)}`" in line)
        assert all(f"`{label}`" in row for label in labels - {"le"}), row
    for word in (*Cause, *Ending):
        assert f"`{word}`" in text


def expressions() -> list[str]:
    rules = (CONTRIB / "alerts.yaml").read_text()
    panels = json.loads((CONTRIB / "grafana-dashboard.json").read_text())["panels"]
    alerts = re.findall(r"expr: (?:\|\n((?: {10}.*\n)+)|(.*)\n)", rules)
    shown = [target["expr"] for panel in panels for target in panel["targets"]]
    return [*shown, *(block or line for block, line in alerts)]


def test_panels_and_alerts_use_what_there_is(page: Page) -> None:
    there = families(page)
    found = expressions()
    assert len(found) > 20
    for expression in found:
        assert (names := re.findall(r"trustlab_\w+", expression)), expression
        for name, given in re.findall(r"(trustlab_\w+)(?:\{([^}]*)\})?", expression):
            used = {part.split("=")[0].strip("!~ ") for part in given.split(",") if part}
            assert used <= there[name] | {"instance"}, expression
        by = {
            word
            for group in re.findall(r"by \(([^)]*)\)", expression)
            for word in group.split(", ")
        }
        assert by <= {"instance"}.union(*(there[name] for name in names)), expression
    values = re.findall(r'(?:outcome|verdict)=~?"([^"]+)"', " ".join(found))
    assert {word for value in values for word in value.split("|")} <= {*Ending, "not trusted"}


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
    ("cause", "label"), [("in no store", "in no store"), ("SEP1", "other"), (None, "other")]
)
def test_nobody_makes_up_a_label(cause: str | None, label: str) -> None:
    metrics = Metrics()
    for device in ("SEP1", "SEP2"):  # who asked never becomes a label
        metrics.read(
            {
                "event": "tvs.answer",
                "device": device,
                "request": device,
                "outcome": "not trusted",
                "cause": cause,
                "reason": device,
                "milliseconds": 1,
            }
        )
    labels = {"request": "other", "verdict": "not trusted", "reason": label}
    key = ("trustlab_tvs_answers_total", tuple(sorted(labels.items())))
    assert parsed(metrics.text().decode())[key] == 2


def test_the_dashboard_is_one() -> None:
    dashboard = json.loads((CONTRIB / "grafana-dashboard.json").read_text())
    assert dashboard["title"] == "trustlab"
    places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    assert len(places) == len(set(places)) >= 8
    assert all(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
