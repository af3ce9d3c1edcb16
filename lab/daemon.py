"""The daemon: opens the ports, wires the services to what they answer from, reloads, drains."""

import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import trio

from conf import ConfError
from conf.identity import load_node, publish
from conf.running import RunRecord, claim, write_record
from conf.settings import Settings, load_settings
from lab import systemd
from lab.catalog import tftp_keywords
from lab.doors import Door, open_doors, serve_doors, warn
from lab.events import EVENTS_FILE, EventLog, Reader
from lab.health import tell_manager
from lab.log import log_reader
from lab.metrics import Gauges, Metrics
from lab.metrics_endpoint import serve_metrics
from lab.plane import TrustPlane, with_tvs_identities
from lab.process import allow_all_descriptors, settle
from lab.sockets import address_of, bind_udp, listen_tcp
from lab.web import open_web
from lab.workers import Worker
from tftp.server import serve_tftp
from tvs.server import Counters

if TYPE_CHECKING:
    from lab.scenarios.mischief import Mischief


@dataclass(frozen=True)
class Running:
    """A daemon that is ready: what it answers from, and where it listens."""

    plane: TrustPlane
    record: RunRecord


Ready = Callable[[Running], None]
Start: TypeAlias = Callable[..., Awaitable[object]]
Misbehave: TypeAlias = Callable[[TrustPlane, tuple[str, int], Reader], "Mischief"]


async def run_daemon(
    state: Path,
    overrides: dict[str, object],
    *,
    ready: Ready,
    misbehave: Misbehave | None = None,
) -> None:
    """Serve the node ``state`` until SIGINT or SIGTERM; SIGHUP reads its settings again.

    ``overrides`` are settings from the command line by dotted key. ``ready`` is called once every
    listener accepts. ``misbehave`` makes the policies of a scenario, from what is served, where TVS
    listens, and where events go. Raises :class:`~conf.ConfError` or
    :class:`~lab.sockets.PortError` before that.
    """
    allow_all_descriptors()
    settings = load_settings(state, overrides)
    metrics = Metrics()
    with claim(state), _event_log(state, settings, metrics.read) as log:
        plane = TrustPlane(load_node(state), settings, report=log.report)
        try:
            await _Daemon(state, overrides, plane, log, metrics, ready, misbehave).run()
        finally:
            plane.close()


@contextmanager
def _event_log(state: Path, settings: Settings, *readers: Reader) -> Iterator[EventLog]:
    shown = settings.log
    log = EventLog(
        state / EVENTS_FILE,
        max_bytes=settings.events.max_bytes,
        kept_files=settings.events.kept_files,
        readers=[log_reader(shown.style, shown.level, shown.lines_per_second), *readers],
    )
    try:
        yield log
    finally:
        log.close()


@dataclass
class _Daemon:
    state: Path
    overrides: dict[str, object]
    plane: TrustPlane
    log: EventLog
    metrics: Metrics
    ready: Ready
    misbehave: Misbehave | None = None
    counters: Counters = field(default_factory=Counters)
    _workers: list[Worker] = field(default_factory=list)

    @property
    def report(self) -> Reader:
        return self.log.report

    async def run(self) -> None:
        settings = self.plane.settings
        doors, datagrams, scrapes = await self._open()
        web = await open_web(self.state, settings)
        record = RunRecord(
            pid=os.getpid(),
            tvs=address_of(doors[0].listeners[0].socket.getsockname()),
            tftp=address_of(datagrams.getsockname()),
            http=web.address("http"),
            https=web.address("https"),
            metrics=address_of(scrapes.getsockname()) if scrapes else None,
        )
        await self._announce(record)
        warn(self.plane, doors, self.report)
        stop = trio.Event()
        mischief: Mischief | None = None
        if self.misbehave is not None:
            mischief = await trio.to_thread.run_sync(
                self.misbehave, self.plane, record.tvs, self.report
            )
        serve_all: tuple[Start, ...] = (
            partial(
                serve_doors,
                doors,
                self.plane,
                worker=0,
                report=self.report,
                stop=stop,
                counters=self.counters,
                mischief=mischief,
            ),
            *(
                partial(worker.run, stop=stop, drain_seconds=settings.serve.drain_seconds)
                for worker in self._workers_beside(doors)
            ),
            partial(
                serve_tftp,
                [datagrams],
                find=self.plane.find,
                report=self.report,
                reply_policy=mischief.file_answer if mischief else None,
                link=mischief.link if mischief else None,
                stop=stop,
                drain_seconds=settings.serve.drain_seconds,
                **tftp_keywords(self.state, settings.tftp),
            ),
            *web.services(
                self.plane,
                report=self.report,
                policy=mischief.file_answer if mischief else None,
                stop=stop,
            ),
            *self._endpoints(scrapes, stop),
        )
        receiver = trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        with receiver as signals:
            async with trio.open_nursery() as nursery:
                for serve in serve_all:
                    await nursery.start(serve)
                async with trio.open_nursery() as background:
                    if mischief is not None:
                        await background.start(mischief.run)
                    background.start_soon(self._watch)
                    background.start_soon(self._tell_manager, record)
                    write_record(self.state, record)
                    settle()
                    self.ready(Running(self.plane, record))
                    systemd.notify("READY=1", f"STATUS={self._status()}")
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

    async def _open(self) -> tuple[list[Door], socket.socket, socket.socket | None]:
        """The sockets of TVS, TFTP and metrics: systemd's where it passed them, else our own."""
        settings = self.plane.settings
        passed = systemd.inherited_sockets()
        doors = await open_doors(settings, passed.get("tvs"))
        datagrams = passed.get("tftp") or bind_udp(
            "TFTP", settings.serve.address, settings.tftp.port
        )
        scrapes = passed.get("metrics")
        if scrapes is None and settings.metrics.enabled:
            (listener,) = await listen_tcp(
                "metrics", settings.metrics.address, settings.metrics.port
            )
            scrapes = socket.socket(fileno=listener.socket.detach())
        return doors, datagrams, scrapes

    def _endpoints(self, scrapes: socket.socket | None, stop: trio.Event) -> Iterator[Start]:
        if scrapes is not None:
            self.metrics.registry.register(Gauges(self.plane, self.counters, lambda: self.log.lost))
            yield partial(serve_metrics, scrapes, text=self.metrics.text, stop=stop)

    def _status(self) -> str:
        problem = self.plane.problem
        standing = (
            f"{len(self.plane.snapshot)} certificates, {len(self.plane.catalog.lists())} lists"
        )
        return f"{standing}; {self.metrics.status()}" + (f"; kept: {problem}" if problem else "")

    async def _tell_manager(self, record: RunRecord) -> None:
        await tell_manager(
            lambda: self.plane.node,
            record.tvs,
            status=self._status,
            report=self.report,
            watchdog_seconds=systemd.watchdog_seconds(),
        )

    async def _announce(self, record: RunRecord) -> None:
        """Tell every node of the cluster where our TVS listens: phones' configurations name it."""
        node = self.plane.node
        own = replace(
            node.own,
            address=node.address,
            tvs_port=record.tvs[1],
            state=self.state,
            certificates=with_tvs_identities(node, self.plane.settings.tvs),
        )
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
            monotonic = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            systemd.notify("RELOADING=1", f"MONOTONIC_USEC={monotonic}")
            await self._reload()
            for worker in self._workers:
                await worker.reload()
            systemd.notify("READY=1", f"STATUS={self._status()}")

    async def _reload(self) -> None:
        try:
            settings = load_settings(self.state, self.overrides)
        except ConfError as error:
            self.plane.refuse(str(error))
            return
        await self.plane.refresh(settings)
