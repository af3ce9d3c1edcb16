"""A further TVS process: ``python -m lab.worker TASK``, started by :mod:`lab.workers` only."""

import os
import signal
import socket
import sys
from functools import partial
from pathlib import Path

import msgspec
import trio

from conf import ConfError
from conf.node import load_node
from conf.settings import load_settings
from lab.doors import Door, serve_doors
from lab.events import Event
from lab.plane import TrustPlane
from lab.process import allow_all_descriptors, settle
from lab.reload import taken_up
from lab.workers import COUNTED, READY, WorkerTask, counted
from tvs.server import Counters

COUNT_SECONDS = 1.0
TOGETHER_SECONDS = 0.02
TOGETHER_BYTES = 32_768  # half of what a pipe takes without a reader
_STDIN, _STDOUT = 0, 1


def main() -> None:
    """Serve until standard input ends; the daemon decides when, no signal does."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    allow_all_descriptors()
    task = msgspec.json.decode(sys.argv[1], type=WorkerTask)
    settings = load_settings(Path(task.state), task.overrides)
    plane = TrustPlane(load_node(Path(task.state)), settings, report=_keep_to_itself)
    try:
        trio.run(_serve, task, plane)
    finally:
        plane.close()


def _keep_to_itself(event: Event) -> None:
    """Say nothing of the plane: the daemon has the same one, and speaks for all."""


class _Line:
    """Tells the daemon events, several at once: each write wakes it, and phones come first.

    An event waits at most TOGETHER_SECONDS.
    """

    def __init__(self) -> None:
        self._octets = bytearray()
        self._begun = trio.Event()

    def tell(self, event: Event) -> None:
        if not self._octets:
            self._begun.set()
        self._octets += msgspec.json.encode(event) + b"\n"
        if len(self._octets) > TOGETHER_BYTES:
            self.send()

    def send(self) -> None:
        """Write what has come together."""
        if self._octets:
            os.write(_STDOUT, self._octets)
            self._octets.clear()

    async def run(self) -> None:
        while True:
            await self._begun.wait()
            await trio.sleep(TOGETHER_SECONDS)
            self._begun = trio.Event()
            self.send()


async def _serve(task: WorkerTask, plane: TrustPlane) -> None:
    doors = [
        Door(
            profile,
            (trio.SocketListener(trio.socket.from_stdlib_socket(socket.socket(fileno=number))),),
        )
        for number, profile in task.sockets.items()
    ]
    stop, counters, line = trio.Event(), Counters(), _Line()
    async with trio.open_nursery() as watching:
        watching.start_soon(_watch, plane)
        watching.start_soon(_tell_counts, counters, line)
        watching.start_soon(line.run)
        async with trio.open_nursery() as serving:
            serve = partial(serve_doors, doors, plane, worker=0, report=line.tell)
            await serving.start(partial(serve, stop=stop, counters=counters))
            line.tell(READY)
            settle()
            async for _ in trio.lowlevel.FdStream(os.dup(_STDIN)):
                await _reload(task, plane)
            stop.set()
            drain = plane.settings.serve.drain_seconds
            serving.cancel_scope.deadline = trio.current_time() + drain
        watching.cancel_scope.cancel()
    line.send()


async def _tell_counts(counters: Counters, line: _Line) -> None:
    told = None
    while True:
        await trio.sleep(COUNT_SECONDS)
        now = counted(counters)
        if now != told:
            told = now
            line.tell({"event": "tvs.worker", "outcome": COUNTED, **msgspec.structs.asdict(now)})


async def _watch(plane: TrustPlane) -> None:
    while True:
        await plane.until_next_look()
        await plane.refresh()


async def _reload(task: WorkerTask, plane: TrustPlane) -> None:
    try:
        fresh = load_settings(Path(task.state), task.overrides)
        await plane.refresh(taken_up(fresh, plane.settings)[0])
    except ConfError:
        return  # the daemon read the same file and has said what is wrong with it


if __name__ == "__main__":
    main()
