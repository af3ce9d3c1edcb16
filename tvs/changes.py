"""Changes to a trust store, their receipts, their history, and how they are taken back.

The functions work inside a transaction that :class:`tvs.store.TrustStore` holds. A certificate that
leaves its last store keeps its row, so that its history can still be told.
"""

import getpass
import os
import secrets
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime

from tvs import TvsError
from tvs.snapshot import Entry


class StoreChangedError(TvsError):
    """The store is no longer as it was when a change was decided; nothing was done."""


class UnknownReceiptError(TvsError):
    """A receipt that is not in this store's history, or was taken back already."""

    exit_code = 1


@dataclass(frozen=True)
class Change:
    """A certificate as it is to be, and as it was (None: in no store); ``file`` is what changes it.

    An ``after`` without stores takes the certificate out of all.
    """

    after: Entry
    before: Entry | None
    file: str | None = None
    cluster: str | None = None
    node: str | None = None

    @property
    def entering(self) -> frozenset[str]:
        """The stores it newly enters."""
        return self.after.stores - (self.before.stores if self.before else frozenset())


@dataclass(frozen=True)
class Receipt:
    """What was done: ``time`` RFC 3339 in UTC, ``body`` the receipt as shown, JSON."""

    id: str
    time: str
    action: str
    place: str
    actor: str
    body: str = "{}"


@dataclass(frozen=True)
class KeptReceipt:
    """A receipt of the history, and the one that took it back."""

    receipt: Receipt
    undone_by: str | None


@dataclass(frozen=True)
class Event:
    """One thing that happened to a certificate: ``what`` is "entered", "left" or "type"."""

    time: str
    receipt: str
    actor: str
    action: str
    what: str
    store: str | None
    type_before: str | None
    type_after: str | None
    file: str | None
    cluster: str | None
    node: str | None


@dataclass(frozen=True)
class Undone:
    """What an undo did, and what it left alone and why, in words by certificate and store."""

    taken_back: tuple[tuple[str, str], ...]
    left_alone: tuple[tuple[str, str, str], ...]


def new_receipt(action: str, place: str) -> Receipt:
    """A receipt with an id of its own, made now and by this account."""
    now = datetime.now(UTC)
    return Receipt(
        id=f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}",
        time=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        action=action,
        place=place,
        actor=_account(),
    )


