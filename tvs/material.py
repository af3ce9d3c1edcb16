"""Certificates out of whatever file people have: PKCS12, PEM, DER, P7B, zip, tvsd's database.

What a file is is told by its octets, never by its name. Everything here works on octets in memory;
for files of strangers it runs in a child process with limits (:mod:`tvs.foreign`), since no limit
inside can stop a key derivation that was asked for a billion rounds.
"""

import io
import sqlite3
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7, pkcs12

from itl.certificates import CertificateError, load_certificates

MAX_CERTIFICATES = 200_000
MAX_ARCHIVE_BYTES = 64 * 1024 * 1024
MAX_ARCHIVE_MEMBERS = 2_000

_SEQUENCE = 0x30
_PFX_VERSION = b"\x02\x01\x03"  # PFX ::= SEQUENCE { version INTEGER {v3(3)}, … (RFC 7292, 4)
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")  # id-signedData (RFC 2315, 14)
_LONG_LENGTH = 0x80


class Found(msgspec.Struct, frozen=True):
    """One certificate of a file.

    ``name`` is the friendly name written beside it, ``place`` the member of an archive it was in,
    ``roles`` what a tvsd database lets it do (role names), else None.
    """

    der: bytes
    name: str | None = None
    place: str | None = None
    roles: tuple[str, ...] | None = None


class Material(msgspec.Struct, frozen=True):
    """What a file turned out to be.

    ``kind`` is None for something else than certificates; ``problem`` says why a file that ought to
    hold some could not be read, and then nothing of it counts; ``locked`` that a password is
    missing or wrong; ``notes`` what a reader should know.
    """

    kind: str | None
    certificates: tuple[Found, ...] = ()
    problem: str | None = None
    locked: bool = False
    notes: tuple[str, ...] = ()


class _UnreadableError(Exception):
    """The file is of a known kind, but cannot be read; the text says why."""

    def __init__(self, problem: str, *, locked: bool = False) -> None:
        super().__init__(problem)
        self.locked = locked


def open_material(data: bytes, passwords: Sequence[str]) -> Material:
    """Read certificates from the octets of one file; never raises for what the file holds.

    For PKCS12 the ``passwords`` are tried in their order, then the empty one, then none at all.
    """
    kind, read = _recognise(data)
    if read is None:
        return Material(kind)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd serial numbers; the octets are kept as they are
            certificates, notes = read(data, passwords)
    except _UnreadableError as error:
        return Material(kind, problem=str(error), locked=error.locked)
    if len(certificates) > MAX_CERTIFICATES:
        return Material(kind, problem=f"more than {MAX_CERTIFICATES} certificates")
    return Material(kind, tuple(certificates), notes=tuple(notes))


_Reading = tuple[list[Found], list[str]]
_Read = Callable[[bytes, Sequence[str]], _Reading]


def _recognise(data: bytes) -> tuple[str | None, _Read | None]:
    for magic, kind, read in _FORMS:
        if data.startswith(magic):
            return kind, read
    if b"-----BEGIN " in data:
        return "PEM", _read_pem
    content = _sequence_content(data)
    if content is None:
        return None, None
    if content.startswith(_PFX_VERSION):
        return "PKCS12", _read_pkcs12
    if content.startswith(_SIGNED_DATA):
        return "PKCS7", _read_pkcs7
    return "DER", _read_der


def _sequence_content(data: bytes) -> bytes | None:
    """The first octets inside the ASN.1 SEQUENCE that ``data`` starts with."""
    if len(data) < len(_PFX_VERSION) or data[0] != _SEQUENCE:
        return None
    length_octets = data[1] - _LONG_LENGTH if data[1] > _LONG_LENGTH else 0
    return data[2 + length_octets : 2 + length_octets + len(_SIGNED_DATA)]


def _truncated(data: bytes) -> str:
    """Words for a SEQUENCE that is longer than the file, else nothing."""
    octets = data[1] - _LONG_LENGTH
    if octets <= 0:
        return ""
    whole = 2 + octets + int.from_bytes(data[2 : 2 + octets])
    return f"; it ends at octet {len(data)} of {whole}" if len(data) < whole else ""


def _read_pkcs12(data: bytes, passwords: Sequence[str]) -> _Reading:
    locked = False
    for password in (*(text.encode() for text in passwords), b"", None):
        try:
            bundle = pkcs12.load_pkcs12(data, password)
        except UnsupportedAlgorithm as error:
            raise _UnreadableError(f"PKCS12 with an unknown algorithm: {error}") from None
        except (ValueError, TypeError) as error:
            # cryptography tells a wrong password from wrong octets in the text alone.
            locked = locked or "password" in str(error).lower()
            problem = str(error)
            continue
        entries = [*([bundle.cert] if bundle.cert else []), *bundle.additional_certs]
        notes = ["holds a private key, which is left alone"] if bundle.key else []
        return [
            Found(
                entry.certificate.public_bytes(Encoding.DER),
                entry.friendly_name.decode(errors="replace") if entry.friendly_name else None,
            )
            for entry in entries
        ], notes
    cut = _truncated(data)
    if locked and not cut:
        raise _UnreadableError("none of the passwords opens it", locked=True)
    raise _UnreadableError(f"damaged PKCS12: {problem}{cut}")


