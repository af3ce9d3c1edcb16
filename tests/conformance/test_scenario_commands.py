"""`serve --scenario`, `scenario`, `events`: as whoever tests a phone's firmware uses them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cli.main import run
from tests.daemons import Daemon, new_node, serving, trustlab

MAC = "00005E0053AA"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    state = new_node(tmp_path_factory.mktemp("commands") / "node")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUSTLAB_SET_PHONES__MACS", f'["{MAC}"]')
        with serving(state, "--scenario", "configuration-unsigned") as running:
            yield running


def boot(daemon: Daemon, folder: Path) -> subprocess.CompletedProcess[str]:
    where = f"{daemon.tftp[0]}:{daemon.tftp[1]}"
    return trustlab("phone", "boot", "--tftp", where, "--phone-dir", folder, "--mac", MAC, "--json")


def judged(daemon: Daemon) -> tuple[int, dict[str, object]]:
    found = trustlab(
        "scenario", "run", "configuration-unsigned", "--events", "--json", state=daemon.state
    )
    return found.returncode, json.loads(found.stdout)


def test_phones_are_judged_by_the_log_of_the_daemon_they_met(
    daemon: Daemon, tmp_path: Path
) -> None:
    first = boot(daemon, tmp_path / "phone")
    assert json.loads(first.stdout)["verdict"] == "updated"
    code, conduct = judged(daemon)
    assert (code, conduct["verdict"], conduct["device"]) == (3, "not observed", f"SEP{MAC}")
    refused = boot(daemon, tmp_path / "phone")
    assert json.loads(refused.stdout)["verdict"] == "refused"
    assert boot(daemon, tmp_path / "phone").returncode == 0
    code, conduct = judged(daemon)
    assert (code, conduct["verdict"]) == (0, "met")
    outcomes = {one["expectation"]: one["outcome"] for one in conduct["expectations"]}
    assert outcomes["boot 2: must not take evil"] == "met"

    timeline = trustlab("events", "--phone", f"SEP{MAC}", state=daemon.state)
    events = [json.loads(line) for line in timeline.stdout.splitlines()]
    files = [one["file"] for one in events if one["event"] == "scenario.asked" and "file" in one]
    assert files[:2] == [f"CTLSEP{MAC}.tlv", f"ITLSEP{MAC}.tlv"]
    assert "trustlab-good.loads" in files
    assert any(one["event"] == "tftp.error" and one["device"] is None for one in events)
    other = trustlab("events", "--phone", "SEP00005E0053BB", state=daemon.state)
    assert other.stdout == ""


def test_events_are_followed(daemon: Daemon, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lab", "--state", str(daemon.state), "events", "--follow"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as follower:
        assert follower.stdout is not None
        started = follower.stdout.readline()  # the log so far is being told
        assert json.loads(started)["time"]
        boot(daemon, tmp_path / "another")
        for line in follower.stdout:
            event = json.loads(line)
            if event.get("file") == "trustlab-good.loads" and event.get("boot", 0) >= 4:
                break
        follower.terminate()


def test_the_daemon_says_loudly_that_it_misbehaves(daemon: Daemon) -> None:
    started = [one for one in daemon.events() if one["event"] == "scenario.started"]
    assert [one["scenario"] for one in started] == ["configuration-unsigned"]


def test_off_loopback_only_where_it_is_said_to_be_a_lab(daemon: Daemon) -> None:
    arguments = ("serve", "--address", "192.0.2.1", "--scenario", "tvs-no")
    refused = trustlab(*arguments, state=daemon.state)
    assert refused.returncode == 2
    assert "192.0.2.1 is not loopback" in refused.stderr
    allowed = trustlab(*arguments, "--lab", state=daemon.state)
    assert "MISBEHAVES ON PURPOSE" in allowed.stderr


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--http-port", "0"), "over HTTP phones would get the true files"),
        (("--workers", "2"), "tvs.workers must be 1"),
    ],
)
def test_what_a_scenario_cannot_reach_is_not_served_beside_it(
    daemon: Daemon, more: tuple[str, ...], told: str
) -> None:
    refused = trustlab("serve", "--scenario", "tvs-no", *more, state=daemon.state)
    assert refused.returncode == 2
    assert told in refused.stderr


def test_a_scenario_that_does_not_exist_is_named(daemon: Daemon) -> None:
    refused = trustlab("serve", "--scenario", "nothing-known", state=daemon.state)
    assert refused.returncode == 2
    assert "no scenario is called nothing-known" in refused.stderr


def test_the_catalogue_is_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scenario", "list", "--json"]) == 0
    names = [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()]
    assert len(names) >= 25
    assert run(["scenario", "show", "tvs-first-down"]) == 0
    shown = capsys.readouterr().out
    assert "dead then self" in shown
    assert "boot 2: asks tvs stranger" in shown
    assert run(["scenario", "show", "tvs-first-down", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "tvs-first-down"


def test_a_scenario_is_played_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scenario", "run", "itl-bit-in-signature", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "met"
