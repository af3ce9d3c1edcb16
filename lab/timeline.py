"""The event log of a node, read from its beginning on, over the files that were moved aside."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from lab.events import EVENTS_FILE, Event


class Timeline:
    """Reads ``DIR/events.jsonl`` and the older files beside it; what is no event is left out."""

    def __init__(self, state: Path) -> None:
        self._path = state / EVENTS_FILE
        self._inode = self._at = 0

    def kept(self) -> Iterator[Event]:
        """The events of the files that were moved aside, the oldest first."""
        found = self._path.parent.glob(f"{EVENTS_FILE}.[0-9]*")
        for path in sorted(found, key=_age, reverse=True):
            yield from _events(_octets(path, 0))

    def fresh(self) -> Iterator[Event]:
        """The events that came to the present file since the last call."""
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            return
        if self._inode not in {0, inode}:
            moved = self._path.with_name(f"{EVENTS_FILE}.1")
            yield from _events(_octets(moved, self._at))
            self._at = 0
        self._inode = inode
        octets = _octets(self._path, self._at)
        self._at += len(octets)
        yield from _events(octets)


def read_events(state: Path) -> list[Event]:
    """All events of the node ``state`` that are kept."""
    timeline = Timeline(state)
    return [*timeline.kept(), *timeline.fresh()]


def _octets(path: Path, begin: int) -> bytes:
    """Whole lines from ``begin`` on."""
    try:
        with path.open("rb") as file:
            file.seek(begin)
            octets = file.read()
    except FileNotFoundError:
        return b""
    return octets[: octets.rfind(b"\n") + 1]


def _events(octets: bytes) -> Iterator[Event]:
    for line in octets.splitlines():
        try:
            event = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        if isinstance(event, dict):
            yield event


def _age(path: Path) -> int:
    number = path.suffix.removeprefix(".")
    return int(number) if number.isdecimal() else 0
