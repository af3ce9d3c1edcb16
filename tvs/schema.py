"""The trust store's file: created whole, recognised, migrated forward with a backup.

One SQLite file in WAL mode: readers are never blocked, a writer that is killed leaves the state
before its transaction. ``user_version`` is the version of the schema, ``application_id`` the octets
"tlts". MIGRATIONS is only ever appended to: script N leads from version N to version N+1.
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from conf.files import give_to_owner
from tvs import TvsError

APPLICATION_ID = int.from_bytes(b"tlts", "big")
BUSY_SECONDS = 10.0

MIGRATIONS = (
    """
    CREATE TABLE certificate (
        id INTEGER PRIMARY KEY,
        sha256 TEXT NOT NULL UNIQUE,   -- of the DER octets, lower-case hex
        der BLOB NOT NULL,
        subject TEXT NOT NULL,
        issuer TEXT NOT NULL,
        serial BLOB NOT NULL,          -- unsigned, minimal octets
        not_after INTEGER NOT NULL,    -- seconds since 1970, UTC
        type TEXT,                     -- CallManager, CAPF, ...; NULL: not known
        source TEXT NOT NULL           -- who brought it, in words
    );
    CREATE INDEX certificate_key ON certificate (serial, issuer);
    CREATE TABLE placement (
        certificate INTEGER NOT NULL REFERENCES certificate (id),
        store TEXT NOT NULL,           -- CallManager-trust, ...
        PRIMARY KEY (certificate, store)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE certificate ADD COLUMN cluster TEXT;  -- as the bundle's label claims; NULL: unknown
    ALTER TABLE certificate ADD COLUMN node TEXT;
    CREATE TABLE receipt (
        id TEXT PRIMARY KEY,
        time TEXT NOT NULL,            -- RFC 3339, UTC
        action TEXT NOT NULL,          -- import, add, remove, undo
        place TEXT NOT NULL,           -- where it came from; for an undo the receipt undone
        actor TEXT NOT NULL,           -- who did it: the account's name
        body TEXT NOT NULL,            -- the receipt as it was shown, JSON
        undone_by TEXT REFERENCES receipt (id)
    ) WITHOUT ROWID;
    CREATE TABLE history (
        id INTEGER PRIMARY KEY,
        receipt TEXT NOT NULL REFERENCES receipt (id),
        certificate INTEGER NOT NULL REFERENCES certificate (id),
        action TEXT NOT NULL,          -- entered, left, type
        store TEXT,                    -- for entered and left
        type_before TEXT,              -- for type
        type_after TEXT,
        file TEXT,
        cluster TEXT,
        node TEXT
    );
    CREATE INDEX history_certificate ON history (certificate);
    CREATE INDEX history_receipt ON history (receipt);
    """,
)
VERSION = len(MIGRATIONS)


class StoreError(TvsError):
    """A trust store that cannot be used; the text names its file."""

    exit_code = 2


def connect(path: Path) -> sqlite3.Connection:
    """A connection to the existing file ``path``, in autocommit mode, usable from any thread."""
    return _connected(path, "mode=rw")


@contextmanager
def connected_to_read(path: Path) -> Iterator[sqlite3.Connection]:
    """The same for reading alone, also where nothing can be written: in a snapshot, for one.

    There SQLite can make neither the log nor its index. A log with nothing in it is not needed: the
    file is read as it is, and a StoreError raised if somebody wrote to it meanwhile.
    """
    # Not "mode=ro" where more is allowed: the last one out, if it may not write, leaves the log.
    if writable(path):
        with closing(connect(path)) as connection:
            yield connection
        return
    before = _standing(path)
    *_, logged = before
    with closing(_connected(path, "mode=ro" if logged else "mode=ro&immutable=1")) as connection:
        if logged:
            _read_log(connection, path)
        yield connection
    if not logged and _standing(path) != before:
        raise StoreError(f"{path}: written to while it was read; try again")


def _read_log(connection: sqlite3.Connection, path: Path) -> None:
    try:
        connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.OperationalError as error:
        log = f"its log {path.name}-wal holds changes"
        raise StoreError(
            f"{path}: {log}, and cannot be read: {error}: copy both files to a folder that can be"
            " written"
        ) from None


def writable(path: Path) -> bool:
    """Whether SQLite can make what it needs beside ``path`` to write to it."""
    return os.access(path.parent, os.W_OK)


def _standing(path: Path) -> tuple[int, ...]:
    """A value that differs after a write to the file, as far as the file system's clock tells.

    Its last item is the log's size in octets.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from None
    try:
        logged = path.with_name(f"{path.name}-wal").stat().st_size
    except FileNotFoundError:
        logged = 0
    return status.st_ino, status.st_size, status.st_mtime_ns, logged


def _connected(path: Path, how: str) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?{how}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
    except sqlite3.Error as error:
        why = error if path.exists() else "no such file"
        raise StoreError(f"{path}: {why}") from None
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def prepare(path: Path) -> None:
    """See to it that ``path`` is a trust store of the present version.

    A missing one is created, whole or not at all. An older one is migrated, after a copy of it
    went to ``NAME.vN.TIME.backup`` beside it. Raises StoreError for a file that is something else
    or was written by a later trustlab, or where that cannot be written.
    """
    if not writable(path):
        with connected_to_read(path) as connection:
            if (version := _version(connection, path)) < VERSION:
                raise StoreError(
                    f"{path}: written by an earlier trustlab (schema {version}), and cannot be"
                    " migrated: its folder cannot be written"
                )
        return
    if not path.exists():
        _create(path)
    connection = connect(path)
    try:
        if _version(connection, path) < VERSION:
            _migrate(connection, path)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from None
    finally:
        connection.close()


def build(connection: sqlite3.Connection, version: int = VERSION) -> None:
    """Make the tables of ``version`` in the empty database behind ``connection``."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for script in MIGRATIONS[:version]:
        connection.executescript(script)
    connection.execute(f"PRAGMA user_version = {version}")


def _create(path: Path) -> None:
    draft = _draft(path)
    try:
        with closing(connect(draft)) as connection:
            build(connection)
        path.hardlink_to(draft)
    except FileExistsError:
        return  # another process made it in the meantime: the same file but for the name
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be made: {error}") from None
    finally:
        for left in ("", "-wal", "-shm"):  # SQLite removes what it adds, unless the disk is full
            draft.with_name(f"{draft.name}{left}").unlink(missing_ok=True)


def _draft(path: Path) -> Path:
    """A new empty file beside ``path``."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        give_to_owner(descriptor, path.parent)
    finally:
        os.close(descriptor)
    return Path(name)


def _version(connection: sqlite3.Connection, path: Path) -> int:
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError as error:  # locked, or not to be read
        raise StoreError(f"{path}: {error}") from None
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path}: no trust store: {error}") from None
    if application != APPLICATION_ID:
        raise StoreError(f"{path}: no trust store of trustlab")
    if version > VERSION:
        raise StoreError(
            f"{path}: written by a later trustlab (schema {version}; this one knows {VERSION})"
        )
    return int(version)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    # The write lock is taken first: the copy, read by a connection of its own, is then exactly the
    # state that is migrated.
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection, path)
        if version < VERSION:
            _back_up(path, version)
            for script in MIGRATIONS[version:]:
                for statement in _statements(script):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _back_up(path: Path, version: int) -> None:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    backup = path.with_name(f"{path.name}.v{version}.{stamp}.backup")
    draft = _draft(backup)
    try:
        with closing(connect(path)) as source, closing(sqlite3.connect(draft)) as copy:
            source.backup(copy)
        draft.rename(backup)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _statements(script: str) -> list[str]:
    """The statements of ``script``: executescript would commit the transaction around it."""
    statements, rest = [], ""
    for line in script.splitlines(keepends=True):
        rest += line
        if sqlite3.complete_statement(rest):
            statements.append(rest)
            rest = ""
    return statements