def _account() -> str:
    """The account's name; in a container it need not have one."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def keep(connection: sqlite3.Connection, receipt: Receipt) -> None:
    """Write a receipt into the history."""
    connection.execute(
        "INSERT INTO receipt (id, time, action, place, actor, body) VALUES (?, ?, ?, ?, ?, ?)",
        (receipt.id, receipt.time, receipt.action, receipt.place, receipt.actor, receipt.body),
    )


def apply_change(connection: sqlite3.Connection, change: Change, receipt_id: str) -> None:
    """Make one change. Raises StoreChangedError when the certificate is not as ``before``."""
    entry = change.after
    number = _number(connection, entry, change)
    (known_type,) = connection.execute(
        "SELECT type FROM certificate WHERE id = ?", (number,)
    ).fetchone()
    stores = _stores(connection, number)
    expected = change.before.stores if change.before else frozenset()
    if stores != expected or (change.before and known_type != change.before.type):
        raise StoreChangedError(
            f"the store changed meanwhile, for {entry.sha256}; nothing was done, run it again"
        )
    for store in sorted(entry.stores - stores):
        _enter(connection, number, store)
        _note(connection, receipt_id, number, "entered", change, store=store)
    for store in sorted(stores - entry.stores):
        _leave(connection, number, store)
        _note(connection, receipt_id, number, "left", change, store=store)
    if known_type != entry.type:
        types = (known_type if change.before else None, entry.type)
        connection.execute("UPDATE certificate SET type = ? WHERE id = ?", (entry.type, number))
        _note(connection, receipt_id, number, "type", change, types=types)
    if change.entering:
        connection.execute(
            "UPDATE certificate SET source = ?, cluster = ?, node = ? WHERE id = ?",
            (entry.source, change.cluster, change.node, number),
        )


def undo(connection: sqlite3.Connection, receipt_id: str, by: str) -> Undone:
    """Take back the receipt ``receipt_id``; ``by`` is the receipt of the undo itself."""
    row = connection.execute(
        "SELECT undone_by, action FROM receipt WHERE id = ?", (receipt_id,)
    ).fetchone()
    if row is None:
        raise UnknownReceiptError(f"no receipt {receipt_id} in this store's history")
    if row[0] is not None:
        raise UnknownReceiptError(f"receipt {receipt_id} was taken back already, by {row[0]}")
    taken_back, left_alone = [], []
    events = connection.execute(
        "SELECT history.id, certificate, action, store, type_before, type_after, sha256"
        " FROM history JOIN certificate ON certificate = certificate.id"
        " WHERE receipt = ? ORDER BY history.id DESC",
        (receipt_id,),
    ).fetchall()
    for event_id, number, what, store, before, after, sha256 in events:
        later = connection.execute(
            "SELECT receipt FROM history WHERE certificate = ? AND store IS ? AND id > ?"
            " AND receipt != ? ORDER BY id DESC",
            (number, store, event_id, by),
        ).fetchone()
        detail = store or f"type {after}"
        if later is not None:
            left_alone.append((sha256, detail, f"changed since, by {later[0]}"))
            continue
        if what == "entered":
            _leave(connection, number, store)
            _note(connection, by, number, "left", store=store)
        elif what == "left":
            _enter(connection, number, store)
            _note(connection, by, number, "entered", store=store)
        else:
            connection.execute("UPDATE certificate SET type = ? WHERE id = ?", (before, number))
            _note(connection, by, number, "type", types=(after, before))
        taken_back.append((sha256, detail))
    connection.execute("UPDATE receipt SET undone_by = ? WHERE id = ?", (by, receipt_id))
    return Undone(tuple(taken_back), tuple(left_alone))


def _number(connection: sqlite3.Connection, entry: Entry, change: Change) -> int:
    """The row of a certificate, made if there is none; one that is in no store has no type."""
    connection.execute(
        "INSERT INTO certificate"
        " (sha256, der, subject, issuer, serial, not_after, source, cluster, node)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (sha256) DO NOTHING",
        (
            entry.sha256,
            entry.der,
            entry.subject,
            entry.issuer,
            entry.serial,
            int(entry.not_after.timestamp()),
            entry.source,
            change.cluster,
            change.node,
        ),
    )
    (number,) = connection.execute(
        "SELECT id FROM certificate WHERE sha256 = ?", (entry.sha256,)
    ).fetchone()
    return int(number)


def _stores(connection: sqlite3.Connection, number: int) -> frozenset[str]:
    rows = connection.execute("SELECT store FROM placement WHERE certificate = ?", (number,))
    return frozenset(store for (store,) in rows)


def _enter(connection: sqlite3.Connection, number: int, store: str) -> None:
    connection.execute("INSERT INTO placement (certificate, store) VALUES (?, ?)", (number, store))


def _leave(connection: sqlite3.Connection, number: int, store: str) -> None:
    connection.execute("DELETE FROM placement WHERE certificate = ? AND store = ?", (number, store))


def _note(
    connection: sqlite3.Connection,
    receipt_id: str,
    number: int,
    what: str,
    change: Change | None = None,
    *,
    store: str | None = None,
    types: tuple[str | None, str | None] = (None, None),
) -> None:
    connection.execute(
        "INSERT INTO history (receipt, certificate, action, store, type_before, type_after,"
        " file, cluster, node) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            receipt_id,
            number,
            what,
            store,
            *types,
            *((change.file, change.cluster, change.node) if change else (None, None, None)),
        ),
    )
