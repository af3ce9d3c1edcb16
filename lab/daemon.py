"""The daemon: opens the ports, wires the services to what they answer from, reloads, drains."""

import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import trio

from conf import ConfError
from conf.node import load_node, publish
from conf.running import RunRecord, claim, write_record
from conf.settings import Settings, load_settings
from lab import systemd
from lab.catalog import tftp_keywords
from lab.doors import Door, serve_doors, warn
from lab.events import EVENTS_FILE, EventLog, Reader
from lab.health import tell_manager
from lab.log import Log, log_writer
from lab.metrics import Gauges, Metrics
from lab.plane import TrustPlane, with_tvs_identities
from lab.ports import Ports, open_ports
from lab.process import allow_all_descriptors, settle
from lab.reload import taken_up
from lab.workers import Counted, Worker, counted, run_workers
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
    lines = Log(
        log_writer(settings.log.style),
        level=settings.log.level,
        lines_per_second=settings.log.lines_per_second,
    )
    with (
        claim(state),
        closing(
            EventLog(
                state / EVENTS_FILE,
                max_bytes=settings.events.max_bytes,
                kept_files=settings.events.kept_files,
                readers=(lines.read, metrics.read),
            )
        ) as log,
        closing(TrustPlane(load_node(state), settings, report=log.report)) as plane,
    ):
        await _Daemon(state, overrides, plane, log, lines, metrics, ready, misbehave).run()


