"""A further TVS process: ``python -m lab.worker TASK``, started by :mod:`lab.workers` only."""

import os
import signal
import socket
import sys
from pathlib import Path

import msgspec
import trio

from conf import ConfError
from conf.identity import load_node
from conf.settings import load_settings
from lab.doors import Door, serve_doors
from lab.events import Event
from lab.plane import TrustPlane
from lab.process import allow_all_descriptors, settle
from lab.reload import taken_up
from lab.workers import COUNTED, READY, WorkerTask, counted
from tvs.server import Counters

COUNT_SECONDS = 1.0
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


def _tell(event: Event) -> None:
    os.write(_STDOUT, msgspec.json.encode(event) + b"\n")


async def _serve(task: WorkerTask, plane: TrustPlane) -> None:
    doors = [
        Door(
            profile,
            (trio.SocketListener(trio.socket.from_stdlib_socket(socket.socket(fileno=number))),),
        )
        for number, profile in task.sockets.items()
    ]
    stop, counters = trio.Event(), Counters()
    async with trio.open_nursery() as watching:
        watching.start_soon(_watch, plane)
        watching.start_soon(_tell_counts, counters)
        async with trio.open_nursery() as serving:
            await serving.start(_serve_doors, doors, plane, stop, counters)
            _tell(READY)
            settle()
            async for _ in trio.lowlevel.FdStream(os.dup(_STDIN)):
                await _reload(task, plane)
            stop.set()
            drain = plane.settings.serve.drain_seconds
            serving.cancel_scope.deadline = trio.current_time() + drain
        watching.cancel_scope.cancel()


async def _serve_doors(
    doors: list[Door],
    plane: TrustPlane,
    stop: trio.Event,
    counters: Counters,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    await serve_doors(
        doors,
        plane,
        worker=0,
        report=_tell,
        stop=stop,
        counters=counters,
        task_status=task_status,
    )


async def _tell_counts(counters: Counters) -> None:
    told = None
    while True:
        await trio.sleep(COUNT_SECONDS)
        now = counted(counters)
        if now != told:
            told = now
            _tell({"event": "tvs.worker", "outcome": COUNTED, **msgspec.structs.asdict(now)})


async def _watch(plane: TrustPlane) -> None:
    while True:
        await trio.sleep(plane.settings.serve.watch_seconds)
        await plane.refresh()


async def _reload(task: WorkerTask, plane: TrustPlane) -> None:
    try:
        fresh = load_settings(Path(task.state), task.overrides)
        await plane.refresh(taken_up(fresh, plane.settings)[0])
    except ConfError:
        return  # the daemon read the same file and has said what is wrong with it


if __name__ == "__main__":
    main()
