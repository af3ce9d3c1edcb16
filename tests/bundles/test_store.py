"""The trust store's file: revision, one transaction, versions, size, and death at any moment."""

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from lab.cli.main import run
from tests.bundles.samples import stored
from tvs.changes import Change, StoreChangedError, UnknownReceiptError, new_receipt
from tvs.schema import StoreError, build, connect, connected_to_read
from tvs.snapshot import Entry, entry_of
from tvs.store import STORE_FILE, TrustStore


@pytest.fixture
def store(tmp_path):
    with closing(TrustStore.open(tmp_path / "store.sqlite3")) as opened:
        yield opened


@pytest.fixture(scope="module")
def entries(make_certificate) -> list[Entry]:
    return [
        entry_of(
            make_certificate(f"host-{number}"),
            type="CallManager",
            stores=("CallManager-trust", "Phone-SAST-trust"),
            source="test",
        )
        for number in range(40)
    ]


def put(store: TrustStore, *entries: Entry) -> str:
    receipt = new_receipt("add", "test")
    store.apply([Change(entry, store.find(entry.sha256)) for entry in entries], receipt)
    return receipt.id


def test_it_gives_back_what_it_was_given(store, entries):
    put(store, *entries)
    assert store.entries() == entries
    assert store.find(entries[7].sha256) == entries[7]
    assert store.find("0" * 64) is None
    assert store.damage() == []


def test_the_file_is_private_and_its_name_is_taken_whole(store, tmp_path):
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert {path.name for path in tmp_path.iterdir()} <= {
        "store.sqlite3",
        "store.sqlite3-wal",
        "store.sqlite3-shm",
    }


def test_certificates_of_one_name_stay_apart(store, make_certificate):
    """Two clusters may use one CN, and even one issuer and serial number."""
    ders = [
        make_certificate("cucm-pub", serial=4711, key=ec.generate_private_key(ec.SECP256R1()))
        for _ in range(2)
    ]
    both = [entry_of(der, type="CallManager", stores=("tomcat-trust",), source="") for der in ders]
    put(store, *both)
    assert store.entries() == both
    assert both[0].issuer == both[1].issuer
    assert both[0].serial == both[1].serial


def test_the_revision_follows_own_and_foreign_commits_and_a_new_file(store, entries, tmp_path):
    seen = [store.revision()]

    def changed() -> bool:
        seen.append(store.revision())
        return seen[-1] not in seen[:-1]

    assert not changed()
    put(store, entries[0])
    assert changed()
    assert not changed()
    with closing(TrustStore.open(store.path)) as other:
        put(other, entries[1])
    assert changed()
    with closing(TrustStore.open(tmp_path / "new.sqlite3")) as new:
        put(new, entries[2])
    (tmp_path / "new.sqlite3").rename(store.path)
    assert changed()
    assert store.entries() == [entries[2]]
    shutil.copy(store.path, tmp_path / "copy.sqlite3")
    put(store, entries[0])
    assert changed()
    shutil.copyfile(tmp_path / "copy.sqlite3", store.path)  # written over, the same inode
    assert changed()
    assert store.entries() == [entries[2]]


def test_the_revision_comes_back_with_the_file(store, tmp_path):
    store.path.rename(tmp_path / "away")
    with pytest.raises(StoreError, match="No such file"):
        store.revision()
    store.path.mkdir()
    with pytest.raises(StoreError, match="unable to open"):
        store.revision()
    store.path.rmdir()
    (tmp_path / "away").rename(store.path)
    assert store.revision() == store.revision()


