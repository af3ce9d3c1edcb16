"""Further processes that answer TVS, started and watched by the daemon.

A worker listens on sockets it inherits, reads the node's state for itself, and writes its events,
and each second its counts, one JSON object a line, to its standard output. On its standard input a
line means that settings are to be read again, and the end that it is to stop: so it never outlives
the daemon.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
import trio

from lab import LabError
from lab.doors import Door
from lab.events import Event, Reader
from tvs.server import Counters
from tvs.tls import Profile

READY: Event = {"event": "tvs.worker", "outcome": "ready"}
COUNTED = "counted"  # the outcome of a message that holds counts
RESTART_SECONDS = 1.0
_STOP_SECONDS = 0.5  # beyond the drain that a worker grants its connections


class WorkerError(LabError):
    """A worker that ended before it answered; its own words are on standard error."""


class Counted(msgspec.Struct, frozen=True):
    """Connections of one process: open now, and handshakes since its start, ended well or badly.

    ``versions`` are those that ended well, by TLS version ("TLSv1.2").
    """

    open: int = 0
    failed: int = 0
    versions: dict[str, int] = {}

    def __add__(self, other: "Counted") -> "Counted":
        """Both together."""
        versions = Counter(self.versions)
        versions.update(other.versions)
        return Counted(self.open + other.open, self.failed + other.failed, dict(versions))


def counted(counters: Counters) -> Counted:
    """What others want to know of a TVS's counters."""
    return Counted(counters.open, counters.handshakes_failed, dict(counters.versions))


class WorkerTask(msgspec.Struct, frozen=True):
    """What a worker is started with; ``sockets`` are TLS profiles by file descriptor."""

    state: str
    overrides: dict[str, object]
    sockets: dict[int, Profile]


class Worker:
    """One process that answers TVS beside the daemon's own, numbered from 1."""

    def __init__(
        self,
        number: int,
        doors: Sequence[Door],
        state: Path,
        overrides: Mapping[str, object],
        report: Reader,
    ) -> None:
        self._name = f"worker {number}"
        self._listeners = [door.listeners[number] for door in doors]
        self._sockets = {door.listeners[number].socket.fileno(): door.profile for door in doors}
        self._task = WorkerTask(str(state), dict(overrides), self._sockets)
        self._report = report
        self._process: trio.Process | None = None
        self._before, self._now = Counted(), Counted()

    @property
    def counted(self) -> Counted:
        """Its connections as of the last second, those of processes that ended before included."""
        return self._before + self._now

    async def run(
        self,
        *,
        stop: trio.Event,
        drain_seconds: float,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Keep the process running until ``stop``; started once it accepts.

        Raises :class:`WorkerError` if it ends before that. One that ends later is started anew; its
        sockets stay open meanwhile, so that no phone is turned away.
        """
        ready = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep, stop, drain_seconds, ready)
            await ready.wait()
            task_status.started()

    async def reload(self) -> None:
        """Have it read the settings again."""
        if self._process and self._process.stdin:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._process.stdin.send_all(b"\n")

    async def _keep(self, stop: trio.Event, drain_seconds: float, ready: trio.Event) -> None:
        while not stop.is_set():
            self._process = process = await self._spawn()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._stop, process, stop, drain_seconds)
                await self._relay(process, ready.set)
                code = await process.wait()
                nursery.cancel_scope.cancel()
            self._before = msgspec.structs.replace(self.counted, open=0)
            self._now = Counted()
            if stop.is_set():
                return
            if not ready.is_set():
                raise WorkerError(f"{self._name} ended with code {code} before it answered")
            reason = f"{self._name} ended with code {code}; it is started again"
            self._report({"event": "tvs.worker", "outcome": "failed", "reason": reason})
            with trio.move_on_after(RESTART_SECONDS):
                await stop.wait()

    async def _spawn(self) -> trio.Process:
        return await trio.lowlevel.open_process(
            [sys.executable, "-P", "-m", "lab.worker", msgspec.json.encode(self._task).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=tuple(self._sockets),
            process_group=0,  # Ctrl-C is for the daemon, which tells it
        )

    async def _relay(self, process: trio.Process, ready: Callable[[], None]) -> None:
        """Report the process's events until it ends."""
        stdout = process.stdout
        assert stdout is not None  # noqa: S101 - a pipe was asked for
        rest = b""
        async for octets in stdout:
            *lines, rest = (rest + octets).split(b"\n")
            for line in lines:
                event: dict[str, object] = msgspec.json.decode(line)
                if event == READY:
                    ready()
                elif event.get("outcome") == COUNTED:
                    self._now = msgspec.convert(event, Counted)
                else:
                    self._report(event)

    async def _stop(self, process: trio.Process, stop: trio.Event, drain_seconds: float) -> None:
        try:
            await stop.wait()
            for listener in self._listeners:
                listener.socket.close()
            if process.stdin:
                await process.stdin.aclose()
            await trio.sleep(drain_seconds + _STOP_SECONDS)
        finally:
            if process.returncode is None:
                process.kill()


async def run_workers(
    workers: Sequence[Worker],
    *,
    stop: trio.Event,
    drain_seconds: float,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep all ``workers`` running, as :meth:`Worker.run`; they start side by side."""
    async with trio.open_nursery() as running:
        async with trio.open_nursery() as starting:
            for worker in workers:
                run = partial(worker.run, stop=stop, drain_seconds=drain_seconds)
                starting.start_soon(running.start, run)
        task_status.started()
