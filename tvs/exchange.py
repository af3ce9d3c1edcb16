"""The shared directory: a local folder, or one on an SFTP server, behind the same four verbs."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self, TypeAlias

from conf.files import write_whole
from tvs import TvsError


class ExchangeError(TvsError):
    """The shared directory, or a file in it, cannot be used; the text says which and why."""


class TooLargeError(ExchangeError):
    """A file is larger than its reader accepts; it was not read."""


Progress: TypeAlias = Callable[[str, int, int], None]
"""Told of a transfer: file name, octets so far, octets in all."""


def no_progress(_name: str, _done: int, _size: int) -> None:
    """Tell nobody."""


class Exchange(Protocol):
    """A directory of bundle files. All methods raise :class:`ExchangeError`."""

    def __enter__(self) -> Self:
        """Use it; what it needs is let go of at the end."""

    def __exit__(self, *_: object) -> None:
        """Let go of what it needed."""

    @property
    def where(self) -> str:
        """The directory as a person would name it; without a password."""

    def exists(self) -> bool:
        """Whether the directory is there; writing to one that is not makes it, where it can."""

    def names(self) -> list[str]:
        """The regular files in the directory, sorted; hidden and unfinished ones left out."""

    def read(self, name: str, max_bytes: int) -> bytes:
        """The octets of one file; TooLargeError when it has more than ``max_bytes``."""

    def write(self, name: str, data: bytes, *, private: bool = False) -> None:
        """Put a file there, whole or not at all; one of the same name is replaced.

        A ``private`` one is its owner's alone to read, from its first octet on.
        """


class Folder:
    """A local folder, or one single file in place of a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.where = str(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def exists(self) -> bool:
        """See :class:`Exchange`."""
        return self._path.exists()

    def names(self) -> list[str]:
        """See :class:`Exchange`."""
        try:
            if self._path.is_dir():
                found = [
                    entry.name
                    for entry in self._path.iterdir()
                    if not entry.name.startswith(".") and entry.is_file()
                ]
            else:
                self._path.stat()
                found = [self._path.name]
            # Neither the store nor JSON can hold another name; the directory's is kept too.
            for path in (self._path, *map(Path, found)):
                os.fsencode(path).decode()
        except UnicodeDecodeError as error:
            shown = os.fsencode(self._path).decode(errors="backslashreplace")
            raise ExchangeError(f"{shown}: a file name there is not UTF-8: {error}") from None
        except OSError as error:
            raise ExchangeError(f"{error.filename}: {error.strerror}") from None
        return sorted(found)

    def read(self, name: str, max_bytes: int) -> bytes:
        """See :class:`Exchange`."""
        path = self._path / name if self._path.is_dir() else self._path
        try:
            with path.open("rb") as file:
                data = file.read(max_bytes + 1)
        except OSError as error:
            raise ExchangeError(f"{path}: {error.strerror}") from None
        if len(data) > max_bytes:
            raise TooLargeError(f"{path}: more than {max_bytes} octets")
        return data

    def write(self, name: str, data: bytes, *, private: bool = False) -> None:
        """See :class:`Exchange`."""
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            write_whole(self._path / name, data, mode=0o600 if private else 0o644)
        except OSError as error:
            raise ExchangeError(f"{self._path / name}: {error.strerror}") from None
