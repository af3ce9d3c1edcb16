"""The trust store: certificates, the stores they are in, their type and where they came from.

The interface is narrow on purpose, so that a shared database can stand behind it later: what the
store holds, a revision that changes with it, and changes that happen in one transaction.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TypeAlias

from tvs.schema import StoreError, connect, prepare
from tvs.snapshot import Entry, entry_of

Revision: TypeAlias = tuple[int, int, int]


class TrustStore:
    """The trust stores of one node in the SQLite file ``path``.

    Use :meth:`open`. Every method may be called from any thread; reads never wait for a writer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._watch = connect(path)
        self._watched = self._identity()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the store, creating or migrating its file. Raises :class:`StoreError`."""
        prepare(path)
        return cls(path)

    def close(self) -> None:
        """Let go of the file."""
        self._watch.close()

    def revision(self) -> Revision:
        """A value that differs after any commit, of this process or another, or another file.

        Cheap enough to ask before every answer: one stat, one pragma. Equal values mean that
        :meth:`entries` would give the same.
        """
        with self._lock:
            identity = self._identity()
            if identity != self._watched:
                # The file was replaced by a rename. Our open connection keeps the old one's inode
                # in use, so that a new file cannot look like it.
                fresh = connect(self.path)
                self._watch.close()
                self._watch, self._watched = fresh, identity
            try:
                (version,) = self._watch.execute("PRAGMA data_version").fetchone()
            except sqlite3.Error as error:
                raise StoreError(f"{self.path}: {error}") from None
            return (*identity, version)

    def entries(self) -> list[Entry]:
        """Every certificate that is in at least one store."""
        shared: dict[frozenset[str], frozenset[str]] = {}
        texts: dict[str, str] = {}
        with self._read() as connection:
            stores: dict[int, frozenset[str]] = {}
            for number, name in connection.execute("SELECT certificate, store FROM placement"):
                union = stores.get(number, frozenset()) | {name}
                stores[number] = shared.setdefault(union, union)
            return [
                Entry(
                    der=der,
                    sha256=sha256,
                    subject=texts.setdefault(subject, subject),
                    issuer=texts.setdefault(issuer, issuer),
                    serial=serial,
                    type=None if type_ is None else texts.setdefault(type_, type_),
                    stores=stores[number],
                    source=texts.setdefault(source, source),
                    not_after=datetime.fromtimestamp(not_after, UTC),
                )
                for number, der, sha256, subject, issuer, serial, type_, source, not_after in (
                    connection.execute(
                        "SELECT id, der, sha256, subject, issuer, serial, type, source, not_after"
                        " FROM certificate ORDER BY id"
                    )
                )
                if number in stores
            ]

    def add(self, der: bytes, *, type: str | None, stores: Iterable[str], source: str) -> Entry:  # noqa: A002 - the field's name
        """Put one certificate into ``stores``, where it stays in those it is in already."""
        entry = entry_of(der, type=type, stores=frozenset(stores), source=source)
        with self._write() as connection:
            place(connection, entry)
        return entry

    def remove(self, sha256: str, stores: Iterable[str] | None = None) -> frozenset[str]:
        """Take a certificate out of ``stores`` (None: of all); answers those it was in."""
        with self._write() as connection:
            present = placements(connection, sha256)
            gone = present if stores is None else present & frozenset(stores)
            for name in gone:
                connection.execute(
                    "DELETE FROM placement WHERE store = ? AND certificate ="
                    " (SELECT id FROM certificate WHERE sha256 = ?)",
                    (name, sha256),
                )
            return gone

    def _identity(self) -> tuple[int, int]:
        try:
            status = self.path.stat()
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}") from None
        return status.st_dev, status.st_ino

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        """A connection in one read transaction: everything read is of one moment."""
        with closing(connect(self.path)) as connection:
            try:
                connection.execute("BEGIN")
                yield connection
            except sqlite3.Error as error:
                raise StoreError(f"{self.path}: {error}") from None

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """A connection in one write transaction: all or nothing."""
        with closing(connect(self.path)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise StoreError(f"{self.path}: {error}") from None


def placements(connection: sqlite3.Connection, sha256: str) -> frozenset[str]:
    """The stores that the certificate is in."""
    rows = connection.execute(
        "SELECT store FROM placement JOIN certificate ON certificate = id WHERE sha256 = ?",
        (sha256,),
    )
    return frozenset(name for (name,) in rows)


def place(connection: sqlite3.Connection, entry: Entry) -> None:
    """Write ``entry``; stores are added to, type and source replaced."""
    connection.execute(
        "INSERT INTO certificate (sha256, der, subject, issuer, serial, not_after, type, source)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (sha256)"
        " DO UPDATE SET type = excluded.type, source = excluded.source",
        (
            entry.sha256,
            entry.der,
            entry.subject,
            entry.issuer,
            entry.serial,
            int(entry.not_after.timestamp()),
            entry.type,
            entry.source,
        ),
    )
    connection.executemany(
        "INSERT OR IGNORE INTO placement (certificate, store)"
        " SELECT id, ? FROM certificate WHERE sha256 = ?",
        [(name, entry.sha256) for name in sorted(entry.stores)],
    )
