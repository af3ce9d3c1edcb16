"""A scenario played with an emulated phone: a node, its daemon in this process, boot after boot."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import msgspec
import trio

from conf.creation import Request, create_node
from lab.daemon import Running, run_daemon
from lab.events import EVENTS_FILE, Event
from lab.phone.boot import Boot
from lab.phone.boot import boot as boot_phone
from lab.phone.fetch import FileServer
from lab.phone.models import model
from lab.phone.state import Phone
from lab.scenarios.judgement import Conduct, judge
from lab.scenarios.model import Scenario, ScenarioError
from tvs.store import TrustStore

MAC = "00005E00530A"  # RFC 7042 section 2.1.2: set aside for documentation
ADDRESS = "127.0.0.1"
SILENCE_SECONDS = 1.5  # how long the phone waits for a file while nothing comes
TVS_SECONDS = 0.7
START_SECONDS = 20.0

BootPhone = Callable[..., Awaitable[Boot]]


def make_node(state: Path, *, secure: bool) -> Path:
    """A node to play on, in the new folder ``state``."""
    create_node(
        state,
        Request(
            cluster="scenario",
            host="node",
            address=ADDRESS,
            secure=secure,
            list_signer=None,
            identities={},
            join=None,
        ),
    )
    TrustStore.open(state / "store.sqlite3").close()
    return state


async def rehearse(scenario: Scenario, state: Path, *, boot: BootPhone = boot_phone) -> Conduct:
    """Let an emulated phone meet ``scenario`` on the node ``state``; ``boot`` is how it boots.

    Raises :class:`~lab.scenarios.model.ScenarioError` if the phone asks for nothing at all.
    """
    phone = Phone(MAC, model(scenario.model))
    overrides: dict[str, object] = {
        "serve.address": ADDRESS,
        "tvs.port": 0,
        "tftp.port": 0,
        "tvs.profile": "legacy" if phone.model.old_tls else "modern",
        "phones.macs": [MAC],
        "serve.drain_seconds": 0.1,
        "log.level": "warning",
    }
    started = trio.Event()
    places: list[Running] = []

    def ready(running: Running) -> None:
        places.append(running)
        started.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            partial(
                run_daemon,
                state,
                overrides,
                ready=ready,
                misbehave=partial(mischief_for, scenario),
            )
        )
        with trio.fail_after(START_SECONDS):
            await started.wait()
        host, port = places[0].record.tftp
        server = FileServer(host, port, None, SILENCE_SECONDS)
        for _ in range(scenario.boots):
            await boot(phone, server, tvs_seconds=TVS_SECONDS)
        nursery.cancel_scope.cancel()
    conducts = judge(scenario, read_events(state), ended=True)
    if not conducts:
        raise ScenarioError(f"{scenario.name}: the emulated phone asked for nothing")
    return conducts[0]


def read_events(state: Path) -> list[Event]:
    """The events of a node, the oldest kept first; lines that are no event are left out."""
    kept = sorted(state.glob(f"{EVENTS_FILE}.[0-9]*"), key=_age, reverse=True)
    found: list[Event] = []
    for path in (*kept, state / EVENTS_FILE):
        try:
            octets = path.read_bytes()
        except FileNotFoundError:
            continue
        for line in octets.splitlines():
            try:
                event = msgspec.json.decode(line)
            except msgspec.DecodeError:
                continue
            if isinstance(event, dict):
                found.append(event)
    return found


def _age(path: Path) -> int:
    return int(path.suffix.removeprefix(".")) if path.suffix[1:].isdecimal() else 0
