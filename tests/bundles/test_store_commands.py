"""``trustlab store``: list, show, find, add, remove, verify, export, and the history."""

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from itl.certificates import describe, load_certificates
from tests.bundles.samples import certificates_of, stored, to_pem
from tvs.schema import connect


@pytest.fixture
def imported(imported_state, trustlab, tmp_path):
    """SiteB, which holds seven certificates of SiteA's two nodes, and the receipt of its import."""
    state = shutil.copytree(imported_state, tmp_path / "imported")
    (receipt,) = trustlab(state, "bundle", "receipts", "--json").json
    return state, receipt["receipt"]


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ((), 7),
        (("--store", "tomcat-trust"), 2),
        (("--type", "CAPF"), 2),
        (("--role", "SAST"), 3),
        (("--role", "4"), 2),
        (("--cluster", "SiteA", "--node", "cucm-a2"), 3),
        (("--cluster", "SiteB"), 0),
        (("--expires-within", "3650"), 6),
        (("--expires-within", "1"), 0),
        (("--store", "Phone-SAST-trust", "--type", "ITLRecovery"), 1),
    ],
)
def test_filters(filters, count, imported, trustlab):
    state, _ = imported
    assert len(trustlab(state, "store", "list", "--json", *filters).json) == count


def test_an_entry_has_the_fields_that_scripts_rely_on(imported, trustlab, clusters):
    state, _ = imported
    pem = (clusters.a / "identities" / "CAPF.pem").read_bytes()
    certificate = describe(load_certificates(pem)[0])
    entry = stored(trustlab, state)[certificate.sha256]
    assert entry.pop("source").endswith("_cucm-a1_CAPF.p12 (SiteA/cucm-a1)")
    assert entry == {
        "sha256": certificate.sha256,
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial": certificate.serial.hex(),
        "not_after": f"{certificate.not_after:%Y-%m-%dT%H:%M:%SZ}",
        "type": "CAPF",
        "stores": ["CallManager-trust"],
        "roles": [{"code": 4, "name": "CAPF"}],
        "cluster": "SiteA",
        "node": "cucm-a1",
    }


def test_find(imported, trustlab):
    state, _ = imported
    entries = stored(trustlab, state)
    (capf,) = [e for e in entries.values() if e["type"] == "CAPF" and "a1" in e["source"]]
    serial = ":".join(capf["serial"][i : i + 2] for i in range(0, len(capf["serial"]), 2)).upper()
    for text in (capf["subject"].split(";")[0], serial, capf["sha256"][:12], capf["sha256"]):
        found = trustlab(state, "store", "find", text, "--json")
        assert [entry["sha256"] for entry in found.json] == [capf["sha256"]]
    nothing = trustlab(state, "store", "find", "no such thing", "--json")
    assert (nothing.code, nothing.out) == (1, "")


def test_the_history_tells_who_brought_and_who_removed(imported, trustlab):
    state, receipt = imported
    sha256 = next(s for s, e in stored(trustlab, state).items() if e["type"] == "ITLRecovery")
    removed = trustlab(state, "store", "remove", sha256[:16], "--json").one
    assert removed["left"] == ["CallManager-trust", "Phone-SAST-trust"]
    assert sha256 not in stored(trustlab, state)
    shown = trustlab(state, "store", "show", sha256[:16], "--json").one
    assert (shown["sha256"], shown["stores"], shown["roles"]) == (sha256, [], shown["roles"])
    assert [(e["action"], e["what"], e["store"], e["receipt"]) for e in shown["history"]] == [
        ("import", "entered", "CallManager-trust", receipt),
        ("import", "entered", "Phone-SAST-trust", receipt),
        ("import", "type", None, receipt),
        ("remove", "left", "CallManager-trust", removed["receipt"]),
        ("remove", "left", "Phone-SAST-trust", removed["receipt"]),
    ]
    assert shown["history"][0]["cluster"] == "SiteA"
    assert shown["history"][0]["file"].endswith("_ITLRecovery.p12")
    text = trustlab(state, "store", "show", sha256)
    assert "left Phone-SAST-trust" in text.out
    trustlab(state, "bundle", "undo", removed["receipt"])
    assert sha256 in stored(trustlab, state)


