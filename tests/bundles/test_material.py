"""What people have: every sort of file, told by its octets alone."""

import io
import sqlite3
import subprocess
import zipfile

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conf.selfsigned import self_signed
from tests.bundles.samples import pem_of, to_pem
from tvs.foreign import ForeignReader
from tvs.material import Material, open_material


@pytest.fixture(scope="module")
def reader():
    with ForeignReader() as opened:
        yield opened


@pytest.fixture(scope="module")
def ders(make_certificate) -> list[bytes]:
    return [make_certificate(f"host-{number}") for number in range(26)]


def ders_of(material: Material) -> list[bytes]:
    assert material.problem is None
    return [found.der for found in material.certificates]


OPENSSL_FORMS = {
    "OpenSSL 3 default": [],
    "no encryption": ["-certpbe", "NONE"],
    "no MAC": ["-nomac"],
    "no MAC, no encryption": ["-nomac", "-certpbe", "NONE"],
    "SHA-1 MAC": ["-macalg", "sha1"],
    "3DES and SHA-1 MAC": ["-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"],
    "RC2-40 as OpenSSL 1": ["-legacy"],
    "RC2-128": ["-legacy", "-certpbe", "PBE-SHA1-RC2-128", "-macalg", "sha1"],
}


@pytest.mark.parametrize("form", OPENSSL_FORMS)
@pytest.mark.parametrize("password", ["secret", ""])
def test_opens_what_openssl_writes(form, password, reader, ders, tmp_path):
    path = tmp_path / "certificates.pem"
    path.write_bytes(b"".join(map(to_pem, ders)))
    done = subprocess.run(
        ["openssl", "pkcs12", "-export", "-nokeys", "-in", path, "-passout", "stdin"]
        + OPENSSL_FORMS[form],
        input=f"{password}\n".encode(),
        capture_output=True,
        check=True,
    )
    material = reader.read(done.stdout, ["wrong", "secret"])
    assert material.kind == "PKCS12"
    assert sorted(ders_of(material)) == sorted(ders)


@pytest.fixture(scope="module")
def with_key() -> bytes:
    identity = self_signed("CallManager", "keyed", ec.generate_private_key(ec.SECP256R1()))
    command = ["openssl", "pkcs12", "-export", "-passout", "pass:secret"]
    return subprocess.run(command, input=pem_of(identity), capture_output=True, check=True).stdout


def test_a_private_key_in_a_bundle_is_left_alone(reader, with_key):
    material = reader.read(with_key, ["secret"])
    assert len(ders_of(material)) == 1
    assert material.notes == ("holds a private key, which is left alone",)


def test_a_wrong_password_is_told_from_damage(reader, with_key):
    locked = reader.read(with_key, ["wrong"])
    assert (locked.locked, locked.certificates) == (True, ())
    assert locked.problem == "none of the passwords opens it"
    cut = reader.read(with_key[:-100], ["secret"])
    assert cut.problem is not None
    assert f"ends at octet {len(with_key) - 100} of {len(with_key)}" in cut.problem


@pytest.mark.parametrize("form", ["trust store", "key store", "old trust store"])
def test_opens_what_keytool_writes(form, reader, ders, keytool, tmp_path):
    certificate = tmp_path / "c.pem"
    certificate.write_bytes(to_pem(ders[0]))
    keystore = tmp_path / "k.p12"
    old = ["-J-Dkeystore.pkcs12.legacy"] if form.startswith("old") else []
    common = ["-keystore", keystore, "-storetype", "PKCS12", "-storepass", "changeit"]
    if form != "key store":
        command = ["-importcert", "-noprompt", "-alias", "one", "-file", certificate]
    else:
        command = ["-genkeypair", "-keyalg", "EC", "-alias", "one", "-dname", "CN=keytool"]
    subprocess.run([keytool, *old, *command, *common], check=True, capture_output=True)
    material = reader.read(keystore.read_bytes(), ["changeit"])
    assert [found.name for found in material.certificates] == ["one"]
    if form != "key store":
        assert ders_of(material) == ders[:1]


def test_opens_pem_der_and_p7b(reader, ders):
    certificates = [x509.load_der_x509_certificate(der) for der in ders]
    for encoding, kind in ((Encoding.DER, "PKCS7"), (Encoding.PEM, "PEM")):
        material = reader.read(pkcs7.serialize_certificates(certificates, encoding), [])
        assert material.kind == kind
        assert sorted(ders_of(material)) == sorted(ders)
    assert ders_of(reader.read(b"remark\n" + b"\n".join(map(to_pem, ders)), [])) == ders
    assert ders_of(reader.read(ders[0], [])) == ders[:1]