def test_a_reader_is_not_blocked_by_a_writer(store, entries):
    put(store, entries[0])
    with closing(connect(store.path)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM placement")
        assert store.entries() == [entries[0]]
        writer.execute("ROLLBACK")


def test_nothing_is_done_when_the_store_changed_meanwhile(store, entries):
    stale = [Change(entry, None) for entry in entries[:3]]
    put(store, replace(entries[2], type="CAPF"))
    with pytest.raises(StoreChangedError, match=entries[2].sha256):
        store.apply(stale, new_receipt("import", "test"))
    assert [entry.type for entry in store.entries()] == ["CAPF"]
    assert [kept.receipt.action for kept in store.receipts()] == ["add"]


def test_undo_takes_back_its_own_receipt_and_no_other(store, entries):
    one, two = entries[:2]
    first = put(store, replace(one, type="CAPF", stores=frozenset({"CAPF-trust"})))
    known = store.find(one.sha256)
    second = put(store, replace(known, type="CallManager", stores=known.stores | one.stores), two)
    undone = store.undo(second, new_receipt("undo", second))
    assert len(undone.taken_back) == 6  # two stores each, and the two types
    assert store.entries() == [known]
    with pytest.raises(UnknownReceiptError, match="taken back already"):
        store.undo(second, new_receipt("undo", second))
    with pytest.raises(UnknownReceiptError, match="no receipt"):
        store.undo("nonsense", new_receipt("undo", "nonsense"))
    store.undo(first, new_receipt("undo", first))
    assert store.entries() == []
    assert [(event.what, event.store) for event in store.history(two.sha256)] == [
        ("entered", "CallManager-trust"),
        ("entered", "Phone-SAST-trust"),
        ("type", None),
        ("type", None),
        ("left", "Phone-SAST-trust"),
        ("left", "CallManager-trust"),
    ]


def test_undo_leaves_alone_what_another_receipt_has_put_there_since(store, entries):
    one = entries[0]
    first = put(store, one)
    put(store, replace(one, stores=frozenset({"CallManager-trust"})))
    later = put(store, one)
    undone = store.undo(first, new_receipt("undo", first))
    assert undone.left_alone == ((one.sha256, "Phone-SAST-trust", f"changed since, by {later}"),)
    assert store.entries() == [replace(one, type=None, stores=frozenset({"Phone-SAST-trust"}))]


def version_one(path: Path, entry: Entry) -> None:
    """A store as schema 1 had it."""
    with closing(sqlite3.connect(path)) as connection:
        build(connection, 1)
        connection.execute(
            "INSERT INTO certificate VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(entry.sha256, entry.der, entry.subject, entry.issuer, entry.serial),
                *(int(entry.not_after.timestamp()), entry.type, entry.source),
            ),
        )
        rows = [(1, name) for name in entry.stores]
        connection.executemany("INSERT INTO placement VALUES (?, ?)", rows)
        connection.commit()


def test_an_older_schema_is_migrated_and_backed_up(tmp_path, entries):
    path = tmp_path / "store.sqlite3"
    version_one(path, entries[0])
    with closing(TrustStore.open(path)) as migrated:
        assert migrated.entries() == [entries[0]]
        put(migrated, entries[1])
    (backup,) = tmp_path.glob("store.sqlite3.v1.*.backup")
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT sha256 FROM certificate").fetchall() == [
            (entries[0].sha256,)
        ]
    TrustStore.open(path).close()
    assert len(list(tmp_path.glob("*.backup"))) == 1


def test_a_failed_migration_leaves_the_old_version(tmp_path, entries, monkeypatch):
    path = tmp_path / "store.sqlite3"
    version_one(path, entries[0])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE receipt (in_the_way)")
    with pytest.raises(StoreError, match="receipt already exists"):
        TrustStore.open(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        columns = [row[1] for row in connection.execute("PRAGMA table_info(certificate)")]
        assert "cluster" not in columns


def test_a_backup_that_fails_leaves_nothing_and_the_old_version(tmp_path, entries):
    path = tmp_path / "store.sqlite3"
    version_one(path, entries[0])

    def action() -> None:
        with suppress(StoreError):
            TrustStore.open(path)

    with closing(connect(path)) as other:
        other.execute("SELECT sha256 FROM certificate").fetchall()  # the log's index is there
        there = {*tmp_path.iterdir()}
        in_a_fork(lambda: (resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024)), action()))
        assert {*tmp_path.iterdir()} == there
        assert other.execute("PRAGMA user_version").fetchone() == (1,)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write for somebody else")