def _read_pkcs7(data: bytes, _passwords: Sequence[str]) -> _Reading:
    return _of_pkcs7(pkcs7.load_der_pkcs7_certificates, data), []


def _of_pkcs7(load: Callable[[bytes], list[x509.Certificate]], data: bytes) -> list[Found]:
    try:
        return [Found(item.public_bytes(Encoding.DER)) for item in load(data)]
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _UnreadableError(f"damaged PKCS7: {error}") from None


def _read_der(data: bytes, _passwords: Sequence[str]) -> _Reading:
    try:
        return [Found(der) for der in load_certificates(data)], []
    except CertificateError as error:
        raise _UnreadableError(f"{error}{_truncated(data)}") from None


def _read_pem(data: bytes, _passwords: Sequence[str]) -> _Reading:
    if b"-----BEGIN PKCS7-----" in data:
        return _of_pkcs7(pkcs7.load_pem_pkcs7_certificates, data), []
    notes = ["holds a private key, which is left alone"] if b"PRIVATE KEY-----" in data else []
    try:
        return [Found(der) for der in load_certificates(data)], notes
    except CertificateError as error:
        raise _UnreadableError(str(error)) from None


def _read_jks(_data: bytes, _passwords: Sequence[str]) -> _Reading:
    raise _UnreadableError(
        "a Java key store in the old JKS form; make it PKCS12 first: keytool -importkeystore"
        " -srckeystore FILE -destkeystore NEW.p12 -deststoretype pkcs12"
    )


def _read_zip(data: bytes, passwords: Sequence[str]) -> _Reading:
    """Each member in memory, within a bound; its name is a label and never a path."""
    try:
        members = [
            (info.filename, content)
            for info, content in _members(zipfile.ZipFile(io.BytesIO(data)))
        ]
    except (
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,  # an encrypted member
        EOFError,
        OSError,
        ValueError,
    ) as error:
        raise _UnreadableError(f"zip that cannot be read: {error}") from None
    certificates, notes = [], []
    for name, content in members:
        kind, read = _recognise(content)
        if read is None or read is _read_zip:
            notes.append(f"{name}: {'an archive in an archive' if read else 'no certificates'}")
            continue
        try:
            found, remarks = read(content, passwords)
        except _UnreadableError as error:
            raise _UnreadableError(f"{name} ({kind}): {error}", locked=error.locked) from None
        certificates += [msgspec.structs.replace(item, place=name) for item in found]
        notes += [f"{name}: {remark}" for remark in remarks]
    return certificates, notes


def _members(archive: zipfile.ZipFile) -> Iterator[tuple[zipfile.ZipInfo, bytes]]:
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > MAX_ARCHIVE_MEMBERS:
        raise _UnreadableError(f"zip with more than {MAX_ARCHIVE_MEMBERS} members")
    left = MAX_ARCHIVE_BYTES
    for info in infos:
        with archive.open(info) as member:
            content = member.read(left + 1)  # what the directory says of its size is not believed
        left -= len(content)
        if left < 0:
            raise _UnreadableError(f"zip with more than {MAX_ARCHIVE_BYTES} octets in it")
        yield info, content


def _read_database(data: bytes, _passwords: Sequence[str]) -> _Reading:
    """The table ``certificates`` of usecallmanagernz' tvsd: PEM text and role names.

    The octets are opened as a database in memory, read-only, its schema untrusted.
    """
    octets = bytearray(data)
    # A file in WAL mode (2 at offsets 18 and 19) cannot be opened from memory; as its log is not
    # at hand anyway, the legacy mode (1) reads the same (SQLite file format, 1.3.3).
    octets[18:20] = b"\x01\x01"
    connection = sqlite3.connect(":memory:")
    try:
        connection.deserialize(bytes(octets))
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA cell_size_check = ON")
        kind = connection.execute(
            "SELECT type FROM sqlite_schema WHERE name = 'certificates'"
        ).fetchone()
        if kind != ("table",):
            raise _UnreadableError("an SQLite database, but not tvsd's: no table 'certificates'")
        rows = connection.execute("SELECT certificate, roles FROM certificates").fetchmany(
            MAX_CERTIFICATES + 1
        )
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise _UnreadableError(f"database that cannot be read: {error}") from None
    finally:
        connection.close()
    return [_of_row(number, *row) for number, row in enumerate(rows, 1)], []


def _of_row(number: int, certificate: object, roles: object) -> Found:
    if not isinstance(certificate, str | bytes) or not isinstance(roles, str):
        raise _UnreadableError(f"row {number} of 'certificates' is not text")
    octets = certificate.encode() if isinstance(certificate, str) else certificate
    try:
        (der,) = load_certificates(octets)
    except (CertificateError, ValueError) as error:
        raise _UnreadableError(f"row {number} of 'certificates': {error}") from None
    return Found(der, place=f"row {number}", roles=tuple(part.strip() for part in roles.split(",")))


_FORMS: tuple[tuple[bytes, str, _Read], ...] = (
    (b"SQLite format 3\0", "tvsd database", _read_database),
    (b"PK\x03\x04", "zip", _read_zip),
    (b"PK\x05\x06", "zip", _read_zip),  # one without members
    (b"\xfe\xed\xfe\xed", "JKS", _read_jks),
)
