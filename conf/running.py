"""One daemon a node, with a record by which others find it; one command that changes a folder."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from conf import ConfError
from conf.files import open_or_make, read_regular, write_whole

LOCK_FILE = "run.lock"
RECORD_FILE = "run.json"


class RunRecord(msgspec.Struct, frozen=True):
    """What ``DIR/run.json`` holds: process id, and address and port of each service.

    ``kept``: why the daemon answers from what it had, not from what is on disk; None: it does not.
    """

    pid: int
    tvs: tuple[str, int]
    tftp: tuple[str, int]
    http: tuple[str, int] | None = None
    https: tuple[str, int] | None = None
    metrics: tuple[str, int] | None = None
    kept: str | None = None


@contextmanager
def claim(state: Path) -> Iterator[None]:
    """Be the one daemon of ``state`` for as long as the block runs.

    The kernel frees the lock with the process, however it ends. Raises :class:`~conf.ConfError`
    when another daemon has it.
    """

    def running() -> str:
        record = read_record(state)
        who = f" (pid {record.pid})" if record else ""
        return f"{state}: a daemon runs on this node already{who}"

    with _locked(open_or_make(state / LOCK_FILE, os.O_RDWR), running):
        try:
            yield
        finally:
            (state / RECORD_FILE).unlink(missing_ok=True)


@contextmanager
def claim_folder(folder: Path) -> Iterator[None]:
    """Be the one command that changes ``folder`` for as long as the block runs.

    Raises :class:`~conf.ConfError` when another command has it, and OSError.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with _locked(
        descriptor, lambda: f"{folder}: another command is changing it; nothing was changed"
    ):
        yield


@contextmanager
def _locked(descriptor: int, taken: Callable[[], str]) -> Iterator[None]:
    """Lock what ``descriptor`` is of; ConfError with what ``taken`` says if somebody else has it.

    It is closed at the end.
    """
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfError(taken()) from None
        yield
    finally:
        os.close(descriptor)


def write_record(state: Path, record: RunRecord) -> None:
    """Let others find the daemon; called by the holder of the lock."""
    write_whole(state / RECORD_FILE, msgspec.json.encode(record))


def read_record(state: Path) -> RunRecord | None:
    """The record of the daemon of ``state``, or None where there is none or it cannot be read."""
    try:
        return msgspec.json.decode(read_regular(state / RECORD_FILE), type=RunRecord)
    except (OSError, msgspec.MsgspecError):
        return None


def is_running(state: Path) -> bool:
    """Whether a daemon holds the lock of ``state``."""
    try:
        descriptor = os.open(state / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