@dataclass
class _Daemon:
    state: Path
    overrides: dict[str, object]
    plane: TrustPlane
    log: EventLog
    lines: Log
    metrics: Metrics
    ready: Ready
    misbehave: Misbehave | None = None
    counters: Counters = field(default_factory=Counters)
    _workers: list[Worker] = field(default_factory=list)
    _unread: str | None = None  # why the settings on disk are not those in force
    _waiting: tuple[str, ...] = ()  # the settings that wait for a restart

    @property
    def report(self) -> Reader:
        return self.log.report

    @property
    def problem(self) -> str | None:
        """Why what is on disk is not in force, or None where it is."""
        return self._unread or self.plane.problem

    async def run(self) -> None:
        ports = await open_ports(self.state, self.plane.settings)
        record = ports.record()
        await self._announce(record)
        warn(self.plane, ports.doors, self.report)
        stop = trio.Event()
        mischief: Mischief | None = None
        if self.misbehave is not None:
            mischief = await trio.to_thread.run_sync(
                self.misbehave, self.plane, record.tvs, self.report
            )
        receiver = trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        with receiver as signals:
            async with trio.open_nursery() as nursery:
                for serve in self._services(ports, mischief, stop):
                    await nursery.start(serve)
                async with trio.open_nursery() as background:
                    if mischief is not None:
                        await background.start(mischief.run)
                    background.start_soon(self._watch, record)
                    background.start_soon(self._tell_manager, record)
                    write_record(self.state, record)
                    settle()
                    self.ready(Running(self.plane, record))
                    systemd.notify("READY=1", f"STATUS={self._status()}")
                    await self._until_stopped(signals, record)
                    background.cancel_scope.cancel()
                systemd.notify("STOPPING=1")
                stop.set()
                drain = self.plane.settings.serve.drain_seconds
                nursery.cancel_scope.deadline = trio.current_time() + drain

    def _services(
        self, ports: Ports, mischief: "Mischief | None", stop: trio.Event
    ) -> Iterator[Start]:
        """What to start, in this order."""
        plane, report = self.plane, self.report
        file_answer = mischief.file_answer if mischief else None
        drain = plane.settings.serve.drain_seconds
        yield partial(
            serve_doors,
            ports.doors,
            plane,
            worker=0,
            report=report,
            stop=stop,
            counters=self.counters,
            mischief=mischief,
        )
        self._workers = self._workers_beside(ports.doors)
        yield partial(run_workers, self._workers, stop=stop, drain_seconds=drain)
        yield partial(
            serve_tftp,
            [ports.datagrams],
            find=plane.find,
            report=report,
            limits=lambda: plane.tftp_limits,
            reply_policy=file_answer,
            link=mischief.link if mischief else None,
            stop=stop,
            drain_seconds=drain,
            **tftp_keywords(self.state, plane.settings.tftp),
        )
        yield from ports.web.services(plane, report=report, policy=file_answer, stop=stop)
        if ports.scrapes is not None:
            gauges = Gauges(
                plane,
                counted=self._counted,
                problem=lambda: self.problem,
                lost=lambda: self.log.lost,
            )
            self.metrics.registry.register(gauges)
            from lab.metrics_endpoint import serve_metrics  # noqa: PLC0415  as for HTTP

            yield partial(serve_metrics, ports.scrapes, text=self.metrics.text, stop=stop)

    def _counted(self) -> list[Counted]:
        return [counted(self.counters), *(worker.counted for worker in self._workers)]

    def _workers_beside(self, doors: list[Door]) -> list[Worker]:
        tvs = self.plane.settings.tvs
        # a worker that is started again later serves the doors that are there, not those to come
        doors_now = {"tvs.profile": tvs.profile, "tvs.legacy_port": tvs.legacy_port}
        return [
            Worker(number, doors, self.state, self.overrides | doors_now, self.report)
            for number in range(1, tvs.workers)
        ]

    def _status(self) -> str:
        standing = (
            f"{len(self.plane.snapshot)} certificates, {len(self.plane.catalog.lists())} lists"
        )
        words = [standing, self.metrics.status()]
        if self.problem:
            words.append(f"kept: {self.problem}")
        if self._waiting:
            words.append(f"after a restart: {', '.join(self._waiting)}")
        return "; ".join(words)

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
            why = "cannot be written, or is of the cluster this node was copied from"
            words = f"{missed} {why}: its phones may ask an old TVS port"
            self._say("cluster.unreachable", "stale", words)
        await self.plane.refresh()

    async def _watch(self, record: RunRecord) -> None:
        while True:
            await self.plane.until_next_look()
            await self._refresh(record)
            if record.kept != self.problem:
                with suppress(OSError):  # of a full disk; tried again
                    told = msgspec.structs.replace(record, kept=self.problem)
                    write_record(self.state, told)
                    record = told

    async def _until_stopped(self, signals: AsyncIterator[int], record: RunRecord) -> None:
        async for number in signals:
            if number != signal.SIGHUP:
                self._say("daemon.stopping", "draining", signal.Signals(number).name)
                return
            monotonic = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            systemd.notify("RELOADING=1", f"MONOTONIC_USEC={monotonic}")
            await self._reload(record)
            systemd.notify("READY=1", f"STATUS={self._status()}")

    async def _reload(self, record: RunRecord) -> None:
        """Take up the settings as they now are, all of them or, if that cannot be, none."""
        standing = self.plane.settings
        try:
            settings, waiting = taken_up(load_settings(self.state, self.overrides), standing)
        except ConfError as error:
            self._unread = str(error)
            self._say("plane.refused", "kept", self._unread)
            return
        self._unread, self._waiting = None, tuple(waiting)
        for words in waiting.values():
            self._say("settings.waiting", "kept", words)
        await self._refresh(record, settings)
        for worker in self._workers:
            await worker.reload()

    async def _refresh(self, record: RunRecord, settings: Settings | None = None) -> None:
        """Take up what changed; most of the settings are looked up in the plane by who needs them.

        Settings that could not be taken up at once are when what hindered them is gone.
        """
        standing = self.plane.settings
        await self.plane.refresh(settings)
        if self.plane.settings is not standing:
            shown = self.plane.settings.log
            self.lines.change(
                log_writer(shown.style), level=shown.level, lines_per_second=shown.lines_per_second
            )
            try:
                await self._announce(record)
            except (ConfError, OSError) as error:  # a full disk ends no service
                self._say("cluster.unreachable", "stale", f"our record cannot be written: {error}")

    def _say(self, event: str, outcome: str, reason: str) -> None:
        self.report({"event": event, "outcome": outcome, "reason": reason})
