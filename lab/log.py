"""The log for people and for journald: a reader of the event log, one line an event.

Levels make sense at 40 000 phones: what happens at every boot is debug or info; a warning is
something an administrator should look at. Under attack the lines of one kind are limited, and what
was left out is counted.
"""

import json
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Literal, TextIO, TypeAlias

from lab.events import Event
from lab.health import DEVICE as HEALTH_DEVICE
from lab.text import clean, json_text

Level: TypeAlias = Literal["debug", "info", "warning"]
Style: TypeAlias = Literal["text", "json"]
Write: TypeAlias = Callable[[Level, Event], None]

JOURNAL_SOCKET = "/run/systemd/journal/socket"
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4}  # of syslog(3): the louder, the lower
_TROUBLE = frozenset({"failed", "kept", "stale", "refused", "malformed", "warning"})


def level_of(event: Event) -> Level:
    """How loud an event is."""
    outcome = event.get("outcome")
    # anybody may call himself as our own question does: only what is well is quiet
    if event.get("expected") or (event.get("device"), outcome) == (HEALTH_DEVICE, "trusted"):
        return "debug"
    return "warning" if outcome in _TROUBLE else "info"


class Log:
    """Writes events of at least ``level``, at most ``lines_per_second`` of one kind.

    ``write`` gets the level and the event. Time is an argument, so that limits can be tested.
    """

    def __init__(
        self,
        write: Write,
        *,
        level: Level,
        lines_per_second: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.change(write, level=level, lines_per_second=lines_per_second)
        self._clock = clock
        self._second = -1
        self._counts: dict[str, int] = {}

    def change(self, write: Write, *, level: Level, lines_per_second: int) -> None:
        """Go on in another way."""
        self._write = write
        self._lowest = _PRIORITIES[level]
        self._limit = lines_per_second

    def read(self, event: Event) -> None:
        """Take one event."""
        level = level_of(event)
        if _PRIORITIES[level] > self._lowest:
            return
        second = int(self._clock())
        if second != self._second:
            self._say_what_was_left_out()
            self._second = second
        kind = str(event.get("event"))
        self._counts[kind] = count = self._counts.get(kind, 0) + 1
        if count <= self._limit:
            self._write(level, event)

    def _say_what_was_left_out(self) -> None:
        for kind, count in self._counts.items():
            if count > self._limit:
                left_out = count - self._limit
                self._write("warning", {"event": "log.limited", "of": kind, "lines": left_out})
        self._counts = {}


def stream_writer(style: Style) -> Write:
    """Lines on standard error: key=value text, or JSON.

    A line that whoever reads standard error leaves no room for is dropped: phones come first.
    """
    render = _json if style == "json" else _text

    def write(level: Level, event: Event) -> None:
        if _has_room(sys.stderr):
            sys.stderr.write(render(level, event) + "\n")
            sys.stderr.flush()

    return write


def _json(level: Level, event: Event) -> str:
    shown = {key: _plain(value) for key, value in event.items() if value is not None}
    return json.dumps(shown | {"level": level})


def _text(level: Level, event: Event) -> str:
    """Pairs as logfmt has them; a word alone is true."""
    first = {"time": "", "level": level, "event": ""}
    pairs = {**first, **event}
    return " ".join([_pair(key, value) for key, value in pairs.items() if value is not None])


def _pair(key: str, value: object) -> str:
    if value is True:
        return key
    text = "false" if value is False else str(_plain(value))
    if " " in text or "=" in text or '"' in text:
        text = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{key}={text}"


def journal_writer(journal: socket.socket) -> Write:
    """Entries of the journal with fields of their own, as systemd.journal-fields(7) describes.

    ``journal`` is a datagram socket connected to the journal's. An entry that it has no room for is
    dropped: phones come first.
    """

    def write(level: Level, event: Event) -> None:
        text = " ".join(str(event[key]) for key in ("event", "device", "outcome") if event.get(key))
        fields = {
            "MESSAGE": f"{text}: {event.get('reason', '')}",
            "PRIORITY": _PRIORITIES[level],
            "SYSLOG_IDENTIFIER": "trustlab",
        }
        fields |= {f"TRUSTLAB_{key.upper()}": value for key, value in event.items()}
        entry = "".join(f"{key}={_plain(value)}\n" for key, value in fields.items())
        with suppress(OSError):
            journal.send(entry.encode(), socket.MSG_DONTWAIT)

    return write


@cache
def log_writer(style: Style) -> Write:
    """Where a daemon writes: the journal where standard error goes there, else that stream."""
    if _goes_to_the_journal(sys.stderr) and Path(JOURNAL_SOCKET).exists():
        journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        journal.connect(JOURNAL_SOCKET)
        return journal_writer(journal)
    return stream_writer(style)


def _goes_to_the_journal(stream: TextIO) -> bool:
    """Whether JOURNAL_STREAM names ``stream``; a terminal may have the variable of its session."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # not a file of the system
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _has_room(stream: TextIO) -> bool:
    """Whether a line can be written to ``stream`` at once; a pipe has room for 4096 octets then."""
    try:
        return bool(select.select([], [stream.fileno()], [], 0)[1])
    except (OSError, ValueError):  # not a file of the system
        return True


def _plain(value: object) -> object:
    if isinstance(value, Mapping | list | tuple):
        return json_text(value)
    return clean(value).replace("\n", " ") if isinstance(value, str) else value
