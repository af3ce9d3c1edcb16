"""A store or an identity that is broken: refused at the start; later, what was good is kept."""

import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from conf.running import read_record
from itl.certificates import load_certificates
from lab.cli.main import run
from tests.daemons import Daemon, new_node, serving, trustlab
from tests.tvs.conftest import read_message, shaken
from tvs.messages import Request, encode_request
from tvs.store import STORE_FILE

GARBAGE = b"no database at all, and long enough to be one" * 100


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = new_node(tmp_path_factory.mktemp("broken") / "node")
    with (state / "trustlab.toml").open("a") as file:
        file.write("\n[metrics]\nenabled = true\nport = 0\n\n[serve]\nwatch_seconds = 0.2\n")
    return state


def identity(state: Path, name: str = "TVS") -> Path:
    return state / "identities" / f"{name}.pem"


def overwrite(state: Path) -> None:
    (state / STORE_FILE).write_bytes(GARBAGE)


def cut(state: Path) -> None:
    (state / STORE_FILE).write_bytes((state / STORE_FILE).read_bytes()[:5000])


def empty(state: Path) -> None:
    (state / STORE_FILE).write_bytes(b"")


def hide(state: Path) -> None:
    (state / STORE_FILE).unlink()
    (state / STORE_FILE).mkdir()


def take_the_key(state: Path) -> None:
    pem = identity(state).read_text()
    identity(state).write_text(pem[pem.index("-----BEGIN CERTIFICATE") :])


def swap_the_key(state: Path) -> None:
    (key, _), (_, certificate) = (
        identity(state, name).read_text().split("-----BEGIN CERTIFICATE", 1)
        for name in ("CAPF", "TVS")
    )
    identity(state).write_text(f"{key}-----BEGIN CERTIFICATE{certificate}")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (overwrite, f"{STORE_FILE}: no trust store: file is not a database"),
        (cut, f"{STORE_FILE}: no trust store: database disk image is malformed"),
        (empty, f"{STORE_FILE}: no trust store of trustlab"),
        (hide, f"{STORE_FILE}: unable to open database file"),
        (take_the_key, "identities/TVS.pem: no readable private key in PEM form"),
        (swap_the_key, "identities/TVS.pem: the private key is not the one of the certificate"),
        (lambda state: identity(state).unlink(), "identities/TVS.pem: No such file or directory"),
    ],
)
def test_it_does_not_start_and_says_why(
    whole: Path, tmp_path: Path, capsys, damage: Callable[[Path], None], reason: str
) -> None:
    state = shutil.copytree(whole, tmp_path / "node")
    damage(state)
    assert reason in refused(state, capsys)


def refused(state: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What `serve` says on standard error when it does not start."""
    assert run(["--state", str(state), "serve", "--tvs-port", "0", "--tftp-port", "0"]) == 2
    return " ".join(capsys.readouterr().err.split())


def test_a_locked_store_is_said_to_be_locked(
    whole: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr("tvs.schema.BUSY_SECONDS", 0.1)
    state = shutil.copytree(whole, tmp_path / "node")
    with closing(sqlite3.connect(state / STORE_FILE, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        assert refused(state, capsys).endswith(f"{STORE_FILE}: database is locked")


@pytest.fixture(scope="module")
def daemon(whole: Path) -> Iterator[Daemon]:
    with serving(whole) as running:
        yield running


def kept(daemon: Daemon) -> str | None:
    record = read_record(daemon.state)
    assert record is not None
    return record.kept


def wait_until(true: Callable[[], object]) -> None:
    begin = time.monotonic()
    while not true():
        assert time.monotonic() - begin < 15
        time.sleep(0.02)


def answers(daemon: Daemon, der: bytes) -> bool:
    with shaken(daemon.tvs[1]) as tls:
        tls.send(encode_request(Request(1, b"sess", certificate=der)))
        return read_message(tls)[13] == 0


def up_to_date(daemon: Daemon) -> bool:
    record = read_record(daemon.state)
    assert record is not None
    assert record.metrics is not None
    with closing(HTTPConnection(*record.metrics, timeout=5)) as connection:
        connection.request("GET", "/metrics")
        return b"\ntrustlab_lists_up_to_date 1.0\n" in connection.getresponse().read()


@pytest.mark.parametrize(
    ("damage", "file", "reason", "hang_up"),
    [
        (overwrite, STORE_FILE, STORE_FILE, False),
        (overwrite, STORE_FILE, STORE_FILE, True),
        (lambda state: identity(state).unlink(), "identities/TVS.pem", "No such file", True),
        (swap_the_key, "identities/TVS.pem", "is not the one of the certificate", False),
    ],
)
def test_broken_later_what_was_good_is_kept_until_it_is_mended(
    daemon: Daemon, tmp_path: Path, damage, file: str, reason: str, hang_up: bool
) -> None:
    der = load_certificates(identity(daemon.state, "CallManager").read_bytes())[0]
    wait_until(lambda: up_to_date(daemon))
    before = len(daemon.events())
    shutil.copy(daemon.state / file, tmp_path / "good")
    damage(daemon.state)
    if hang_up:
        daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: kept(daemon))
    assert reason in str(kept(daemon))
    assert answers(daemon, der)
    assert not up_to_date(daemon)
    told = [event for event in daemon.events()[before:] if event["event"] == "plane.refused"]
    assert [event["outcome"] for event in told] == ["kept"]
    assert reason in str(told[0]["reason"])
    if file == STORE_FILE:
        status = trustlab("status", state=daemon.state)
        assert status.returncode == 0  # phones are served, and a restart would end that
        assert "what is on disk is not in force, and what was there before is: " in status.stdout
        assert STORE_FILE in status.stdout
    shutil.copyfile(tmp_path / "good", daemon.state / file)
    wait_until(lambda: kept(daemon) is None)
    assert up_to_date(daemon)
    assert answers(daemon, der)
