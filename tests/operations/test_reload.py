"""SIGHUP: what is read again acts at once, what cannot is said, and nobody is turned away by it."""

import json
import os
import resource
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec
from trio.testing import MockClock, wait_all_tasks_blocked

from conf.identity import encode_identity
from conf.node import load_node, publish
from conf.running import read_record
from conf.selfsigned import self_signed
from conf.settings import load_settings
from lab.health import ask_tftp, ask_tvs
from lab.plane import TrustPlane
from lab.reload import AFTER_RESTART
from tests.daemons import Daemon, serving, trustlab
from tests.operations.clients import (
    BLOCK,
    ELSEWHERE,
    PATIENCE,
    connected,
    eventually,
    is_answered,
    reading,
    reasons,
    scraped,
    shaken,
)
from tvs.client import connect

PROJECT = Path(__file__).parents[2]
CONNECTIONS = 12  # of one address; with two workers all on one of them happens once in 2048 runs
TIGHT = """
[tvs]
max_connections_per_address = 2
request_seconds = 0.5
[tftp]
max_transfers_per_address = 2
"""


def reload(daemon: Daemon, text: str) -> None:
    (daemon.state / "trustlab.toml").write_text(text)
    daemon.process.send_signal(signal.SIGHUP)


def changes(daemon: Daemon) -> int:
    return sum(event["event"] == "plane.changed" for event in daemon.events())


def kept(daemon: Daemon) -> str | None:
    record = read_record(daemon.state)
    assert record is not None
    return record.kept


def take_up(daemon: Daemon, text: str) -> None:
    """Reload, and wait until the daemon has it."""
    before = changes(daemon)
    reload(daemon, text)
    eventually(lambda: changes(daemon) > before)


async def test_settings_that_were_not_read_again_have_no_part_in_what_is_taken_up(
    node: Path,
) -> None:
    told: list[dict[str, object]] = []
    with closing(TrustPlane(load_node(node), load_settings(node), report=told.append)) as plane:
        settings = (node / "trustlab.toml").read_text()
        (node / "trustlab.toml").write_text(settings.replace("secure = false", "secure = true"))
        publish(plane.node, replace(plane.node.own, order=1))
        await plane.refresh()
        assert [event["outcome"] for event in told] == ["in force"]
        assert "CTLFile.tlv" not in plane.catalog.lists()
        await plane.refresh(load_settings(node))
        assert "CTLFile.tlv" in plane.catalog.lists()


async def test_a_longer_watch_ends_with_the_settings_that_asked_for_it(
    node: Path, mock_clock: MockClock
) -> None:
    seldom = load_settings(node, {"serve.watch_seconds": 3600.0})
    with closing(TrustPlane(load_node(node), seldom, report=lambda _: None)) as plane:
        looked = trio.Event()

        async def look() -> None:
            await plane.until_next_look()
            looked.set()

        async with trio.open_nursery() as looking:
            looking.start_soon(look)
            await wait_all_tasks_blocked()
            assert not looked.is_set()
            await plane.refresh(load_settings(node))
            await wait_all_tasks_blocked()
            looking.cancel_scope.cancel()
        assert looked.is_set()
        assert mock_clock.current_time() == 0


def still_open(connections: list[socket.socket]) -> int:
    """How many of ``connections`` the daemon has not closed."""
    count = 0
    for one in connections:
        one.settimeout(0.01)
        try:
            count += one.recv(1) != b""
        except TimeoutError:
            count += 1
        except ConnectionResetError:
            pass
    return count


def taken(daemon: Daemon) -> int:
    """How many connections of another address are taken at once."""
    with ExitStack() as held:
        made = [held.enter_context(connected(daemon, ELSEWHERE)) for _ in range(CONNECTIONS)]
        for one in made:
            one.send(b"\x16\x03\x01")  # the beginning of a record: it is waited for
        return still_open(made)


async def test_a_reload_under_load_changes_a_limit_and_drops_nothing(node: Path) -> None:
    (node / "tftp" / "firmware.bin").write_bytes(payload := os.urandom(200 * BLOCK))
    public = load_node(node)
    own = public.own.certificates["CallManager"]
    text = (node / "trustlab.toml").read_text()
    answers, enough = 0, trio.Event()
    with serving(node, "--workers", "2") as daemon, reading(daemon, "firmware.bin") as slow:
        slow.take(5)
        assert taken(daemon) == CONNECTIONS
        async with connect(*daemon.tvs) as held, trio.open_nursery() as nursery:

            async def ask() -> None:
                nonlocal answers
                while not enough.is_set():
                    assert (await held.verify(certificate=own)).status == 0
                    await ask_tvs(public, daemon.tvs)
                    await ask_tftp(daemon.tftp, ["ITLFile.tlv"])
                    answers += 1

            nursery.start_soon(ask)
            for number in range(5):
                # each reload changes what is served: the list names another digest
                digest = ("sha512", "sha1")[number % 2]
                reload(daemon, f'{text}\n[lists]\ndigest = "{digest}"\n{TIGHT * (number == 4)}')
                before = answers
                with trio.fail_after(PATIENCE):
                    # what another process does is not to be awaited
                    while changes(daemon) < number + 1 or answers < before + 2:  # noqa: ASYNC110
                        await trio.sleep(0.01)
                slow.take(5)
            assert slow.take(len(payload))
            await trio.to_thread.run_sync(see_the_limits_act, daemon)
            enough.set()
        assert slow.received == payload
        ended = [e for e in daemon.events() if e["event"] == "tftp.transfer"]
        outcomes = {event["outcome"] for event in ended if event["peer"][:9] == "127.0.0.1"}
        assert outcomes <= {"done", "unconfirmed"}  # a slow machine may miss somebody's last ACK


