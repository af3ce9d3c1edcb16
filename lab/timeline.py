"""The event log of a node, read from its beginning on, over the files that were moved aside."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from conf.files import open_regular
from lab.events import EVENTS_FILE, Event

_Kind = TypeVar("_Kind")


class Timeline:
    """Reads ``DIR/events.jsonl`` and the older files beside it; what is no event is left out."""

    def __init__(self, state: Path) -> None:
        self._path = state / EVENTS_FILE
        self._inode = self._at = 0

    def kept(self) -> Iterator[Event]:
        """The events of the files that were moved aside, the oldest first."""
        for path in _moved_aside(self._path):
            yield from _decoded(_lines(path, 0), dict)

    def fresh(self) -> Iterator[Event]:
        """The events that came to the present file since the last call."""
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            return
        if self._inode not in {0, inode}:
            moved = self._path.with_name(f"{EVENTS_FILE}.1")
            yield from _decoded(_lines(moved, self._at), dict)
            self._at = 0
        self._inode = inode
        yield from _decoded(self._new_lines(), dict)

    def _new_lines(self) -> Iterator[bytes]:
        for line in _lines(self._path, self._at):
            self._at += len(line)
            yield line


def read_events(state: Path, kind: type[_Kind], *, holding: bytes = b"") -> Iterator[_Kind]:
    """The events of the node ``state`` that are kept and that msgspec can read as a ``kind``.

    Lines that do not hold the octets ``holding`` are not looked into: of a long log most are not
    wanted.
    """
    path = state / EVENTS_FILE
    for each in (*_moved_aside(path), path):
        yield from _decoded((line for line in _lines(each, 0) if holding in line), kind)


def _moved_aside(path: Path) -> list[Path]:
    """The older files, the oldest first."""
    return sorted(path.parent.glob(f"{EVENTS_FILE}.[0-9]*"), key=_age, reverse=True)


def _age(path: Path) -> int:
    number = path.suffix.removeprefix(".")
    return int(number) if number.isdecimal() else 0


def _lines(path: Path, begin: int) -> Iterator[bytes]:
    """Whole lines from octet ``begin`` on."""
    try:
        file = open_regular(path)
    except FileNotFoundError:
        return
    with file:
        file.seek(begin)
        for line in file:
            if not line.endswith(b"\n"):  # it is being written
                return
            yield line


def _decoded(lines: Iterable[bytes], kind: type[_Kind]) -> Iterator[_Kind]:
    decode = msgspec.json.Decoder(kind).decode
    for line in lines:
        try:
            yield decode(line)
        except msgspec.DecodeError:
            continue
