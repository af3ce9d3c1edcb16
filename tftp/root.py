"""Files beneath one folder, whatever a name says.

A name is taken apart, and each part is opened in the folder opened before it, never following a
symbolic link. A link found on the way is resolved here, part by part, and may lead anywhere beneath
the root and nowhere else; no prefix of a path is ever compared.
"""

import errno
import os
import re
import stat
import time
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tftp.content import NOT_FOUND, ErrorReply, OpenFile, file_key
from tftp.packets import ErrorCode

MAX_LINKS = 8
MAX_FOLDERS = 1024  # whose names are kept in folded spelling
SETTLED_NS = 2_000_000_000  # what changed more lately may change again within one time stamp
LISTED_NS = 1_000_000_000  # of a listing: not every file system keeps time stamps of folders
LISTED_NAMES = 4096  # are listed in some milliseconds
MAX_KNOWN = 4096  # files that were opened before
SMALL_BYTES = 64 * 1024  # of a file that is read at once or not at all
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_PLAIN = re.compile(r"\w[\w.-]*", re.ASCII)  # nearly every name there is
_OUTSIDE = ErrorReply(ErrorCode.ACCESS_VIOLATION, "names that leave the root are refused")
_NOT_A_FILE = ErrorReply(ErrorCode.ACCESS_VIOLATION, "not a regular file")
_UNREADABLE = ErrorReply(ErrorCode.ACCESS_VIOLATION, "the server may not read it")


@dataclass(frozen=True)
class _Link:
    """A symbolic link was met: at which part, and what it holds."""

    place: int
    target: str


