"""What is served: octets in memory or an open file, or the TFTP error instead."""

import hashlib
import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from struct import Struct
from typing import TypeAlias

from tftp import TftpError
from tftp.packets import ErrorCode

_KEY = Struct("=QQqqq")  # octets are hashed once, and compared in one go


class ChangedError(TftpError):
    """A file changed while it was being transferred."""


class Octets:
    """Octets in memory. ``key`` is equal for equal octets only; ``modified`` in Unix seconds."""

    __slots__ = ("data", "key", "modified", "size")

    def __init__(self, data: bytes, *, key: Hashable, modified: int = 0) -> None:
        self.data = data
        self.key = key
        self.size = len(data)
        self.modified = modified

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` octets from ``offset``."""
        return self.data[offset : offset + length]

    def hold(self) -> None:
        """Nothing has to be."""

    def close(self) -> None:
        """Nothing is held."""


class OpenFile:
    """A regular file, open for reading; owns the descriptor.

    With ``reopen`` the descriptor is -1, and the file is opened when it is read: often what is
    served of it is at hand already. ``changed_ns`` is when its inode last changed, in Unix
    nanoseconds.
    """

    __slots__ = ("_descriptor", "_reopen", "_state", "changed_ns", "key", "modified", "size")

    def __init__(
        self,
        descriptor: int,
        status: os.stat_result,
        reopen: Callable[[], int] | None = None,
    ) -> None:
        self._descriptor = descriptor
        self._reopen = reopen
        self.key: Hashable = file_key(status)
        # not the time of its inode: that changes when another file takes its name
        self._state = (status.st_size, status.st_mtime_ns)
        self.size = status.st_size
        self.modified = int(status.st_mtime)
        self.changed_ns = status.st_ctime_ns

    def read(self, offset: int, length: int) -> bytes:
        """``length`` octets from ``offset``, fewer at the end of the file only.

        Raises :class:`ChangedError` if the file is not what it was when it was opened, and OSError.
        """
        self.hold()
        octets = os.pread(self._descriptor, length, offset)
        wanted = min(length, self.size - offset)
        status = os.fstat(self._descriptor)
        if (status.st_size, status.st_mtime_ns) != self._state or len(octets) != wanted:
            raise ChangedError("the file changed during the transfer")
        return octets

    def hold(self) -> None:
        """Open it by now: whoever takes its name then does not matter.

        Raises :class:`ChangedError` if somebody has, and OSError.
        """
        if self._descriptor >= 0 or self._reopen is None:
            return
        try:
            descriptor = self._reopen()
        except FileNotFoundError:
            raise ChangedError("the file was removed before the transfer") from None
        self._descriptor = descriptor
        if file_key(os.fstat(descriptor)) != self.key:
            raise ChangedError("the file changed before the transfer")

    def close(self) -> None:
        """Close the descriptor; safe to call again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        """A content that nobody took must not keep its descriptor."""
        self.close()


Content: TypeAlias = Octets | OpenFile


def octets_of(data: bytes, modified: int = 0) -> Octets:
    """``data`` as content, its key the SHA-256 of it; ``modified`` in Unix seconds."""
    return Octets(data, key=hashlib.sha256(data).digest(), modified=modified)


def file_key(status: os.stat_result) -> bytes:
    """Equal as long as a file is the same and unchanged, as far as its file system tells."""
    return _KEY.pack(
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def whole(content: Content) -> bytes:
    """All octets of ``content``, which is closed."""
    try:
        return content.read(0, content.size)
    finally:
        content.close()


@dataclass(frozen=True)
class ErrorReply:
    """A request answered with an ERROR; ``expected`` when phones ask for such names normally."""

    code: ErrorCode
    text: str
    expected: bool = False


@dataclass(frozen=True)
class Later:
    """Content that has to be made first, by slow pure work: ``make`` runs in a worker thread.

    Called twice, ``make`` does its work once: the second caller waits for the first.
    """

    make: "Callable[[], Content | ErrorReply]"


Answer: TypeAlias = Content | ErrorReply | Later
NOT_FOUND = ErrorReply(ErrorCode.NOT_FOUND, "file not found")
BROKEN = ErrorReply(ErrorCode.UNDEFINED, "the server failed; its log says why")
