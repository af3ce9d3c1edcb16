"""The systemd units: what systemd itself says of them; the user of the container."""

import configparser
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.systemd import SOCKET_KINDS

UNITS = Path(__file__).parents[2] / "systemd"
SERVICE = UNITS / "trustlab.service"
SLICE = UNITS / "trustlab.slice"
SOCKETS = sorted(UNITS.glob("*.socket"))
# step-ca and dnsdist, the best of the servers shipped by others, score 2.1.
MOST_EXPOSURE = 13  # tenths


def unit(path: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read(path)
    return parser


def test_exposure_stays_low(program: Callable[[str], str]) -> None:
    analysed = subprocess.run(
        [
            program("systemd-analyze"),
            "security",
            "--no-pager",
            "--offline=true",
            f"--threshold={MOST_EXPOSURE}",
            str(SERVICE),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert analysed.returncode == 0, analysed.stdout[-200:] + analysed.stderr
    assert "Overall exposure level" in analysed.stdout


def test_systemd_has_no_complaint(tmp_path: Path, program: Callable[[str], str]) -> None:
    for path in (SERVICE, SLICE, *SOCKETS):
        shutil.copy(path, tmp_path)
    copy = tmp_path / SERVICE.name
    # verify wants a program that exists; where ours is installed differs from machine to machine
    copy.write_text(copy.read_text().replace("/usr/bin/trustlab", sys.executable))
    verified = subprocess.run(
        [program("systemd-analyze"), "verify", *map(str, tmp_path.iterdir())],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


@pytest.mark.parametrize(
    ("service", "listens", "port"),
    [
        ("tvs", "ListenStream", "2445"),
        ("tftp", "ListenDatagram", "69"),
        ("http", "ListenStream", "6970"),
        ("https", "ListenStream", "6971"),
    ],
)
def test_each_protocol_has_a_socket_that_the_daemon_knows(
    service: str, listens: str, port: str
) -> None:
    path = UNITS / f"trustlab-{service}.socket"
    socket = unit(path)["Socket"]
    assert socket[listens] == port
    assert socket["FileDescriptorName"] in SOCKET_KINDS
    assert socket["Service"] == SERVICE.name
    assert path.name in unit(SERVICE)["Service"]["Sockets"]


@pytest.mark.parametrize("path", [SERVICE, *SOCKETS], ids=lambda path: path.name)
def test_nothing_starts_without_a_node(path: Path) -> None:
    # a condition would be passed over in silence, and a phone's question would ask again and again
    assert unit(path)["Unit"]["AssertPathExists"] == "/var/lib/trustlab/trustlab.toml"


def test_what_the_sockets_opened_is_closed_to_other_networks_too() -> None:
    # a filter of the service does not reach a connection that came in by a socket unit
    assert unit(SLICE)["Slice"]["IPAddressDeny"] == "any"
    owners = {unit(path)["Socket"].get("Slice") for path in SOCKETS}
    assert owners | {unit(SERVICE)["Service"]["Slice"]} == {SLICE.name}


def test_what_tls_needs_is_allowed_and_keys_are_in_a_folder_of_the_service_and_no_core() -> None:
    service = unit(SERVICE)["Service"]
    # cffi's callbacks out of OpenSSL lie in such memory: TVS answered nobody where it was denied
    assert "MemoryDenyWriteExecute" not in service
    assert service["LimitCORE"] == "0"
    assert (service["StateDirectory"], service["StateDirectoryMode"]) == ("trustlab", "0700")
    assert "--state ${STATE_DIRECTORY}" in service["ExecStart"]


def test_the_tftp_socket_holds_the_requests_of_a_boot_storm() -> None:
    assert unit(UNITS / "trustlab-tftp.socket")["Socket"]["ReceiveBuffer"] == "8M"


def test_stopping_has_time_for_a_drain_and_nothing_runs_as_root() -> None:
    service = unit(SERVICE)["Service"]
    assert service["Type"] == "notify"
    assert float(service["TimeoutStopSec"].removesuffix("s")) > 3
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert service["DynamicUser"] == "yes"
    assert service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == ""


def test_the_container_is_not_root_by_number_and_has_one_volume_and_a_health_check() -> None:
    lines = (UNITS.parent / "Containerfile").read_text().splitlines()
    (user,) = (line.split()[1] for line in lines if line.startswith("USER "))
    assert all(int(number) > 0 for number in user.split(":"))
    # podman's own format has no HEALTHCHECK and leaves it out
    assert any("podman build --format docker" in line for line in lines)
    assert sum(line.startswith("VOLUME ") for line in lines) == 1
    (health,) = (lines[at + 1] for at, line in enumerate(lines) if line.startswith("HEALTHCHECK "))
    assert health.split("CMD ")[1] == '["trustlab", "--state", "/var/lib/trustlab", "status"]'