def test_a_backup_that_root_makes_belongs_to_the_user_of_the_folder(tmp_path, entries):
    path = tmp_path / "store.sqlite3"
    version_one(path, entries[0])
    os.chown(tmp_path, 10069, 10070)
    TrustStore.open(path).close()
    (backup,) = tmp_path.glob("*.backup")
    assert (backup.stat().st_uid, backup.stat().st_mode & 0o777) == (10069, 0o600)


def test_what_is_read_without_a_lock_was_not_written_meanwhile(store, entries, monkeypatch):
    """As where the folder is another user's."""
    put(store, entries[0])
    unlocked = connected_to_read(store.path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        assert store.entries() == [entries[0]]
        unlocked.__enter__().execute("SELECT der FROM certificate").fetchall()
    put(store, entries[1])
    with pytest.raises(StoreError, match="written to while it was read; try again"):
        unlocked.__exit__(None, None, None)


def test_an_older_schema_is_not_migrated_where_nothing_can_be_written(
    tmp_path, entries, monkeypatch
):
    path = tmp_path / "store.sqlite3"
    version_one(path, entries[0])
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StoreError, match="written by an earlier trustlab"):
        TrustStore.open(path)
    path.unlink()
    with pytest.raises(StoreError, match=r"store\.sqlite3: No such file"):
        TrustStore.open(path)
    assert [*tmp_path.iterdir()] == []


def test_what_is_no_store_of_ours_is_refused(tmp_path):
    path = tmp_path / "store.sqlite3"
    path.write_bytes(b"no database at all, and long enough to be one" * 100)
    with pytest.raises(StoreError, match="no trust store"):
        TrustStore.open(path)
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE certificates (x)")
    with pytest.raises(StoreError, match="no trust store of trustlab"):
        TrustStore.open(path)
    path.unlink()
    TrustStore.open(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="written by a later trustlab"):
        TrustStore.open(path)


def test_damage_is_found(store, entries):
    put(store, *entries[:2])
    with closing(connect(store.path)) as connection:
        connection.execute("UPDATE certificate SET issuer = 'CN=other' WHERE id = 1")
    assert store.damage() == [f"{entries[0].sha256}: the columns are not those of the certificate"]


@pytest.mark.parametrize("value", ["soon", 1e18, b"\0"])
def test_columns_that_no_store_of_ours_has_are_an_error_of_the_store(store, entries, value):
    put(store, entries[0])
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("UPDATE certificate SET not_after = ?", (value,))
    with pytest.raises(StoreError, match=f"{store.path}: damaged: "):
        store.entries()


def test_a_locked_store_is_not_called_something_else(store, monkeypatch):
    monkeypatch.setattr("tvs.schema.BUSY_SECONDS", 0.1)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        store.close()
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match=r"store\.sqlite3: database is locked"):
            TrustStore.open(store.path)


MEASURE = """
import sys
from pathlib import Path
from tvs.snapshot import Snapshot
from tvs.store import TrustStore

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

store = TrustStore.open(Path(sys.argv[1]))
before = resident()
snapshot = Snapshot(store.entries())
print(len(snapshot), resident() - before)
"""


def test_a_certificate_takes_two_thousand_octets_of_memory(store):
    """Loaded and indexed for TVS; rows of the size that RSA-2048 certificates have."""
    many = 30_000
    with closing(connect(store.path)) as connection:
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO certificate (id, sha256, der, subject, issuer, serial, not_after, type,"
            " source) VALUES (?, ?, ?, ?, ?, ?, 2000000000, 'CallManager', 'bundle')",
            (
                (n, f"{n:064x}", os.urandom(950), name, name, n.to_bytes(16))
                for n in range(many)
                for name in [f"CN=cucm-{n};OU=Voice;O=Example Company;L=Town;ST=State;C=DE"]
            ),
        )
        for name in ("CallManager-trust", "Phone-SAST-trust"):
            connection.execute("INSERT INTO placement SELECT id, ? FROM certificate", (name,))
        connection.execute("COMMIT")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, store.path], capture_output=True, check=True, text=True
    )
    count, octets = done.stdout.split()
    assert int(count) == many
    assert int(octets) < 2_000 * many


