"""Files of strangers are opened in a child process with limits of size, time and memory.

The child does one thing, :func:`tvs.material.open_material`, for one file after the other. A file
on which it dies or is too slow costs the child, never this process; the next file gets a new one.
"""

import os
import resource
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import IO, Self

import msgspec

from tvs.material import Material, open_material

MAX_FILE_BYTES = 32 * 1024 * 1024
DEFAULT_SECONDS = 15.0
_MEMORY_BYTES = 1024 * 1024 * 1024  # address space; the interpreter and OpenSSL take some 300 MB
_MAX_REPLY_BYTES = 512 * 1024 * 1024
_START_SECONDS = 60.0  # an interpreter on a busy machine; no file's time
_READY = b"R"
_LENGTH = struct.Struct(">Q")


class _Task(msgspec.Struct, frozen=True):
    data: bytes
    passwords: tuple[str, ...]


class ForeignReader(AbstractContextManager["ForeignReader"]):
    """Opens files in a child process; ``seconds`` are given to each file."""

    def __init__(
        self, *, seconds: float = DEFAULT_SECONDS, memory_bytes: int = _MEMORY_BYTES
    ) -> None:
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._child: subprocess.Popen[bytes] | None = None
        self._fresh = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def read(self, data: bytes, passwords: Sequence[str]) -> Material:
        """What the octets of a file hold; limits are told as the material's ``problem``."""
        if len(data) > MAX_FILE_BYTES:
            return Material("file", problem=f"more than {MAX_FILE_BYTES} octets; not opened")
        request = msgspec.msgpack.encode(_Task(data, tuple(passwords)))
        while True:
            child = self._started()
            fresh, self._fresh = self._fresh, False
            reply = self._ask(child, request, fresh=fresh)
            if isinstance(reply, Material):
                return reply
            self._end()
            if fresh or reply.startswith("took"):
                return Material("file", problem=reply)
            # The limits are those of the child's whole life: the file may have paid for others.

    def _ask(
        self, child: subprocess.Popen[bytes], request: bytes, *, fresh: bool
    ) -> Material | str:
        assert child.stdin is not None  # noqa: S101 - pipes were asked for
        assert child.stdout is not None  # noqa: S101 - pipes were asked for
        try:
            if fresh:
                _receive(child.stdout, len(_READY), time.monotonic() + _START_SECONDS)
            deadline = time.monotonic() + self._seconds
            child.stdin.write(_LENGTH.pack(len(request)) + request)
            child.stdin.flush()
            header = _receive(child.stdout, _LENGTH.size, deadline)
            (length,) = _LENGTH.unpack(header)
            if length > _MAX_REPLY_BYTES:
                return "made the reader answer more than it may"
            return msgspec.msgpack.decode(_receive(child.stdout, length, deadline), type=Material)
        except TimeoutError:
            return f"took more than {self._seconds:g} seconds to open (too many rounds?)"
        except (EOFError, BrokenPipeError, msgspec.MsgspecError):
            return "made its reader fail (more memory or time than a bundle may take)"

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-m", "tvs.foreign", str(self._memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self._fresh = True
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            with suppress(BrokenPipeError), self._child:
                pass
            self._child = None


def _receive(pipe: IO[bytes], length: int, deadline: float) -> bytes:
    """Exactly ``length`` octets of ``pipe``, which must not have been read buffered before."""
    received = bytearray()
    while len(received) < length:
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError
        chunk = os.read(pipe.fileno(), min(length - len(received), 1 << 20))
        if not chunk:
            raise EOFError
        received += chunk
    return bytes(received)


def _serve(memory_bytes: int) -> None:
    """The child: answers tasks on standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for limit, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, 120),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(limit, (value, value))
    source, target = sys.stdin.buffer, sys.stdout.buffer
    target.write(_READY)
    target.flush()
    while header := source.read(_LENGTH.size):
        task = msgspec.msgpack.decode(source.read(*_LENGTH.unpack(header)), type=_Task)
        reply = msgspec.msgpack.encode(open_material(task.data, task.passwords))
        target.write(_LENGTH.pack(len(reply)) + reply)
        target.flush()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
