"""``trustlab tftp``: fetch a file from a TFTP server or store one there."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import trio
from cyclopts import App, Parameter
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from conf.files import write_whole
from lab.cli import terminal
from lab.cli.arguments import STANDARD_OUTPUT, Flag, OutputFile, Positive
from lab.endpoint import UsageError, parse_endpoint
from lab.text import clean
from tftp.client import MAX_BYTES, get, put
from tftp.client import Progress as Told

DEFAULT_PORT = 69
FILE_MODE = 0o644

app = App(name="tftp", help="Fetch a file from a TFTP server, or store one there.")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Asking:
    """How to ask.

    Parameters
    ----------
    mode:
        netascii: line ends are translated.
    blksize:
        Ask for blocks of so many octets, 8 to 65464.
    windowsize:
        Ask for so many blocks between two answers, 1 to 65535.
    timeout:
        Ask the server to wait so many seconds before it repeats itself, 1 to 255.
    tsize:
        Ask for the size, or announce it; a progress bar needs it.
    timeout_seconds:
        Give up after so many seconds.
    json:
        Print one line of JSON.
    """

    mode: Literal["octet", "netascii"] = "octet"
    blksize: int | None = None
    windowsize: int | None = None
    timeout: int | None = None
    tsize: bool = True
    timeout_seconds: Positive = 300.0
    json: Flag = False

    def check(self) -> None:
        """Raise :class:`~lab.endpoint.UsageError` for a value no server could grant."""
        for name, value, least, most in (
            ("blksize", self.blksize, 8, 65_464),
            ("windowsize", self.windowsize, 1, 65_535),
            ("timeout", self.timeout, 1, 255),
        ):
            if value is not None and not least <= value <= most:
                raise UsageError(f"--{name} {value}: must be between {least} and {most}")


DEFAULT = Asking()


@app.command(name="get")
def fetch(
    server: str,
    name: str,
    output: OutputFile | None = None,
    *,
    asking: Asking = DEFAULT,
    max_bytes: int = MAX_BYTES,
) -> int:
    """Fetch a file.

    Parameters
    ----------
    server:
        HOST or HOST:PORT, [ADDRESS]:PORT for IPv6.
    name:
        The file's name on the server.
    output:
        Where to write it; the last part of its name by default, - for standard output.
    max_bytes:
        Refuse files above so many octets.
    """
    asking.check()
    host, port = parse_endpoint(server, DEFAULT_PORT)
    target = output or Path(name.replace("\\", "/").rsplit("/", 1)[-1])
    if not target.name:
        raise UsageError(f"{name!r} ends in no file name; say where to write it")
    started = time.monotonic()
    with _shown(name, quiet=asking.json) as told:

        async def run() -> bytes:
            return await get(
                host,
                port,
                name,
                mode=asking.mode,
                blksize=asking.blksize,
                windowsize=asking.windowsize,
                timeout=asking.timeout,
                tsize=asking.tsize,
                timeout_seconds=asking.timeout_seconds,
                max_bytes=max_bytes,
                progress=told,
            )

        octets = trio.run(run)
    if target == STANDARD_OUTPUT:
        sys.stdout.buffer.write(octets)
        sys.stdout.buffer.flush()
        return 0
    write_whole(target, octets, mode=FILE_MODE)
    _tell(asking, name, target, len(octets), time.monotonic() - started)
    return 0


@app.command(name="put")
def store(
    server: str,
    file: Path,
    name: str | None = None,
    *,
    asking: Asking = DEFAULT,
) -> int:
    """Store a file.

    Parameters
    ----------
    server:
        HOST or HOST:PORT, [ADDRESS]:PORT for IPv6.
    file:
        What to store.
    name:
        Its name on the server; the file's own by default.
    """
    asking.check()
    host, port = parse_endpoint(server, DEFAULT_PORT)
    octets = file.read_bytes()
    stored = name or file.name
    started = time.monotonic()
    with _shown(stored, quiet=asking.json) as told:

        async def run() -> None:
            await put(
                host,
                port,
                stored,
                octets,
                mode=asking.mode,
                blksize=asking.blksize,
                windowsize=asking.windowsize,
                timeout=asking.timeout,
                tsize=asking.tsize,
                timeout_seconds=asking.timeout_seconds,
                progress=told,
            )

        trio.run(run)
    _tell(asking, stored, file, len(octets), time.monotonic() - started)
    return 0


@contextmanager
def _shown(name: str, *, quiet: bool) -> Iterator[Told | None]:
    """A progress bar on standard error, where that is a terminal."""
    if quiet or not terminal.messages.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), console=terminal.messages) as progress:
        task = progress.add_task(clean(name), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _tell(asking: Asking, name: str, path: Path, octets: int, seconds: float) -> None:
    if asking.json:
        milliseconds = round(seconds * 1000, 1)
        terminal.emit(
            {"file": name, "path": str(path), "bytes": octets, "milliseconds": milliseconds}
        )
    else:
        terminal.say(f"{name}: {octets} octets in {seconds:.2f} s, {path}")
