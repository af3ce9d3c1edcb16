"""Metrics for Prometheus: counters fed by the event log, gauges looked up when they are asked for.

Everything here is a reader: a service never knows that it is counted. Label values come from small
fixed sets, so that nobody from outside can grow them.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from itl.certificates import describe
from lab.events import Event
from lab.plane import TrustPlane
from lab.workers import Counted
from tftp.packets import ErrorCode
from tftp.transfer import Ending
from tvs.answers import Cause

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ANSWER_SECONDS = (0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)
_TRANSFER_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0)
_CAUSES = frozenset(Cause)
_VERDICTS = frozenset({"trusted", "not trusted", "unknown command"})
_REQUESTS = frozenset({"query", "verify"})
_PROBLEMS = frozenset(
    {"refused", "timed out", "malformed", "handshake failed", "lost", "dropped", "failed"}
)
_OUTCOMES = frozenset({*Ending, *(code.words for code in ErrorCode)})


class Metrics:
    """Counts what passes through the event log; :meth:`read` is its reader."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._answers = Counter(
            "trustlab_tvs_answers",
            "Answers of TVS, by what was asked, the verdict and its reason.",
            ("request", "verdict", "reason"),
            registry=self.registry,
        )
        self._answer_seconds = Histogram(
            "trustlab_tvs_answer_seconds",
            "From a request's last octet to its answer.",
            buckets=_ANSWER_SECONDS,
            registry=self.registry,
        )
        self._problems = Counter(
            "trustlab_tvs_problems",
            "Connections to TVS that ended badly, and those refused by a limit.",
            ("outcome",),
            registry=self.registry,
        )
        self._transfers = Counter(
            "trustlab_transfers",
            "Transfers and refusals of TFTP and HTTP, by outcome.",
            ("service", "outcome", "expected"),
            registry=self.registry,
        )
        self._transfer_seconds = Histogram(
            "trustlab_transfer_seconds",
            "How long a transfer took.",
            ("service",),
            buckets=_TRANSFER_SECONDS,
            registry=self.registry,
        )
        self._octets = Counter(
            "trustlab_transfer_bytes", "Octets of files sent.", ("service",), registry=self.registry
        )
        self._retransmissions = Counter(
            "trustlab_tftp_retransmissions", "Packets sent again.", registry=self.registry
        )
        self._refused_changes = Counter(
            "trustlab_refused_changes",
            "Changes of settings, identities or lists that could not be taken up.",
            registry=self.registry,
        )

    def read(self, event: Event) -> None:
        """Take one event."""
        name = str(event.get("event"))
        if name == "tvs.answer":
            self._read_answer(event)
        elif name in {"tvs.connection", "tvs.refused_connection"}:
            held_back = event.get("held_back")
            count = 1 + held_back if isinstance(held_back, int) else 1
            self._problems.labels(_one_of(_PROBLEMS, event.get("outcome"))).inc(count)
        elif name.startswith(("tftp.", "http.", "https.")) and "file" in event:
            self._read_transfer(name.partition(".")[0], event)
        elif name == "plane.refused":
            self._refused_changes.inc()

    def _read_answer(self, event: Event) -> None:
        self._answers.labels(
            _one_of(_REQUESTS, event.get("request")),
            _one_of(_VERDICTS, event.get("outcome")),
            _one_of(_CAUSES, event.get("cause")),
        ).inc()
        self._answer_seconds.observe(_seconds(event))

    def _read_transfer(self, service: str, event: Event) -> None:
        outcome = _one_of(_OUTCOMES, event.get("outcome"))
        self._transfers.labels(service, outcome, str(bool(event.get("expected"))).lower()).inc()
        if outcome in {"done", "unconfirmed"}:
            self._transfer_seconds.labels(service).observe(_seconds(event))
        self._octets.labels(service).inc(_number(event.get("bytes")))
        self._retransmissions.inc(_number(event.get("retransmissions")))

    def status(self) -> str:
        """What happened so far, in a few words."""
        verdicts = dict.fromkeys(("trusted", "not trusted"), 0)
        for sample in _samples(self._answers):
            verdict = sample.labels["verdict"]
            verdicts[verdict] = verdicts.get(verdict, 0) + int(sample.value)
        sent = sum(
            int(sample.value)
            for sample in _samples(self._transfers)
            if sample.labels["outcome"] == "done"
        )
        yes, no = verdicts["trusted"], verdicts["not trusted"]
        return f"TVS answered {yes} times yes, {no} times no; {sent} files sent"

    def text(self) -> bytes:
        """Everything in Prometheus's text format."""
        return generate_latest(self.registry)