def test_remove_from_one_store_only(imported, trustlab):
    state, _ = imported
    sha256 = next(s for s, e in stored(trustlab, state).items() if e["type"] == "CallManager")
    command = ("store", "remove", sha256, "--store", "Phone-SAST-trust")
    assert trustlab(state, *command).code == 0
    assert stored(trustlab, state)[sha256]["stores"] == ["CallManager-trust"]
    assert trustlab(state, *command).code == 1
    assert trustlab(state, "store", "remove", "ffff").code == 1
    assert trustlab(state, "store", "remove", "nothex").code == 2
    assert trustlab(state, "store", "remove", sha256, "--store", "other-trust").code == 2


def test_an_ambiguous_fingerprint_is_not_guessed(clusters, trustlab, make_certificate, tmp_path):
    path = tmp_path / "many.pem"
    path.write_bytes(b"".join(to_pem(make_certificate(f"host-{n}")) for n in range(17)))
    assert trustlab(clusters.a, "store", "add", path, "--store", "tomcat-trust").code == 0
    digits = [sha256[0] for sha256 in stored(trustlab, clusters.a)]
    twice = next(digit for digit in digits if digits.count(digit) > 1)
    result = trustlab(clusters.a, "store", "show", twice)
    assert result.code == 1
    assert "certificates begin with it" in result.err


def test_add(clusters, trustlab, make_certificate, tmp_path):
    der = make_certificate("phone-proxy")
    for name, octets in (("proxy.pem", to_pem(der)), ("proxy.cer", der)):
        (tmp_path / name).write_bytes(octets)
    add = ("store", "add", tmp_path / "proxy.pem", "--store", "Phone-SAST-trust")
    assert trustlab(clusters.a, *add).code == 0
    (entry,) = stored(trustlab, clusters.a).values()
    assert (entry["type"], entry["stores"]) == (None, ["Phone-SAST-trust"])
    assert entry["source"] == "added from proxy.pem"
    more = ("store", "add", tmp_path / "proxy.cer", "--store", "CallManager-trust")
    trustlab(clusters.a, *more, "--type", "CallManager")
    (entry,) = stored(trustlab, clusters.a).values()
    assert entry["type"] == "CallManager"
    assert entry["stores"] == ["CallManager-trust", "Phone-SAST-trust"]
    for wrong in (("--store", "Callmanager"), ("--store", "tomcat-trust", "--type", "x")):
        assert trustlab(clusters.a, "store", "add", tmp_path / "proxy.pem", *wrong).code == 2
    (tmp_path / "proxy.pem").write_text("nothing")
    assert trustlab(clusters.a, *add).code == 3


def test_expiry_is_said(clusters, trustlab, make_certificate, tmp_path):
    for name, days in (("old", -1), ("soon", 30), ("later", 300)):
        (tmp_path / name).write_bytes(make_certificate(name, days=days))
        trustlab(clusters.a, "store", "add", tmp_path / name, "--store", "tomcat-trust")
    shown = trustlab(clusters.a, "store", "list")
    assert "old has expired" in shown.err
    assert "soon expires in 29 days" in shown.err
    assert "later" not in shown.err


def test_verify_a_certificate(imported, trustlab, clusters):
    state, _ = imported
    identities = clusters.a / "identities"
    trusted = trustlab(state, "store", "verify", identities / "CallManager.pem", "--json")
    assert trusted.code == 0
    assert [role["code"] for role in trusted.one["entry"]["roles"]] == [0, 3]
    unknown = trustlab(state, "store", "verify", identities / "TVS.pem")
    assert unknown.code == 1
    assert "not in the store" in unknown.err


def test_verify_the_store(imported, trustlab):
    state, _ = imported
    assert trustlab(state, "store", "verify", "--json").one == {"certificates": 7, "damage": []}
    with closing(connect(state / "store.sqlite3")) as connection:
        connection.execute("UPDATE certificate SET der = x'3000' WHERE id = 3")
    broken = trustlab(state, "store", "verify", "--json")
    assert broken.code == 1
    assert len(broken.one["damage"]) == 1


@pytest.mark.parametrize(
    "damage",
    [
        "certificate SET serial = 'text'",
        "certificate SET serial = 7",
        "certificate SET subject = x'00'",
        "certificate SET type = x'00'",
        "certificate SET node = x'00'",
        "placement SET store = x'00'",
        "history SET file = x'00'",
    ],
)
def test_a_column_of_another_type_is_damage_and_no_traceback(imported, trustlab, damage):
    state, _ = imported
    fingerprint = next(iter(stored(trustlab, state)))
    with closing(connect(state / "store.sqlite3")) as connection:
        connection.execute("DELETE FROM placement WHERE store != 'CallManager-trust'")
        connection.execute(f"UPDATE {damage}")
    results = [
        trustlab(state, "store", *command, "--json")
        for command in (("list",), ("find", "cucm"), ("show", fingerprint))
    ]
    broken = [result for result in results if result.code]
    assert broken
    for result in broken:
        assert result.code == 2
        assert "store.sqlite3: damaged: " in result.err
        assert ": a column of another type" in result.err


