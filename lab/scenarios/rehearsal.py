"""A scenario played with an emulated phone: a node, its daemon in this process, boot after boot."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import trio

from conf.creation import Request, create_node
from lab.daemon import Running, run_daemon
from lab.phone.boot import Boot
from lab.phone.boot import boot as boot_phone
from lab.phone.fetch import FileServer
from lab.phone.models import model
from lab.phone.state import Phone
from lab.scenarios.judgement import Conduct, judge
from lab.scenarios.model import Scenario, ScenarioError
from lab.scenarios.serving import mischief_for
from lab.scenarios.stranger import Stranger
from lab.timeline import read_events
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


async def _boots(times: int, boot: Callable[..., Awaitable[Boot]]) -> None:
    for _ in range(times):
        await boot(tvs_seconds=TVS_SECONDS)


async def rehearse(
    scenario: Scenario,
    state: Path,
    *,
    boot: BootPhone = boot_phone,
    stranger: Stranger | None = None,
) -> Conduct:
    """Let an emulated phone meet ``scenario`` on the node ``state``; ``boot`` is how it boots.

    ``stranger`` is the node's, if its keys were read already. Raises
    :class:`~lab.scenarios.model.ScenarioError` if the phone asks for nothing at all.
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
                misbehave=partial(mischief_for, scenario, stranger=stranger),
            )
        )
        with trio.fail_after(START_SECONDS):
            await started.wait()
        host, port = places[0].record.tftp
        server = FileServer(host, port, None, SILENCE_SECONDS)
        # a loop of its own: in the daemon's, each block would wait for the daemon's next turn
        play = partial(_boots, scenario.boots, partial(boot, phone, server))
        await trio.to_thread.run_sync(trio.run, play)
        nursery.cancel_scope.cancel()
    conducts = judge(scenario, read_events(state), ended=True)
    if not conducts:
        raise ScenarioError(f"{scenario.name}: the emulated phone asked for nothing")
    return conducts[0]
