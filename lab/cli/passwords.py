"""Passwords of bundles: from a file, the environment or a prompt, never from a command line."""

import os
import sys
from getpass import getpass
from pathlib import Path

from conf import ConfError
from lab.text import clean
from tvs.bundles import DEFAULT_PASSWORD

VARIABLE = "TRUSTLAB_BUNDLE_PASSWORD"


class Passwords:
    """What bundles may be locked with.

    ``file`` holds one password a line: all are tried, the first one is written with. Without it the
    environment variable TRUSTLAB_BUNDLE_PASSWORD, else the documented default.
    """

    def __init__(self, file: Path | None) -> None:
        if file is not None:
            given = read_lines(file, "--password-file")
        else:
            given = [os.environ[VARIABLE]] if VARIABLE in os.environ else []
        self.given = tuple(given)

    @property
    def tried(self) -> tuple[str, ...]:
        """The passwords to try on a bundle, in this order."""
        return tuple(dict.fromkeys((*self.given, DEFAULT_PASSWORD)))

    @property
    def written(self) -> str:
        """The password to lock our own bundles with."""
        password = next(iter(self.given), DEFAULT_PASSWORD)
        if not password:
            raise ConfError(
                "bundles are not written with an empty password: Java could not read it"
            )
        return password

    def ask(self, name: str) -> str | None:
        """Ask for the password of the file ``name``; None without a terminal, or for no answer."""
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return None
        try:
            answer = getpass(f"Password of {clean(name)} (empty: give up): ")
        except EOFError:
            return None
        return answer or None


def read_lines(path: Path, option: str) -> list[str]:
    """The lines of a file with secrets; at least one. ``option`` is what named it."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfError(f"{option} {path}: {error}") from None
    return lines or [""]


def first_line(path: Path, option: str) -> str:
    """The one secret in a file."""
    return read_lines(path, option)[0]