@pytest.mark.parametrize("body", ["nojson", "[]", "{}", b"\0"])
def test_a_receipt_that_is_none_is_named(imported, trustlab, body):
    state, receipt = imported
    with closing(connect(state / "store.sqlite3")) as connection:
        connection.execute("UPDATE receipt SET body = ?", (body,))
    result = trustlab(state, "bundle", "receipts", receipt)
    assert result.code == 2
    assert receipt in result.err
    assert "store.sqlite3: damaged" in result.err


def test_export_is_readable_by_others(imported, trustlab, tmp_path, keytool):
    state, _ = imported
    pem, pkcs12 = tmp_path / "out.pem", tmp_path / "out.p12"
    assert trustlab(state, "store", "export", pem, "--role", "SAST").code == 0
    assert len(load_certificates(pem.read_bytes())) == 3
    assert trustlab(state, "store", "export", pkcs12, "--pkcs12").code == 0
    listed = subprocess.run(
        [keytool, "-list", "-keystore", pkcs12, "-storepass", "trustlab"],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert listed.count("trustedCertEntry") == 7
    assert trustlab(state, "store", "export", tmp_path / "no", "--cluster", "SiteX").code == 1
    assert not (tmp_path / "no").exists()


def test_own_identities_are_not_the_store_s(clusters, trustlab):
    assert certificates_of(clusters.a)
    assert stored(trustlab, clusters.a) == {}


READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
COMMANDS = """
import json, sys
from lab.cli.main import run
for command in json.loads(sys.argv[2]):
    print(run(["--state", sys.argv[1], *command]), file=sys.stderr, flush=True)
"""


@pytest.fixture
def read_only(program):
    """``read_only(state, command, …)``: output and messages where ``state`` cannot be written."""
    space = [program("unshare"), "--map-root-user", "--mount", "sh", "-c", READ_ONLY]

    def call(state, *commands) -> tuple[str, str]:
        if subprocess.run([*space, state, "true"], check=False, capture_output=True).returncode:
            pytest.skip("no mount namespace of its own is to be had here")
        done = subprocess.run(
            [*space, state, sys.executable, "-c", COMMANDS, state, json.dumps(commands)],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout, done.stderr

    return call


def test_a_store_that_cannot_be_written_is_read(imported, read_only, tmp_path, make_certificate):
    state, receipt = imported
    (tmp_path / "new.cer").write_bytes(make_certificate("new"))
    out, err = read_only(
        state,
        ("store", "list", "--json"),
        ("store", "verify"),
        ("bundle", "receipts", receipt),
        ("store", "export", str(tmp_path / "all.pem")),
        ("store", "add", str(tmp_path / "new.cer"), "--store", "tomcat-trust"),
        ("bundle", "undo", receipt),
    )
    refused = f"trustlab: {state}/store.sqlite3: can only be read: its folder cannot be written"
    assert err.splitlines() == [
        *("0", "7 certificates, no damage", "0", "0", "7 certificates written", "0"),
        *(refused, "2", refused, "2"),
    ]
    assert [json.loads(line)["cluster"] for line in out.splitlines()[:7]] == ["SiteA"] * 7
    assert f"receipt {receipt}: imported" in out


def test_a_log_that_cannot_be_read_is_named(imported, read_only, tmp_path):
    """A snapshot of a store that somebody wrote to in that moment."""
    state, _ = imported
    with closing(sqlite3.connect(state / "store.sqlite3", isolation_level=None)) as writer:
        writer.execute("DELETE FROM placement WHERE store = 'tomcat-trust'")
        snapshot = shutil.copytree(state, tmp_path / "snapshot")
    counted = ("store", "verify")
    assert read_only(snapshot, counted)[1] == "5 certificates, no damage\n0\n"
    (snapshot / "store.sqlite3-shm").unlink()
    words = read_only(snapshot, counted)[1]
    assert "its log store.sqlite3-wal holds changes, and cannot be read: " in words
    assert words.endswith("\n2\n")
