"""What all connections of one TVS share: what it answers from, its deadlines, limits and counts."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import trio
from OpenSSL import SSL

from tvs.answers import AnswerPolicy
from tvs.limits import Limits, OpenConnections, Throttle
from tvs.messages import Request
from tvs.snapshot import Snapshot
from tvs.turns import Turns

if TYPE_CHECKING:
    from tvs.session import Session

PROBLEMS_A_SECOND = 50  # problem reports that get through; a flood of garbage is counted, not told


@dataclass(frozen=True, slots=True)
class Reply:
    """What a reply policy wants sent: ``octets`` after a delay, then the end if ``close``."""

    octets: bytes
    delay_seconds: float = 0
    close: bool = False


ReplyPolicy: TypeAlias = Callable[[Request, bytes], Reply]
ContextPolicy: TypeAlias = Callable[[str], SSL.Context | None]
Report: TypeAlias = Callable[[Mapping[str, object]], None]


@dataclass
class Counters:
    """Connections ``open`` now, and handshakes since the start.

    ``versions`` counts those that were completed, by TLS version ("TLSv1.2").
    """

    open: int = 0
    handshakes_failed: int = 0
    versions: Counter[str] = field(default_factory=Counter)


@dataclass(eq=False)
class Service:
    """The shared part of a running TVS; ``stopping`` lets a connection end after its answer.

    ``limits`` is asked each time: a connection keeps a deadline it has, and gets the next one new.
    """

    context: Callable[[], SSL.Context]
    snapshot: Callable[[], Snapshot]
    policy: Callable[[], AnswerPolicy]
    report: Report
    limits: Callable[[], Limits]
    connections: OpenConnections
    counters: Counters
    reply_policy: ReplyPolicy | None = None
    context_policy: ContextPolicy | None = None
    stopping: bool = False
    turns: Turns = field(init=False)
    problems: Throttle = field(
        default_factory=lambda: Throttle(PROBLEMS_A_SECOND, trio.current_time)
    )
    refusals: Throttle = field(default_factory=lambda: Throttle(1, trio.current_time))
    sessions: set["Session"] = field(default_factory=set)
    unfinished: dict["Session", None] = field(default_factory=dict)
    _untold: list[dict[str, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.turns = Turns(self.tell)

    def context_for(self, address: str) -> SSL.Context:
        """What a connection from ``address`` begins with."""
        other = self.context_policy(address) if self.context_policy else None
        return self.context() if other is None else other

    def admit(self, address: str) -> str | None:
        """Count a new connection from ``address``, or say in words why it is refused."""
        refusal = self.connections.admit(address, self.limits())
        if not refusal:
            self.counters.open += 1
        return refusal

    def release(self, address: str) -> None:
        """Count an admitted connection as gone."""
        self.connections.release(address)
        self.counters.open -= 1

    def report_soon(self, event: dict[str, object]) -> None:
        """Report ``event`` with others, before anybody waits or anything else is reported."""
        self._untold.append(event)

    def tell(self) -> None:
        """Report what :meth:`report_soon` took; an event that cannot be is reported as that."""
        events, self._untold = self._untold, []
        for event in events:
            try:
                self.report(event)
            except Exception as error:  # noqa: BLE001 - one event's fault must not end the service
                reason = f"{type(error).__name__}: {error}"
                self.report({"event": "tvs.connection", "outcome": "failed", "reason": reason})

    def report_problem(
        self, *, device: str | None, peer: str, outcome: str, reason: str, milliseconds: float
    ) -> None:
        """Report a connection that ended badly, unless too many do."""
        held_back = self.problems.admit()
        if held_back is None:
            return
        self.tell()
        event: dict[str, object] = {
            "event": "tvs.connection",
            "device": device,
            "peer": peer,
            "outcome": outcome,
            "reason": reason,
            "milliseconds": milliseconds,
        }
        if held_back:
            event["held_back"] = held_back
        self.report(event)

    def report_refusal(self, *, peer: str, reason: str) -> None:
        """Report a connection that was not taken, once a second at most."""
        held_back = self.refusals.admit()
        if held_back is not None:
            self.report(
                {
                    "event": "tvs.refused_connection",
                    "device": None,
                    "peer": peer,
                    "outcome": "refused",
                    "reason": reason,
                    "held_back": held_back,
                }
            )
