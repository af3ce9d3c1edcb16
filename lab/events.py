"""The one place through which services report what happened to which phone.

An event is a flat mapping of plain JSON values; it becomes one line of ``DIR/events.jsonl``. Logs,
metrics and timelines are readers of what passes here, never a second source.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import msgspec

Event: TypeAlias = Mapping[str, object]
Reader: TypeAlias = Callable[[Event], None]

EVENTS_FILE = "events.jsonl"


class EventLog:
    """Appends events to a file that is moved aside at ``max_bytes`` octets.

    ``kept_files`` old files stay beside it (``events.jsonl.1`` the newest). A line that cannot be
    written is counted in ``lost`` and the service goes on: a full disk must not stop phones.
    ``readers`` get every event as well.
    """

    def __init__(
        self, path: Path, *, max_bytes: int, kept_files: int, readers: Iterable[Reader] = ()
    ) -> None:
        self.path = path
        self.lost = 0
        self._max_bytes = max_bytes
        self._kept_files = kept_files
        self._readers = tuple(readers)
        self._descriptor = self._open()
        self._size = os.fstat(self._descriptor).st_size

    def report(self, event: Event) -> None:
        """Take one event; its time (RFC 3339, UTC, milliseconds) is added here."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        stamped = {"time": now, **event}
        line = msgspec.json.encode(stamped) + b"\n"
        try:
            if self._size + len(line) > self._max_bytes and self._size:
                self._rotate()
            self._size += os.write(self._descriptor, line)
        except OSError:
            self.lost += 1
        for reader in self._readers:
            reader(stamped)

    def close(self) -> None:
        """Close the file; nothing is reported after."""
        os.close(self._descriptor)

    def _kept(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _rotate(self) -> None:
        for number in range(self._kept_files, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            newer = (
                self.path.with_name(f"{self.path.name}.{number - 1}") if number > 1 else self.path
            )
            if newer.exists():
                newer.replace(older)
        descriptor = self._open()
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._size = 0
