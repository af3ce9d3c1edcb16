"""Where bundles lie, and how to get there: the options that every ``bundle`` command has."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from getpass import getpass
from pathlib import Path

from cyclopts import Parameter
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from lab.cli import terminal
from lab.cli.passwords import Passwords, first_line
from lab.text import clean
from tvs.bundles import BundleFile, read_directory
from tvs.exchange import Exchange, Folder
from tvs.exchange import Progress as Report
from tvs.foreign import ForeignReader

SFTP_PASSWORD = "TRUSTLAB_SFTP_PASSWORD"  # noqa: S105 - the name of an environment variable


@dataclass(frozen=True)
class Place:
    """An open directory, and what opens the bundles in it."""

    exchange: Exchange
    reader: ForeignReader
    passwords: Passwords

    def files(self, *, ask: bool = True) -> list[BundleFile]:
        """Everything in the directory; passwords are asked for on a terminal, if ``ask``."""
        answer = self.passwords.ask if ask else _nobody
        return read_directory(self.exchange, self.reader, self.passwords.tried, ask=answer)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Carrier:
    """How to open the directory and the bundles in it.

    Parameters
    ----------
    password_file:
        Passwords of bundles to try, one a line; the first one locks what is written. Else
        TRUSTLAB_BUNDLE_PASSWORD, else "trustlab".
    ssh_key:
        Private key for SFTP; else the agent and ~/.ssh.
    sftp_password_file:
        A file with the SFTP password; else TRUSTLAB_SFTP_PASSWORD, else a prompt.
    host_key:
        The SFTP server's host key fingerprint, SHA256:…, in place of known_hosts.
    known_hosts:
        File of known SFTP servers.
    """

    password_file: Path | None = None
    ssh_key: Path | None = None
    sftp_password_file: Path | None = None
    host_key: str | None = None
    known_hosts: Path = Path("~/.ssh/known_hosts")

    @property
    def passwords(self) -> Passwords:
        """The passwords of bundles."""
        return Passwords(self.password_file)

    @contextmanager
    def opened(self, where: str) -> Iterator[Place]:
        """The directory ``where``, a folder or an sftp:// address, with a progress bar."""
        with self._exchange(where) as exchange, ForeignReader() as reader:
            yield Place(exchange, reader, self.passwords)

    @contextmanager
    def _exchange(self, where: str) -> Iterator[Exchange]:
        if not where.lower().startswith("sftp://"):
            yield Folder(Path(where))
            return
        from tvs.sftp import Login, SftpFolder  # noqa: PLC0415 - 0.3 s that a folder need not wait

        login = Login(
            password=self._sftp_password,
            passphrase=_prompted,
            key_file=self.ssh_key,
            host_key=self.host_key,
            known_hosts=self.known_hosts,
        )
        with _bar() as report, SftpFolder(where, login, report) as folder:
            yield folder

    def _sftp_password(self, prompt: str) -> str | None:
        if self.sftp_password_file is not None:
            return first_line(self.sftp_password_file, "--sftp-password-file")
        return os.environ.get(SFTP_PASSWORD) or _prompted(prompt)


def _nobody(_name: str) -> None:
    """Ask nobody."""


def _prompted(prompt: str) -> str | None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    return getpass(clean(prompt)) or None


@contextmanager
def _bar() -> Iterator[Report]:
    """A progress bar on a terminal; nothing elsewhere."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(
        *columns,
        console=terminal.messages,
        transient=True,
        disable=not terminal.messages.is_terminal,
    ) as progress:
        task = progress.add_task("", visible=False)

        def report(name: str, done: int, size: int) -> None:
            progress.update(task, description=clean(name), completed=done, total=size, visible=True)

        yield report