class Root:
    """A folder whose files may be read.

    ``fold_case`` finds a file by its name in another case if there is none as asked, since phones
    differ; it costs reading a folder whenever it changed. Raises OSError if the root cannot be
    opened.
    """

    def __init__(self, path: Path, *, fold_case: bool = False) -> None:
        self.path = path
        self._fold_case = fold_case
        self._folded: dict[tuple[int, int], tuple[int, dict[str, str]]] = {}
        self._listed: tuple[int, int, frozenset[str]] = (-1, 0, frozenset())
        self._known: dict[str, Hashable] = {}  # a file's key, by its name
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Close the folder; safe to call again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        """A catalog that was replaced must not keep its folder."""
        if hasattr(self, "_descriptor"):
            self.close()

    def open(self, name: str) -> OpenFile | ErrorReply:
        """The regular file that ``name`` means, or the error to answer.

        A backslash separates like a slash, and a leading one is passed over: some clients send
        them. ``..`` is refused.
        """
        known = self._known.get(name)
        if known is not None or _PLAIN.fullmatch(name):  # nearly every request: not a walk
            try:
                return self._plain(name, known)
            except FileNotFoundError:
                if not self._fold_case:
                    return NOT_FOUND
            except OSError:
                pass  # the walk says what it is
        parts = split(name)
        if parts is None:
            return _OUTSIDE
        for _ in range(MAX_LINKS + 1):
            found = self._walk(parts)
            if not isinstance(found, _Link):
                return found
            resolved = _resolve(parts, found)
            if resolved is None:
                return _OUTSIDE
            parts = resolved
        return _OUTSIDE

    def _plain(self, name: str, known: Hashable | None) -> OpenFile | ErrorReply:
        """A name of the folder itself; a file that was opened before is only looked at."""
        if known is not None:
            status = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
            if file_key(status) == known:
                return OpenFile(-1, status, partial(self._reopen, name))
            del self._known[name]
        elif not self._fold_case and self._is_missing(name):
            return NOT_FOUND
        found = _regular(self._reopen(name))
        if isinstance(found, OpenFile) and found.size <= SMALL_BYTES and _settled(found.changed_ns):
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[name] = found.key
        return found

    def _reopen(self, name: str) -> int:
        return os.open(name, _FLAGS, dir_fd=self._descriptor)

    def _is_missing(self, name: str) -> bool:
        """Whether a listing shows that there is no ``name``: half of all names phones ask for."""
        changed = os.fstat(self._descriptor).st_mtime_ns
        if not _settled(changed):
            return False
        listed, believed_until, names = self._listed
        if changed != listed or time.monotonic_ns() > believed_until:
            found = os.listdir(self._descriptor)  # noqa: PTH208  a descriptor, no path
            names = frozenset(map(str.casefold, found))  # the file system may not tell them apart
            believed = LISTED_NS * max(1, len(names) // LISTED_NAMES)  # a long one costs time
            self._listed = changed, time.monotonic_ns() + believed, names
        return name.casefold() not in names

    def _walk(self, parts: list[str]) -> OpenFile | ErrorReply | _Link:
        folder = self._descriptor
        try:
            for place, part in enumerate(parts):
                last = place == len(parts) - 1
                inner = self._step(folder, part, place, last=last)
                if not isinstance(inner, int):
                    return inner
                if last:
                    return _regular(inner)
                if folder != self._descriptor:
                    os.close(folder)
                folder = inner
        finally:
            if folder != self._descriptor:
                os.close(folder)
        return _NOT_A_FILE

    def _step(self, folder: int, part: str, place: int, *, last: bool) -> int | ErrorReply | _Link:
        flags = _FLAGS if last else _FLAGS | os.O_DIRECTORY
        try:
            return os.open(part, flags, dir_fd=folder)
        except FileNotFoundError:
            other = self._other_case(folder, part) if self._fold_case else None
            return NOT_FOUND if other is None else self._step(folder, other, place, last=last)
        except (ValueError, OSError) as error:
            return self._refused(error, folder, part, place)

    def _refused(
        self, error: ValueError | OSError, folder: int, part: str, place: int
    ) -> ErrorReply | _Link:
        number = error.errno if isinstance(error, OSError) else None
        if number in {errno.ELOOP, errno.ENOTDIR}:
            try:
                return _Link(place, os.readlink(part, dir_fd=folder))
            except OSError:
                return NOT_FOUND
        if number in {errno.ENXIO, errno.ENODEV}:
            return _NOT_A_FILE
        if number in {errno.EMFILE, errno.ENFILE}:
            return ErrorReply(ErrorCode.UNDEFINED, "too many open files; try again")
        if number in {errno.EACCES, errno.EPERM}:
            return _UNREADABLE
        return NOT_FOUND

    def _other_case(self, folder: int, part: str) -> str | None:
        """The first name in ``folder`` that is ``part`` in another case."""
        try:
            other = self._names(folder).get(part.casefold())
        except OSError:  # no descriptor left to read it with
            return None
        return None if other == part else other

    def _names(self, folder: int) -> dict[str, str]:
        """The names in ``folder`` by their folded spelling, kept until the folder changes."""
        status = os.fstat(folder)
        place = status.st_dev, status.st_ino
        changed, names = self._folded.get(place, (-1, {}))
        if changed != status.st_mtime_ns:
            found = sorted(os.listdir(folder), reverse=True)  # of two the first in order stays
            names = {name.casefold(): name for name in found}
            if len(self._folded) >= MAX_FOLDERS:
                self._folded.clear()
            if _settled(status.st_mtime_ns):
                self._folded[place] = status.st_mtime_ns, names
        return names


def _settled(changed: int) -> bool:
    """Whether the next change shows in a time stamp that is ``changed`` now."""
    return time.time_ns() - changed > SETTLED_NS


def split(name: str) -> list[str] | None:
    """The parts of a requested name; None if it holds ``..``, a NUL, or nothing."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in {"", "."}]
    if not parts or ".." in parts or "\0" in name:
        return None
    return parts


def _resolve(parts: list[str], link: _Link) -> list[str] | None:
    """``parts`` with the link replaced by its target; None if that leaves the root."""
    if link.target.startswith("/"):
        return None
    resolved = parts[: link.place]
    for part in link.target.split("/"):
        if part == "..":
            if not resolved:
                return None
            resolved.pop()
        elif part not in {"", "."}:
            resolved.append(part)
    return resolved + parts[link.place + 1 :]


def _regular(descriptor: int) -> OpenFile | ErrorReply:
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        return OpenFile(descriptor, status)
    os.close(descriptor)
    return _NOT_A_FILE