def see_the_limits_act(daemon: Daemon) -> None:
    eventually(lambda: taken(daemon) <= 2 * 2)  # of each of two workers
    held = [reading(daemon, "firmware.bin", ELSEWHERE) for _ in range(2)]
    with held[0] as first, held[1] as second:
        first.take(2)  # acknowledged: what is half open gives up in less than a second
        second.take(2)
        assert not is_answered(daemon, ELSEWHERE)
    with shaken(daemon, "127.0.0.3") as halfway:
        halfway.send(b"\x01\x03")
        eventually(lambda: "was begun and not ended" in reasons(daemon, "tvs.connection"))


@pytest.fixture(scope="module")
def daemon(founded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    node = shutil.copytree(founded, tmp_path_factory.mktemp("reload") / "node")
    with (node / "trustlab.toml").open("a") as file:
        file.write("[metrics]\nenabled = true\nport = 0\n")
    with serving(node) as running:
        yield running


@pytest.fixture
def text(daemon: Daemon) -> Iterator[str]:
    """The settings file as it was, put back when the test is over."""
    kept = (daemon.state / "trustlab.toml").read_text()
    yield kept
    take_up(daemon, kept)


def test_what_waits_for_a_restart_is_said_and_all_else_goes_on(daemon: Daemon, text: str) -> None:
    take_up(
        daemon,
        f'{text}\n[tvs]\nprofile = "legacy"\nworkers = 3\n[tvs.answers]\nttl_seconds = 77\n'
        "[http]\nenabled = true\nport = 0\n",
    )
    told = reasons(daemon, "settings.waiting")
    assert 'kept: tvs.profile changed from "modern" to "legacy": takes effect after a rest' in told
    assert "tvs.workers changed from 1 to 3: takes effect after a restart" in told
    assert "http.enabled changed from false to true: takes effect after a restart" in told
    assert "ttl_seconds" not in told
    own = daemon.state / "identities" / "CallManager.pem"
    asked = trustlab("tvs", "verify", f"{daemon.tvs[0]}:{daemon.tvs[1]}", own, "--json")
    assert json.loads(asked.stdout)["ttl"] == 77


def test_a_log_is_written_in_another_way(daemon: Daemon, text: str) -> None:
    log = daemon.state.with_name(f"{daemon.state.name}.log")

    def is_told_in_json() -> bool:
        take_up(daemon, f'{text}\n[log]\nstyle = "json"\n')
        return "\n{" in log.read_text()

    eventually(is_told_in_json)  # the first time it is still told in the old way


def test_a_bad_file_is_a_problem_until_it_is_a_good_one(daemon: Daemon, text: str) -> None:
    before = changes(daemon)
    with_template = text.replace("macs = []", 'macs = []\ntemplate = "none.xml"')
    reload(daemon, with_template)
    eventually(lambda: "none.xml" in reasons(daemon, "plane.refused"))
    reload(daemon, f"{text}\n[tvs]\nprot = 1\n")
    eventually(lambda: "tvs.prot: unknown key" in reasons(daemon, "plane.refused"))
    assert changes(daemon) == before
    eventually(lambda: "tvs.prot" in str(kept(daemon)))  # written after the next look at the disk
    assert scraped(daemon)[1]["trustlab_lists_up_to_date", ()] == 0
    (daemon.state / "none.xml").write_text("<device/>")
    take_up(daemon, with_template)
    assert scraped(daemon)[1]["trustlab_lists_up_to_date", ()] == 1


def test_a_full_disk_at_a_reload_ends_no_service(node: Path) -> None:
    beside = self_signed("TVS", "pub", ec.generate_private_key(ec.SECP256R1()))
    (node / "ec.pem").write_bytes(encode_identity(beside))
    text = (node / "trustlab.toml").read_text()
    with serving(node) as daemon:
        full = (node / "cluster" / "pub.json").stat().st_size  # and one certificate more is to come
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (full, full))
        reload(daemon, f'{text}\n[tvs]\nec_identity = "ec.pem"\n')
        eventually(lambda: "pub.json" in reasons(daemon, "cluster.unreachable"))
        assert daemon.process.poll() is None


def test_the_document_names_what_waits_for_a_restart() -> None:
    page = (PROJECT / "docs" / "how-to" / "service.md").read_text(encoding="utf-8")
    paragraph = next(part for part in page.split("\n\n") if "act only after a restart" in part)
    for key in AFTER_RESTART:
        assert f"`{key}`" in paragraph
