"""The daemon: opens the ports, wires the services to what they answer from, reloads, drains."""

import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import trio

from conf import ConfError
from conf.identity import load_node, publish
from conf.running import RunRecord, claim, write_record
from conf.settings import Settings, load_settings
from lab import systemd
from lab.doors import Door, open_doors, serve_doors, warn
from lab.events import EVENTS_FILE, EventLog, Reader
from lab.log import log_reader
from lab.memory import settle
from lab.plane import TrustPlane
from lab.sockets import address_of, bind_udp
from lab.workers import Worker
from tftp.server import serve_tftp


@dataclass(frozen=True)
class Running:
    """A daemon that is ready: what it answers from, and where it listens."""

    plane: TrustPlane
    record: RunRecord


Ready = Callable[[Running], None]


async def run_daemon(
    state: Path,
    overrides: dict[str, object],
    *,
    ready: Ready,
) -> None:
    """Serve the node ``state`` until SIGINT or SIGTERM; SIGHUP reads its settings again.

    ``overrides`` are settings from the command line by dotted key. ``ready`` is called once every
    listener accepts. Raises :class:`~conf.ConfError` or
    :class:`~lab.sockets.PortError` before that.
    """
    settings = load_settings(state, overrides)
    with claim(state), _event_log(state, settings) as report:
        plane = TrustPlane(load_node(state), settings, report=report)
        try:
            await _Daemon(state, overrides, plane, report, ready).run()
        finally:
            plane.close()


@contextmanager
def _event_log(state: Path, settings: Settings) -> Iterator[Reader]:
    shown = settings.log
    log = EventLog(
        state / EVENTS_FILE,
        max_bytes=settings.events.max_bytes,
        kept_files=settings.events.kept_files,
        readers=[log_reader(shown.style, shown.level, shown.lines_per_second)],
    )
    try:
        yield log.report
    finally:
        log.close()


@dataclass
class _Daemon:
    state: Path
    overrides: dict[str, object]
    plane: TrustPlane
    report: Reader
    ready: Ready
    _workers: list[Worker] = field(default_factory=list)

    async def run(self) -> None:
        settings = self.plane.settings
        doors, datagrams = await self._open()
        record = RunRecord(
            pid=os.getpid(),
            tvs=address_of(doors[0].listeners[0].socket.getsockname()),
            tftp=address_of(datagrams.getsockname()),
        )
        await self._announce(record)
        warn(self.plane, doors, self.report)
        stop = trio.Event()
        serve_all = (
            partial(serve_doors, doors, self.plane, worker=0, report=self.report, stop=stop),
            *(
                partial(worker.run, stop=stop, drain_seconds=settings.serve.drain_seconds)
                for worker in self._workers_beside(doors)
            ),
            partial(
                serve_tftp,
                [datagrams],
                find=self.plane.find,
                report=self.report,
                stop=stop,
                drain_seconds=settings.serve.drain_seconds,
            ),
        )
        receiver = trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        with receiver as signals:
            async with trio.open_nursery() as nursery:
                for serve in serve_all:
                    await nursery.start(serve)
                async with trio.open_nursery() as background:
                    background.start_soon(self._watch)
                    write_record(self.state, record)
                    settle()
                    self.ready(Running(self.plane, record))
                    systemd.notify("READY=1", f"STATUS={len(self.plane.snapshot)} certificates")
                    await self._until_stopped(signals)
                    background.cancel_scope.cancel()
                systemd.notify("STOPPING=1")
                stop.set()
                nursery.cancel_scope.deadline = trio.current_time() + settings.serve.drain_seconds

    def _workers_beside(self, doors: list[Door]) -> list[Worker]:
        self._workers = [
            Worker(number, doors, self.state, self.overrides, self.report)
            for number in range(1, self.plane.settings.tvs.workers)
        ]
        return self._workers

    async def _open(self) -> tuple[list[Door], socket.socket]:
        """The sockets of both services: systemd's where it passed them, else our own."""
        settings = self.plane.settings
        passed = systemd.inherited_sockets()
        doors = await open_doors(settings, passed.get("tvs"))
        datagrams = passed.get("tftp") or bind_udp(
            "TFTP", settings.serve.address, settings.tftp.port
        )
        return doors, datagrams

    async def _announce(self, record: RunRecord) -> None:
        """Tell every node of the cluster where our TVS listens: phones' configurations name it."""
        node = self.plane.node
        own = replace(node.own, address=node.address, tvs_port=record.tvs[1], state=self.state)
        for missed in publish(node, own):
            self.report(
                {
                    "event": "cluster.unreachable",
                    "outcome": "stale",
                    "reason": f"{missed} cannot be written: its phones may ask an old TVS port",
                }
            )
        await self.plane.refresh()

    async def _watch(self) -> None:
        while True:
            await trio.sleep(self.plane.settings.serve.watch_seconds)
            await self.plane.refresh()

    async def _until_stopped(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if number != signal.SIGHUP:
                self.report(
                    {
                        "event": "daemon.stopping",
                        "outcome": "draining",
                        "reason": signal.Signals(number).name,
                    }
                )
                return
            await self._reload()
            for worker in self._workers:
                await worker.reload()

    async def _reload(self) -> None:
        try:
            settings = load_settings(self.state, self.overrides)
        except ConfError as error:
            self.plane.refuse(str(error))
            return
        await self.plane.refresh(settings)