def test_paths_in_a_zip_are_labels(reader, ders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../escape.pem", to_pem(ders[0]))
        archive.writestr("/etc/absolute.cer", ders[1])
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("folder/", b"")
        archive.writestr("inner.zip", b"PK\x03\x04")
    material = reader.read(data.getvalue(), [])
    assert [(found.der, found.place) for found in material.certificates] == [
        (ders[0], "../../escape.pem"),
        (ders[1], "/etc/absolute.cer"),
    ]
    assert material.notes == ("link: no certificates", "inner.zip: an archive in an archive")
    assert list(tmp_path.iterdir()) == []


def test_a_zip_bomb_ends_at_the_bound(reader):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(100 * 1024 * 1024))
    material = reader.read(data.getvalue(), [])
    assert material.problem == "zip with more than 67108864 octets in it"


def test_one_locked_member_locks_the_zip(reader, with_key):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("b.p12", with_key)
    locked = reader.read(data.getvalue(), ["wrong"])
    assert locked.locked
    assert locked.problem == "b.p12 (PKCS12): none of the passwords opens it"
    assert len(ders_of(reader.read(data.getvalue(), ["secret"]))) == 1


# The table that usecallmanagernz' tvsctl makes (github.com/usecallmanagernz/daemons).
TVSD_TABLE = (
    "CREATE TABLE certificates (certificate_hash TEXT PRIMARY KEY, serial_number TEXT NOT NULL,"
    " subject_name TEXT NOT NULL, issuer_name TEXT NOT NULL, certificate TEXT NOT NULL,"
    " roles TEXT NOT NULL, ttl INTEGER) WITHOUT ROWID"
)

TVSD_ROW = "INSERT INTO certificates VALUES ('', '', '', '', {}, 'SAST', 1)"


def tvsd_database(path, rows, *, wal=False) -> bytes:
    connection = sqlite3.connect(path)
    if wal:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(TVSD_TABLE)
    connection.executemany(
        "INSERT INTO certificates VALUES (?, '', '', '', ?, ?, 86400)",
        [(str(number), pem, roles) for number, (pem, roles) in enumerate(rows)],
    )
    connection.commit()
    connection.close()
    return path.read_bytes()


@pytest.mark.parametrize("wal", [False, True])
def test_opens_the_database_of_tvsd(wal, reader, ders, tmp_path):
    rows = [(to_pem(ders[0]), "SAST,CCM+TFTP"), (to_pem(ders[1]).decode(), "CAPF")]
    material = reader.read(tvsd_database(tmp_path / "tvs.sqlite3", rows, wal=wal), [])
    assert material.kind == "tvsd database"
    assert ders_of(material) == ders[:2]
    assert [found.roles for found in material.certificates] == [("SAST", "CCM+TFTP"), ("CAPF",)]


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("CREATE TABLE other (x)", "an SQLite database, but not tvsd's: no table 'certificates'"),
        (
            "CREATE VIEW certificates AS SELECT 'x' AS certificate, 'SAST' AS roles",
            "an SQLite database, but not tvsd's: no table 'certificates'",
        ),
        (f"{TVSD_TABLE}; {TVSD_ROW.format(7)}", "row 1"),
        (f"{TVSD_TABLE}; {TVSD_ROW.format(repr('x'))}", "row 1"),
    ],
)
def test_other_databases_are_refused(statement, problem, reader, tmp_path):
    connection = sqlite3.connect(tmp_path / "db")
    connection.executescript(statement)
    connection.close()
    material = reader.read((tmp_path / "db").read_bytes(), [])
    assert material.problem is not None
    assert problem in material.problem


def test_what_holds_no_certificates_is_none_of_ours(reader):
    for data in (b"", b" ", b"hello", b"%PDF-1.7", bytes(1000), b"0"):
        assert reader.read(data, []) == Material(None)


def test_a_jks_file_gets_advice(reader):
    problem = reader.read(b"\xfe\xed\xfe\xed\0\0\0\2", []).problem
    assert problem is not None
    assert "keytool -importkeystore" in problem


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_files_are_never_an_error_of_ours(data, ders, tmp_path):
    """PKCS12 is left to the child: a mutated count of rounds may be any number."""
    certificates = [x509.load_der_x509_certificate(der) for der in ders[:2]]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a.pem", to_pem(ders[0]))
    forms = [
        ders[0],
        to_pem(ders[0]),
        pkcs7.serialize_certificates(certificates, Encoding.DER),
        pkcs7.serialize_certificates(certificates, Encoding.PEM),
        archive.getvalue(),
        b"SQLite format 3\0" + bytes(84),
    ]
    octets = bytearray(data.draw(st.sampled_from(forms)))
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(octets)))
    assert isinstance(open_material(bytes(octets[:end]), ["secret"]), Material)


@settings(max_examples=40)
@given(place=st.integers(0, 10**6), octet=st.integers(0, 255), cut=st.integers(0, 10**6))
def test_mutated_pkcs12_is_never_more_than_a_problem(place, octet, cut, with_key, reader):
    octets = bytearray(with_key)
    octets[place % len(octets)] = octet
    data = bytes(octets[: cut % (4 * len(octets)) + 1])
    assert isinstance(reader.read(data, ["secret"]), Material)