class Gauges(Collector):
    """What is looked up when a scrape comes: the plane, the connections, the event log.

    ``counted`` tells of each process's connections, ``problem`` why what is on disk is not in
    force, ``lost`` how many events could not be written.
    """

    def __init__(
        self,
        plane: TrustPlane,
        *,
        counted: Callable[[], Iterable[Counted]],
        problem: Callable[[], str | None],
        lost: Callable[[], int],
    ) -> None:
        self._plane = plane
        self._counted = counted
        self._problem = problem
        self._lost = lost

    def describe(self) -> list[Metric]:
        """Nothing: the names are fixed, and no look-up is wanted at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The values of this moment."""
        plane, counted = self._plane, sum(self._counted(), Counted())
        yield GaugeMetricFamily(
            "trustlab_trusted_certificates",
            "Certificates that TVS answers from.",
            value=len(plane.snapshot),
        )
        expiry = GaugeMetricFamily(
            "trustlab_nearest_expiry_days",
            "Days until the first certificate expires: of the own identities, of all trusted.",
            labels=("of",),
        )
        expiry.add_metric(("identities",), _days(_own_expiries(plane)))
        trusted = (entry.not_after for entry in plane.snapshot.entries())
        expiry.add_metric(("trusted",), _days(trusted))
        yield expiry
        yield GaugeMetricFamily(
            "trustlab_lists_up_to_date",
            "1: lists, identities, store and settings are in force as they are on disk; "
            "0: the last change was refused, and what was there before is served.",
            value=int(self._problem() is None),
        )
        lists = GaugeMetricFamily(
            "trustlab_list_bytes", "Size of each list served; phones take 64 kB.", labels=("file",)
        )
        for name, octets in plane.catalog.lists().items():
            lists.add_metric((name,), len(octets))
        yield lists
        yield GaugeMetricFamily(
            "trustlab_tvs_connections_open", "Open connections to TVS.", value=counted.open
        )
        handshakes = CounterMetricFamily(
            "trustlab_tvs_handshakes", "TLS handshakes with TVS.", labels=("version",)
        )
        for version, count in counted.versions.items():
            handshakes.add_metric((version,), count)
        handshakes.add_metric(("failed",), counted.failed)
        yield handshakes
        yield CounterMetricFamily(
            "trustlab_events_lost",
            "Events that could not be written to events.jsonl.",
            value=self._lost(),
        )


def _samples(counter: Counter) -> Iterator[Sample]:
    for family in counter.collect():
        yield from (sample for sample in family.samples if sample.name.endswith("_total"))


def _own_expiries(plane: TrustPlane) -> Iterator[datetime]:
    for der in plane.node.own.certificates.values():
        yield describe(der).not_after


def _days(expiries: Iterator[datetime]) -> float:
    first = min(expiries, default=datetime.max.replace(tzinfo=UTC))
    return (first - datetime.now(UTC)) / timedelta(days=1)


def _one_of(known: frozenset[str], word: object) -> str:
    return word if isinstance(word, str) and word in known else "other"


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else 0


def _seconds(event: Event) -> float:
    return _number(event.get("milliseconds")) / 1000