def in_a_fork(action) -> int:
    """Run ``action`` in a forked process; answers the signal that ended it, 0 for none."""
    pid = os.fork()
    if pid == 0:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        os.dup2(devnull, 2)
        try:
            action()
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1] & 0x7F


def test_death_at_any_write_leaves_the_old_state_or_the_new(tmp_path, entries):
    """The process dies within a write, by SIGXFSZ, at ever later octets of the log."""
    old, new = entries[:5], entries

    def action(path: Path, limit: int) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with closing(TrustStore.open(path)) as store:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            put(store, *new[5:])

    with closing(TrustStore.open(tmp_path / "template.sqlite3")) as template:
        put(template, *old)
    deaths, outcomes = 0, set()
    for limit in range(34_000, 150_000, 4_637):
        path = tmp_path / f"{limit}.sqlite3"
        shutil.copy(tmp_path / "template.sqlite3", path)
        deaths += in_a_fork(lambda path=path, limit=limit: action(path, limit)) == signal.SIGXFSZ
        with closing(TrustStore.open(path)) as store:
            assert store.damage() == []
            outcomes.add(len(store.entries()))
            assert len(store.receipts()) == (1 if len(store.entries()) == len(old) else 2)
    assert deaths > 5
    assert outcomes == {len(old), len(new)}


@pytest.mark.parametrize("kilobytes", [1, 20, 150])
def test_a_full_disk_is_an_error_only_where_nothing_was_done(store, entries, tmp_path, kilobytes):
    """No file may grow beyond some size: the log's first octets, its last, or the store itself."""
    put(store, entries[0])
    with closing(connect(store.path)) as connection:  # a store larger than the log of one change
        connection.execute("UPDATE receipt SET body = ?", ("x" * 200_000,))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def action() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, kilobytes * 1024))
        with suppress(StoreError), closing(TrustStore.open(store.path)) as full:
            put(full, *entries[1:10])
            (tmp_path / "done").touch()

    in_a_fork(action)
    assert store.damage() == []
    assert (len(store.entries()) == 10) == (tmp_path / "done").exists()
    assert (tmp_path / "done").exists() == (kilobytes == 150)


def test_kill_at_many_points_of_an_import(exchanged, trustlab, tmp_path):
    """SIGKILL on entering the n-th function of ours, over the whole command."""
    own = (str(Path(entry_of.__code__.co_filename).parent), "/lab/cli/")
    command = ["--state", "", "bundle", "import", str(exchanged.shared), "--yes"]

    def calls(state: Path, until: int | None, count: list[int]) -> None:
        def trace(frame, _event, _argument) -> None:
            if frame.f_code.co_filename.startswith(own[0]) or own[1] in frame.f_code.co_filename:
                count[0] += 1
                if count[0] == until:
                    os.kill(os.getpid(), signal.SIGKILL)

        before = sys.getprofile()
        sys.setprofile(trace)
        try:
            run([part or str(state) for part in command])
        finally:
            sys.setprofile(before)

    whole = [0]
    shutil.copytree(exchanged.b, tmp_path / "whole")
    calls(tmp_path / "whole", None, whole)
    complete = len(stored(trustlab, tmp_path / "whole"))
    assert complete == 7
    outcomes = set()
    for step in range(1, 11):
        state = tmp_path / f"state-{step}"
        shutil.copytree(exchanged.b, state)
        until = whole[0] * step // 11
        ended = in_a_fork(lambda state=state, until=until: calls(state, until, [0]))
        assert ended == signal.SIGKILL
        with closing(TrustStore.open(state / STORE_FILE)) as store:
            assert store.damage() == []
            outcomes.add((len(store.entries()), len(store.receipts())))
    assert outcomes <= {(0, 0), (complete, 1)}
    assert len(outcomes) == 2
