"""A scenario played with an emulated phone: a node, its daemon in this process, boot after boot."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from conf.creation import Request, create_node
from lab.daemon import Running, run_daemon
from lab.events import Reader
from lab.phone.boot import Boot
from lab.phone.boot import boot as boot_phone
from lab.phone.fetch import FileServer
from lab.phone.models import model
from lab.phone.state import Phone
from lab.plane import TrustPlane
from lab.scenarios.judgement import Conduct, judge
from lab.scenarios.mischief import Mischief
from lab.scenarios.model import Scenario, ScenarioError
from lab.scenarios.serving import mischief_for
from lab.timeline import Timeline
from tvs.store import STORE_FILE, TrustStore
from tvs.tls import Profile

MAC = "00005E00530A"  # RFC 7042 section 2.1.2: set aside for documentation
ADDRESS = "127.0.0.1"
SILENCE_SECONDS = 1.5  # how long the phone waits for a file while nothing comes
TVS_SECONDS = 0.7
START_SECONDS = 20.0

NOTHING_WRONG = Scenario("nothing-wrong", "nothing is wrong", "", "", expect=())

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
    TrustStore.open(state / STORE_FILE).close()
    return state


class Stage:
    """A daemon that misbehaves, for one scenario after another."""

    def __init__(self, state: Path, mischief: Mischief, server: FileServer) -> None:
        self._mischief = mischief
        self._server = server
        self._timeline = Timeline(state)

    async def play(self, scenario: Scenario, *, boot: BootPhone = boot_phone) -> Conduct:
        """Let a new emulated phone meet ``scenario``; ``boot`` is how it boots.

        Raises :class:`~lab.scenarios.model.ScenarioError` if the phone asks for nothing at all.
        """
        self._mischief.begin(scenario)
        phone = Phone(MAC, model(scenario.model))

        async def boots() -> None:
            for _ in range(scenario.boots):
                await boot(phone, self._server, tvs_seconds=TVS_SECONDS)

        # a loop of its own: in the daemon's, each block would wait for the daemon's next turn
        await trio.to_thread.run_sync(trio.run, boots)
        conducts = judge(scenario, self._timeline.fresh(), ended=True)
        if not conducts:
            raise ScenarioError(f"{scenario.name}: the emulated phone asked for nothing")
        return conducts[0]


@asynccontextmanager
async def stage(state: Path, *, profile: Profile) -> AsyncIterator[Stage]:
    """A daemon of the node ``state`` in this process, on loopback, for the length of a block."""
    overrides: dict[str, object] = {
        "serve.address": ADDRESS,
        "tvs.port": 0,
        "tftp.port": 0,
        "tvs.profile": profile,
        "phones.macs": [MAC],
        "serve.drain_seconds": 0.1,
        "log.level": "warning",
    }
    started = trio.Event()
    places: list[Running] = []
    mischief: list[Mischief] = []

    def ready(running: Running) -> None:
        places.append(running)
        started.set()

    def misbehave(plane: TrustPlane, own_tvs: tuple[str, int], report: Reader) -> Mischief:
        mischief.append(mischief_for(NOTHING_WRONG, plane, own_tvs, report))
        return mischief[0]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(run_daemon, state, overrides, ready=ready, misbehave=misbehave))
        with trio.fail_after(START_SECONDS):
            await started.wait()
        host, port = places[0].record.tftp
        yield Stage(state, mischief[0], FileServer(host, port, None, SILENCE_SECONDS))
        nursery.cancel_scope.cancel()


class Stages:
    """Stages for whatever scenarios come, on throw-away nodes below ``folder``."""

    def __init__(self, folder: Path, opened: AsyncExitStack) -> None:
        self._folder = folder
        self._opened = opened
        self._stages: dict[tuple[bool, Profile], Stage] = {}

    async def play(self, scenario: Scenario, *, boot: BootPhone = boot_phone) -> Conduct:
        """As :meth:`Stage.play`."""
        profile: Profile = "legacy" if model(scenario.model).old_tls else "modern"
        kind = scenario.secure, profile
        if kind not in self._stages:
            name = f"{'secure' if scenario.secure else 'plain'}-{profile}"
            state = make_node(self._folder / name, secure=scenario.secure)
            self._stages[kind] = await self._opened.enter_async_context(
                stage(state, profile=profile)
            )
        return await self._stages[kind].play(scenario, boot=boot)


@asynccontextmanager
async def stages(folder: Path) -> AsyncIterator[Stages]:
    """Stages for the length of a block."""
    async with AsyncExitStack() as opened:
        yield Stages(folder, opened)
