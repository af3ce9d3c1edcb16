"""What a check is, what came of it, and what a whole run says.

A check demands one thing of the examined system and names its source. Its standing says how much
that source weighs; its verdict comes with the octets that crossed the wire, in order and with time.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from time import monotonic
from typing import Any, Generic, NoReturn, TypeVar

KEPT_OCTETS = 96  # of one datagram or record: enough for a header and the names in it
KEPT_MOMENTS = 120  # of one check; a transfer of 65 536 blocks must not fill the report
EXIT_CODES = {"pass": 0, "fail": 1, "inconclusive": 3}

Target = TypeVar("Target")


class Standing(StrEnum):
    """How much weight the source of a demand has."""

    REQUIRED = "required"
    RECOMMENDED = "recommended"
    OBSERVED = "observed"  # what a CUCM was seen to do
    ASSUMED = "assumed"  # the evidence is thin: never counted as failure


class Verdict(StrEnum):
    """What a check found."""

    PASS = "pass"  # noqa: S105  a verdict, no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not applicable"


class Ruling(Exception):  # noqa: N818  a ruling ends a check early; it is not always an error
    """Ends a check with a verdict other than pass."""

    def __init__(self, verdict: Verdict, reason: str) -> None:
        super().__init__(reason)
        self.verdict = verdict


def fail(reason: str) -> NoReturn:
    """End the check: the demand is not met."""
    raise Ruling(Verdict.FAIL, reason)


def demand(met: object, reason: str) -> None:
    """End the check with ``reason`` unless ``met``."""
    if not met:
        fail(reason)


def untold(reason: str) -> NoReturn:
    """End the check: it could not be told whether the demand is met."""
    raise Ruling(Verdict.INCONCLUSIVE, reason)


def inapplicable(reason: str) -> NoReturn:
    """End the check: the demand does not apply, or was not observed for want of material."""
    raise Ruling(Verdict.NOT_APPLICABLE, reason)


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a timeline: ``milliseconds`` after the check began; ``octets`` may be cut."""

    milliseconds: float
    kind: str  # "sent", "received" or "note"
    peer: str
    octets: bytes
    length: int
    text: str

    def as_json(self) -> dict[str, object]:
        """Plain values; octets as lower-case hex."""
        value: dict[str, object] = {"milliseconds": self.milliseconds, "kind": self.kind}
        if self.kind != "note":
            value |= {"peer": self.peer, "length": self.length, "octets": self.octets.hex()}
        if self.text:
            value["text"] = self.text
        return value


class Timeline:
    """What one check sent and received; beyond a limit moments are counted only."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []
        self.left_out = 0
        self._start = monotonic()

    def sent(self, octets: bytes, peer: str) -> None:
        """Note octets that went out to ``peer``."""
        self._add("sent", peer, octets)

    def received(self, octets: bytes, peer: str) -> None:
        """Note octets that came in from ``peer``."""
        self._add("received", peer, octets)

    def note(self, text: str) -> None:
        """Note something that is not on the wire."""
        self._add("note", "", b"", text)

    @property
    def milliseconds(self) -> float:
        """Since the check began."""
        return round((monotonic() - self._start) * 1000, 1)

    def _add(self, kind: str, peer: str, octets: bytes, text: str = "") -> None:
        if len(self.moments) >= KEPT_MOMENTS:
            self.left_out += 1
            return
        kept = bytes(octets[:KEPT_OCTETS])
        self.moments.append(Moment(self.milliseconds, kind, peer, kept, len(octets), text))


Probe = Callable[[Target, Timeline], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Check(Generic[Target]):
    """One demand; ``probe`` examines the target and answers what it saw, or raises a ruling."""

    identifier: str
    demand: str
    source: str
    standing: Standing
    probe: Probe[Target]


def check(
    identifier: str, standing: Standing, demand: str, source: str
) -> Callable[[Probe[Target]], Check[Target]]:
    """Turn a probe into a check."""

    def make(probe: Probe[Target]) -> Check[Target]:
        return Check(identifier, demand, source, standing, probe)

    return make


def checks_in(module: Mapping[str, Any]) -> tuple[Check[Any], ...]:
    """The checks that a module's namespace defines, in order."""
    return tuple(value for value in module.values() if isinstance(value, Check))


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one check."""

    identifier: str
    demand: str
    source: str
    standing: Standing
    verdict: Verdict
    reason: str
    milliseconds: float
    timeline: tuple[Moment, ...]
    left_out: int = 0

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "id": self.identifier,
            "demand": self.demand,
            "source": self.source,
            "standing": self.standing.value,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "milliseconds": self.milliseconds,
            "timeline": [moment.as_json() for moment in self.timeline],
            "timeline_left_out": self.left_out,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run. ``strict`` counts the standing "observed" too."""

    suite: str
    target: str
    started: datetime
    results: tuple[Result, ...]
    strict: bool = False
    counted: frozenset[Standing] = field(init=False)

    def __post_init__(self) -> None:
        standings = {Standing.REQUIRED, Standing.RECOMMENDED}
        if self.strict:
            standings.add(Standing.OBSERVED)
        object.__setattr__(self, "counted", frozenset(standings))

    @property
    def failures(self) -> tuple[Result, ...]:
        """The failed checks that count."""
        return tuple(
            result
            for result in self.results
            if result.verdict is Verdict.FAIL and result.standing in self.counted
        )

    @property
    def verdict(self) -> Verdict:
        """Fail if a check that counts failed; inconclusive if a required one could not be told."""
        if self.failures:
            return Verdict.FAIL
        told = any(result.verdict is Verdict.PASS for result in self.results)
        open_ones = any(
            result.verdict is Verdict.INCONCLUSIVE and result.standing is Standing.REQUIRED
            for result in self.results
        )
        return Verdict.PASS if told and not open_ones else Verdict.INCONCLUSIVE

    @property
    def exit_code(self) -> int:
        """0 conforms, 1 does not, 3 could not be told."""
        return EXIT_CODES[self.verdict.value]

    def count(self, verdict: Verdict) -> int:
        """How many checks ended so."""
        return sum(result.verdict is verdict for result in self.results)

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "suite": self.suite,
            "target": self.target,
            "started": self.started.isoformat(timespec="seconds"),
            "verdict": self.verdict.value,
            "strict": self.strict,
            "counts": {verdict.value: self.count(verdict) for verdict in Verdict},
            "failed": [result.identifier for result in self.failures],
            "checks": [result.as_json() for result in self.results],
        }
