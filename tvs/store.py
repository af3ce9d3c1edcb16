"""The trust store: certificates, the stores they are in, their type and where they came from.

The interface is narrow on purpose, so that a shared database can stand behind it later: what the
store holds, a revision that changes with it, and changes that happen in one transaction.
"""

import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType
from typing import Any, Self, TypeAlias

from itl.certificates import CertificateError
from tvs.changes import Change, Event, KeptReceipt, Receipt, Undone, apply_change, keep, undo
from tvs.schema import StoreError, connect, connected_to_read, prepare, writable
from tvs.snapshot import Entry, entry_of

STORE_FILE = "store.sqlite3"
"""The store's name in a node's folder."""

Revision: TypeAlias = tuple[int, ...]

_CERTIFICATES = (
    "SELECT id, der, sha256, subject, issuer, serial, type, source, not_after FROM certificate"
)
_CERTIFICATE_KINDS = [
    (int, bytes, str, str, str, bytes, type_kind, str, int) for type_kind in (str, NoneType)
]


class TrustStore:
    """The trust stores of one node in the SQLite file ``path``.

    Its schema has to be the present one, which :meth:`open` sees to. Every method may be called
    from any thread; reads never wait for a writer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._watch = connect(path)
        self._watched: tuple[int, int] | None = _inode(self._status())

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the store, creating or migrating its file. Raises :class:`StoreError`.

        Where its folder cannot be written it can be read all the same.
        """
        prepare(path)
        return cls(path)

    def close(self) -> None:
        """Let go of the file."""
        self._watch.close()

    def revision(self) -> Revision:
        """A value that differs after any commit, of this process or another, or another file.

        Another file may have been renamed to the name, or written over the old one (``cp``).

        Cheap enough to ask before every answer: one stat, one pragma. Equal values mean that
        :meth:`entries` would give the same.
        """
        with self._lock:
            status = self._status()
            if _inode(status) != self._watched:
                # The file was replaced by a rename. Until now our connection kept the old one's
                # inode in use, so that the new file cannot look like it. It is closed first: when
                # the last one is out, the next one makes the log's shared index anew.
                self._watched = None  # until the new one is open
                self._watch.close()
                self._watch = connect(self.path)
                self._watched = _inode(status)
            try:
                (version,) = self._watch.execute("PRAGMA data_version").fetchone()
            except sqlite3.Error as error:
                raise StoreError(f"{self.path}: {error}") from None
            return (*_inode(status), status.st_size, status.st_mtime_ns, version)

    def entries(self) -> list[Entry]:
        """Every certificate that is in at least one store."""
        with self._read() as connection:
            return _entries(
                connection.execute("SELECT certificate, store FROM placement"),
                connection.execute(f"{_CERTIFICATES} ORDER BY id"),
            )

    def sound_entries(self) -> list[Entry]:
        """The same, each with the octets that its fingerprint is of; else StoreError.

        The other columns are believed, as long as they have the right type: reading the issuer out
        of 100 000 certificates takes twelve seconds, the fingerprints a fifth of one.
        :meth:`damage` compares them all.
        """
        found = self.entries()
        for entry in found:
            if hashlib.sha256(entry.der).hexdigest() != entry.sha256:
                raise StoreError(
                    f"{self.path}: damaged: certificate {entry.sha256}: its octets are others"
                )
        return found

    def find(self, sha256: str) -> Entry | None:
        """The certificate with this fingerprint, if it is in any store."""
        return next((entry for entry in self.ever_held(sha256) if entry.stores), None)

    def ever_held(self, prefix: str) -> list[Entry]:
        """Certificates whose fingerprint begins so, also those that are in no store any more."""
        bounds = (prefix, prefix + "~")  # "~" comes after every hex digit
        with self._read() as connection:
            return _entries(
                connection.execute(
                    "SELECT certificate, store FROM placement JOIN certificate ON certificate = id"
                    " WHERE sha256 BETWEEN ? AND ?",
                    bounds,
                ),
                connection.execute(f"{_CERTIFICATES} WHERE sha256 BETWEEN ? AND ?", bounds),
                in_no_store=True,
            )

    def damage(self) -> list[str]:
        """What is wrong with the file, in words: SQLite's own check, then each certificate's."""
        with self._read() as connection:
            rows = connection.execute("PRAGMA integrity_check").fetchall()
            found = [text for (text,) in rows if text != "ok"]
            found += [
                f"certificate {child} of table {table} is not there"
                for table, child, _, _ in connection.execute("PRAGMA foreign_key_check")
            ]
        for entry in self.ever_held(""):
            try:
                same = entry_of(
                    entry.der, type=entry.type, stores=entry.stores, source=entry.source
                )
            except CertificateError as error:
                found.append(f"{entry.sha256}: {error}")
                continue
            if same != entry:
                found.append(f"{entry.sha256}: the columns are not those of the certificate")
        return found

    def apply(self, changes: Sequence[Change], receipt: Receipt) -> None:
        """Do all of ``changes`` and keep ``receipt``, in one transaction.

        Raises :class:`StoreChangedError`, with nothing done, when a certificate is no longer as it
        was when the change was decided.
        """
        with self._write() as connection:
            keep(connection, receipt)
            for change in changes:
                apply_change(connection, change, receipt.id)

    def undo(self, receipt_id: str, receipt: Receipt) -> Undone:
        """Take back what the receipt ``receipt_id`` did, as far as it still stands.

        A certificate that another receipt has put where it is since then stays. Raises
        :class:`UnknownReceiptError` for one that is not in our history, or was undone before.
        """
        with self._write() as connection:
            keep(connection, receipt)
            return undo(connection, receipt_id, receipt.id)

    def receipts(self) -> list[KeptReceipt]:
        """Every receipt, oldest first."""
        with self._read() as connection:
            return [
                KeptReceipt(Receipt(*row[:-1]), row[-1])
                for row in _texts(
                    connection.execute(
                        "SELECT id, time, action, place, actor, body, undone_by FROM receipt"
                        " ORDER BY time, id"
                    )
                )
            ]

    def history(self, sha256: str) -> list[Event]:
        """What happened to a certificate, oldest first; also of one in no store any more."""
        with self._read() as connection:
            return [
                Event(*row)
                for row in _texts(
                    connection.execute(
                        "SELECT time, receipt.id, actor, receipt.action, history.action, store,"
                        " type_before, type_after, file, history.cluster, history.node"
                        " FROM history JOIN receipt ON receipt = receipt.id"
                        " JOIN certificate ON certificate = certificate.id"
                        " WHERE sha256 = ? ORDER BY history.id",
                        (sha256,),
                    )
                )
            ]

    def origins(self) -> dict[str, tuple[str | None, str | None]]:
        """The cluster and node that each certificate is said to come from, by fingerprint."""
        with self._read() as connection:
            rows = connection.execute("SELECT sha256, cluster, node FROM certificate")
            return {sha256: (cluster, node) for sha256, cluster, node in _texts(rows)}

    def _status(self) -> os.stat_result:
        try:
            return self.path.stat()
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}") from None

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        """A connection in one read transaction: everything read is of one moment."""
        with connected_to_read(self.path) as connection:
            try:
                connection.execute("BEGIN")
                yield connection
            except sqlite3.Error as error:
                raise StoreError(f"{self.path}: {error}") from None
            except (TypeError, ValueError, OverflowError, OSError) as error:  # odd column values
                raise StoreError(f"{self.path}: damaged: {error}") from None

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """A connection in one write transaction: all or nothing."""
        if not writable(self.path):
            raise StoreError(f"{self.path}: can only be read: its folder cannot be written")
        with closing(connect(self.path)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise StoreError(f"{self.path}: {error}") from None
            # Leaves the log empty: the file alone is the store, to be copied or replaced. Where
            # that cannot be, on a full disk, the log holds what is done until the next time.
            with suppress(sqlite3.Error):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _of_kinds(
    rows: Iterable[tuple[Any, ...]], kinds: Sequence[tuple[type, ...]]
) -> Iterator[tuple[Any, ...]]:
    """The rows, of certificates; SQLite keeps any value in any column, which is a ValueError."""
    for row in rows:
        if tuple(map(type, row)) not in kinds:
            raise ValueError(f"certificate {row[0]!r}: a column of another type")
        yield row


def _texts(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """The same for any rows of texts, some of them NULL."""
    for row in rows:
        if not {*map(type, row)} <= {str, NoneType}:
            raise ValueError(f"{row[0]!r}: a column of another type")
        yield row


def _entries(
    placements: sqlite3.Cursor, certificates: sqlite3.Cursor, *, in_no_store: bool = False
) -> list[Entry]:
    """Entries of the rows, with those ``in_no_store`` or without.

    Equal texts and equal sets of stores are shared, which saves a third of the memory.
    """
    nowhere: frozenset[str] = frozenset()
    sets: dict[frozenset[str], frozenset[str]] = {}
    texts: dict[str, str] = {}
    stores: dict[int, frozenset[str]] = {}
    for number, name in _of_kinds(placements, [(int, str)]):
        union = stores.get(number, frozenset()) | {name}
        stores[number] = sets.setdefault(union, union)
    return [
        Entry(
            der=der,
            sha256=sha256,
            subject=texts.setdefault(subject, subject),
            issuer=texts.setdefault(issuer, issuer),
            serial=serial,
            type=type_name and texts.setdefault(type_name, type_name),
            stores=stores.get(number, nowhere),
            source=texts.setdefault(source, source),
            not_after=datetime.fromtimestamp(not_after, UTC),
        )
        for (
            number,
            der,
            sha256,
            subject,
            issuer,
            serial,
            type_name,
            source,
            not_after,
        ) in _of_kinds(certificates, _CERTIFICATE_KINDS)
        if in_no_store or number in stores
    ]
