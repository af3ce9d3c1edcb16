"""What phones did, against what a scenario expects, from the daemon's event log."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase

from lab.events import Event
from lab.scenarios.model import Expectation, Scenario


class Met(StrEnum):
    """How an expectation came out."""

    MET = "met"
    NOT_MET = "not met"
    NOT_OBSERVED = "not observed"


@dataclass(frozen=True, slots=True)
class Judged:
    """One expectation and how it came out."""

    expectation: Expectation
    met: Met
    reason: str

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "expectation": self.expectation.text,
            "standing": self.expectation.standing,
            "outcome": self.met.value,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Conduct:
    """One phone's conduct in a scenario."""

    scenario: Scenario
    device: str
    judged: tuple[Judged, ...]
    asked: tuple[Mapping[str, object], ...]

    @property
    def exit_code(self) -> int:
        """0 all required ones are met, 1 some are not, 3 some were not observed."""
        found = {one.met for one in self.judged if one.expectation.standing == "required"}
        if Met.NOT_MET in found:
            return 1
        return 3 if Met.NOT_OBSERVED in found else 0

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        words = {0: "met", 1: "not met", 3: "not observed"}
        return {
            "scenario": self.scenario.name,
            "device": self.device,
            "verdict": words[self.exit_code],
            "expectations": [one.as_json() for one in self.judged],
            "asked": [
                {key: event[key] for key in ("boot", "file", "about", "outcome") if key in event}
                for event in self.asked
            ],
        }


def judge(scenario: Scenario, events: Iterable[Event], *, ended: bool) -> list[Conduct]:
    """The conduct of every phone since the scenario last started, in the order they came.

    ``ended``: nothing more will happen; else a boot counts as over when a later one has begun or
    its time has passed by the newest event.
    """
    phones: dict[str, list[Event]] = {}
    newest: datetime | None = None
    for event in events:
        newest = _time(event) or newest
        if event.get("event") == "scenario.started":
            phones = {}
        elif event.get("event") == "scenario.asked":
            phones.setdefault(str(event["device"]), []).append(event)
    return [
        Conduct(scenario, device, tuple(_judge(scenario, asked, newest, ended=ended)), tuple(asked))
        for device, asked in phones.items()
    ]


def _judge(
    scenario: Scenario, asked: Sequence[Event], newest: datetime | None, *, ended: bool
) -> list[Judged]:
    judged = []
    after = 0
    for expectation in scenario.expect:
        hits = [
            at
            for at, event in enumerate(asked)
            if event["boot"] == expectation.boot and _fits(expectation, event)
        ]
        boot = [event for event in asked if event["boot"] == expectation.boot]
        over = bool(boot) and (
            ended
            or any(_number(event) > expectation.boot for event in asked)
            or _seconds(_time(boot[0]), newest) > expectation.within_seconds
        )
        if expectation.kind.startswith("must_not"):
            judged.append(_forbidden(expectation, [asked[at] for at in hits], boot, over=over))
            continue
        in_order = [at for at in hits if at >= after and _in_time(expectation, boot[0], asked[at])]
        if in_order:
            after = in_order[0] + 1
            judged.append(Judged(expectation, Met.MET, _words(asked[in_order[0]])))
        elif over:
            late = "; it came out of order or too late" if hits else ""
            judged.append(Judged(expectation, Met.NOT_MET, f"it did not{late}"))
        else:
            judged.append(Judged(expectation, Met.NOT_OBSERVED, _unseen(boot)))
    return judged


def _forbidden(
    expectation: Expectation, hits: Sequence[Event], boot: Sequence[Event], *, over: bool
) -> Judged:
    if hits:
        return Judged(expectation, Met.NOT_MET, _words(hits[0]))
    if over:
        return Judged(expectation, Met.MET, f"{len(boot)} other requests in this boot")
    return Judged(expectation, Met.NOT_OBSERVED, _unseen(boot))


def _unseen(boot: Sequence[Event]) -> str:
    return "the boot is not over yet" if boot else "there was no such boot"


def _fits(expectation: Expectation, event: Event) -> bool:
    kind, value = expectation.kind.removeprefix("must_not_"), expectation.value
    if kind in {"asks_tvs", "ask_tvs"}:
        about = event.get("about")
        return about == value or (value == "anyone" and about not in {None, "nothing yet"})
    file = event.get("file")
    if not isinstance(file, str):
        return False
    if kind in {"takes", "take"}:
        return file.startswith(f"trustlab-{value}")
    return fnmatchcase(file, value.replace("{device}", str(event["device"])))


def _in_time(expectation: Expectation, first: Event, event: Event) -> bool:
    return _seconds(_time(first), _time(event)) <= expectation.within_seconds


def _words(event: Event) -> str:
    if "file" in event:
        return f"it asked for {event['file']}"
    return f"it asked TVS about {event.get('about')}"


def _number(event: Event) -> int:
    number = event.get("boot")
    return number if isinstance(number, int) else 0


def _time(event: Event) -> datetime | None:
    text = event.get("time")
    return datetime.fromisoformat(text) if isinstance(text, str) else None


def _seconds(begin: datetime | None, end: datetime | None) -> float:
    return (end - begin).total_seconds() if begin and end else 0.0
