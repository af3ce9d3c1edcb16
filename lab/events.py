"""The one place through which services report what happened to which phone.

An event is a flat mapping of plain JSON values; it becomes one line of ``DIR/events.jsonl``. Logs,
metrics and timelines are readers of what passes here, never a second source.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

import msgspec
import trio

from conf.files import open_or_make
from lab.text import json_text

Event: TypeAlias = Mapping[str, object]
Reader: TypeAlias = Callable[[Event], None]

EVENTS_FILE = "events.jsonl"
TOGETHER_BYTES = 65_536  # of lines written in one call at most
_APPENDING = os.O_WRONLY | os.O_APPEND


class EventLog:
    """Appends events to a file that is moved aside at ``max_bytes`` octets.

    ``kept_files`` old files stay beside it (``events.jsonl.1`` the newest). A line that cannot be
    written is counted in ``lost`` and the service goes on: a full disk must not stop phones.
    ``readers`` get every event as well. In a trio run the lines of one round of its scheduler are
    written together, some milliseconds later at most; elsewhere each at once.
    """

    def __init__(
        self, path: Path, *, max_bytes: int, kept_files: int, readers: Iterable[Reader] = ()
    ) -> None:
        self.path = path
        self.lost = 0
        self._max_bytes = max_bytes
        self._together = min(TOGETHER_BYTES, max_bytes)
        self._encode = msgspec.json.Encoder().encode
        self._kept_files = kept_files
        self._readers = tuple(readers)
        self._descriptor = open_or_make(path, _APPENDING)
        self._size = os.fstat(self._descriptor).st_size
        self._lines: list[bytes] = []  # that wait to be written
        self._octets = 0  # of these lines
        self._milliseconds = self._second = -1  # of Unix time, and the same as text
        self._stamp = self._until_second = ""

    def report(self, event: Event) -> None:
        """Take one event; its time (RFC 3339, UTC, milliseconds) is added here."""
        stamped = {"time": self._now(), **event}
        try:
            line = self._encode(stamped) + b"\n"
        except UnicodeEncodeError:  # the name of a file, for one, need not be UTF-8
            line = f"{json_text(stamped)}\n".encode()
        if self._octets + len(line) > self._together:
            self._write()
        self._lines.append(line)
        self._octets += len(line)
        if len(self._lines) == 1:
            self._write_soon()
        for reader in self._readers:
            reader(stamped)

    def close(self) -> None:
        """Write what waits and close the file; nothing is reported after."""
        self._write()
        os.close(self._descriptor)

    def _now(self) -> str:
        milliseconds = time.time_ns() // 1_000_000
        if milliseconds != self._milliseconds:
            self._milliseconds = milliseconds
            second, rest = divmod(milliseconds, 1000)
            if second != self._second:
                self._second = second
                self._until_second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._stamp = f"{self._until_second}.{rest:03d}Z"
        return self._stamp

    def _write_soon(self) -> None:
        try:
            token = trio.lowlevel.current_trio_token()
        except RuntimeError:
            self._write()
        else:
            token.run_sync_soon(self._write, idempotent=True)

    def _write(self) -> None:
        if not self._lines:
            return
        octets = b"".join(self._lines)
        self._lines.clear()
        self._octets = 0
        try:
            if self._size + len(octets) > self._max_bytes and self._size:
                self._rotate()
            while octets:
                written = os.write(self._descriptor, octets)
                self._size += written
                octets = octets[written:]
        except OSError:
            self.lost += octets.count(b"\n")

    def _rotate(self) -> None:
        # First what may fail for want of a descriptor: else each try would push an older file out.
        fresh = self.path.with_name(f".{self.path.name}")
        fresh.unlink(missing_ok=True)
        descriptor = open_or_make(fresh, _APPENDING)
        for number in range(self._kept_files, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            newer = (
                self.path.with_name(f"{self.path.name}.{number - 1}") if number > 1 else self.path
            )
            if newer.exists():
                newer.replace(older)
        fresh.replace(self.path)
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._size = 0
