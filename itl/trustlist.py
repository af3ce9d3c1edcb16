"""ITL and CTL: a header and its records, read and written.

Both lists have one format; only the file name in the header tells them apart. Element order and
name text as CUCM writes them: Cisco documents 118893 and 118892, and a CTL of 2015.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from conf.signer import Signer
from itl.certificates import CertificateError, describe, same_serial
from itl.document import (
    Header,
    check_signed,
    encode_text,
    names_of,
    parse_header,
    sign_document,
    text,
)
from itl.elements import Element, encode_record, record_elements, record_label
from itl.errors import BuildError, FormatError
from itl.layout import ELEMENT_HEAD, IPV4_OCTETS, MAX_LENGTH, RECORD_WIDTHS, RecordTag

ITL_FILENAME = "ITLFile.tlv"
CTL_FILENAME = "CTLFile.tlv"
_MAX_ELEMENTS = 200_000  # each takes three octets at least, and forty times that in memory
_RECORD_HEAD = ELEMENT_HEAD + RECORD_WIDTHS[RecordTag.RECORD_LENGTH]


@dataclass(frozen=True)
class RecordSpec:
    """What a record to be written says.

    ``certificate`` is DER, or None for the short record of a cluster that left mixed mode (only
    name, role and address). An ``address`` that is no IPv4 text is left out of the record:
    nothing public shows another form (assumed).
    """

    role: int
    certificate: bytes | None = field(repr=False)
    dns_name: str = ""
    address: str | None = None


@dataclass(frozen=True)
class Record:
    """A record as read. Text that is missing is "", octets that are missing are b"".

    ``offset`` is its first byte in the file and ``length`` its octets; ``serial`` is unsigned;
    ``public_key`` holds PKCS#1 RSAPublicKey or an EC point, unchecked against the certificate.
    """

    role: int
    dns_name: str
    subject: str
    issuer: str
    serial: bytes
    public_key: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    certificate: bytes | None = field(repr=False)
    address: str | None
    elements: tuple[Element, ...] = field(repr=False)
    offset: int
    length: int

    @property
    def trust(self) -> tuple[int, bytes]:
        """Role and certificate, which make a record the same; without one, all that it says."""
        return self.role, self.certificate or self.encode()

    def is_named_by(self, header: Header) -> bool:
        """Whether a header names this record's certificate as its signer."""
        return self.issuer == header.signer_issuer and same_serial(
            self.serial, header.signer_serial
        )

    def encode(self) -> bytes:
        """The record's octets, written back from its elements."""
        return encode_record(self.elements)


@dataclass(frozen=True)
class TrustList:
    """A list as read; ``raw`` holds the octets received, over which alone it is verified."""

    header: Header
    records: tuple[Record, ...]
    raw: bytes = field(repr=False)

    @property
    def kind(self) -> str:
        """By the header's file name: "CTL" or else "ITL"."""
        return "CTL" if self.header.filename.upper().startswith("CTL") else "ITL"

    @property
    def certificate_count(self) -> int:
        """Records with a certificate, which phones can load a limited number of."""
        return sum(record.certificate is not None for record in self.records)

    def encode(self) -> bytes:
        """The file's octets, written back from its elements."""
        return self.header.encode() + b"".join(record.encode() for record in self.records)


def parse_trust_list(data: bytes) -> TrustList:
    """Read an ITL or CTL.

    Raises :class:`~itl.errors.FormatError` naming element and byte where no header or no record
    can be found; a wrong signature or group length is a matter of :func:`itl.signing.verify`.
    """
    header = parse_header(data)
    records: list[Record] = []
    position, end, elements_read = header.header_length, len(data), len(header.elements)
    if position == end:
        raise FormatError(
            "record 1", position, "the file ends after the header: a list without records"
        )
    while position < end:
        number = len(records) + 1
        elements, following = record_elements(data, position, number)
        elements_read += len(elements)
        if elements_read > _MAX_ELEMENTS:
            reason = f"more than {_MAX_ELEMENTS} elements; phones load 39 certificates"
            raise FormatError(f"record {number}", position, reason)
        records.append(_record(elements, position, following - position, number))
        position = following
    return TrustList(header=header, records=tuple(records), raw=data)


def build_trust_list(
    records: Sequence[RecordSpec],
    *,
    signer: Signer,
    filename: str,
    timestamp: int,
    digest: str = "sha1",
    style: str = "cucm",
    signer_version: str | None = None,
) -> bytes:
    """Write and sign a list; it was read back and verified before it is returned.

    ``filename`` is "ITLFile.tlv" or "CTLFile.tlv", ``timestamp`` Unix seconds, ``digest`` "sha1"
    or "sha512", ``style`` "cucm" (names joined by ``;`` in CUCM's order, DNS and address elements)
    or "certutils" (names in the certificate's order joined by ``,``, neither DNS nor address,
    other element order), ``signer_version`` None, "1.0" or "1.1" (element 28, ITL only).
    Raises :class:`~itl.errors.BuildError`. What phones refuse although it can be written is a
    matter of :func:`itl.limits.check_build`.
    """
    if filename not in {ITL_FILENAME, CTL_FILENAME}:
        raise BuildError(f"file name {filename!r}: phones want {ITL_FILENAME} or {CTL_FILENAME}")
    if not records:
        raise BuildError("a list without records")
    signed = sign_document(
        b"".join(_encode_spec(spec, number, style) for number, spec in enumerate(records, start=1)),
        signer=signer,
        filename=filename,
        timestamp=timestamp,
        digest=digest,
        style=style,
        signer_version=_signer_version(signer_version, filename),
    )
    check_signed(signed, parse_trust_list(signed).header, signer)
    return signed


def _record(elements: tuple[Element, ...], offset: int, length: int, number: int) -> Record:
    values = {tag: value for tag, value, _ in elements}
    role = values.get(RecordTag.FUNCTION)
    if role is None:
        raise FormatError(record_label(number, RecordTag.FUNCTION), offset, "missing in the record")
    address = values.get(RecordTag.IP_ADDRESS)
    return Record(
        role=int.from_bytes(role),
        dns_name=text(values.get(RecordTag.DNS_NAME, b"")),
        subject=text(values.get(RecordTag.SUBJECT_NAME, b"")),
        issuer=text(values.get(RecordTag.ISSUER_NAME, b"")),
        serial=values.get(RecordTag.SERIAL_NUMBER, b""),
        public_key=values.get(RecordTag.PUBLIC_KEY, b""),
        signature=values.get(RecordTag.SIGNATURE, b""),
        certificate=values.get(RecordTag.CERTIFICATE),
        address=None if address is None else _address_text(address),
        elements=elements,
        offset=offset,
        length=length,
    )


def _address_text(octets: bytes) -> str:
    """Four octets as IPv4 text; another number of them, never seen in a real list, as hex."""
    if len(octets) == IPV4_OCTETS:
        return "{}.{}.{}.{}".format(*octets)
    return octets.hex()


def _signer_version(version: str | None, filename: str) -> tuple[int, int] | None:
    if version is None:
        return None
    if filename != ITL_FILENAME:
        raise BuildError("a signer version (element 28) belongs into an ITL only")
    if version not in {"1.0", "1.1"}:
        raise BuildError(f"signer version {version!r}: use 1.0 or 1.1")
    major, minor = version.split(".")
    return int(major), int(minor)


def _encode_spec(spec: RecordSpec, number: int, style: str) -> bytes:
    """One record: its length, then the elements in the order of ``style``."""
    if not 0 <= spec.role <= MAX_LENGTH:
        raise BuildError(f"record {number}: role {spec.role} does not fit two octets")
    role = _element(RecordTag.FUNCTION, spec.role.to_bytes(2))
    try:
        subject, issuer, serial, rest = _certificate_parts(spec.certificate, style)
    except CertificateError as error:
        raise BuildError(f"record {number}: {error}") from None
    if style == "cucm":
        name = encode_text(spec.dns_name, f"record {number}: DNS name") + b"\0"
        dns = _element(RecordTag.DNS_NAME, name)
        body = b"".join((dns, subject, role, issuer, serial, rest, _address(spec.address)))
    else:
        body = b"".join((subject, issuer, serial, role, rest))
    length = _RECORD_HEAD + len(body)
    if length > MAX_LENGTH:
        raise BuildError(f"record {number}: {length} octets; its length field holds {MAX_LENGTH}")
    return _element(RecordTag.RECORD_LENGTH, length.to_bytes(2)) + body


@lru_cache(maxsize=1024)
def _certificate_parts(certificate: bytes | None, style: str) -> tuple[bytes, bytes, bytes, bytes]:
    """Elements of the subject, the issuer, the serial number, and of key to certificate.

    Nearly every list repeats certificates of the last one, so they are kept.
    """
    if certificate is None:
        return b"", b"", b"", b""
    described = describe(certificate)
    if not described.public_key:
        raise BuildError(f"{described.subject}: PUBLICKEY (7) has a form for RSA and EC keys only")
    subject = names_of(style, described.subject, described.subject_in_order)
    issuer = names_of(style, described.issuer, described.issuer_in_order)
    return (
        _element(RecordTag.SUBJECT_NAME, encode_text(subject, "subject") + b"\0"),
        _element(RecordTag.ISSUER_NAME, encode_text(issuer, "issuer") + b"\0"),
        _element(RecordTag.SERIAL_NUMBER, described.serial),
        _element(RecordTag.PUBLIC_KEY, described.public_key)
        + _element(RecordTag.SIGNATURE, described.signature)
        + _element(RecordTag.CERTIFICATE, certificate),
    )


@lru_cache(maxsize=1024)
def _address(address: str | None) -> bytes:
    try:
        octets = ipaddress.IPv4Address(address or "").packed
    except ValueError:
        return b""
    return _element(RecordTag.IP_ADDRESS, octets)


def _element(tag: int, value: bytes) -> bytes:
    if len(value) > MAX_LENGTH:
        raise BuildError(f"element {tag}: {len(value)} octets; its length field holds {MAX_LENGTH}")
    return bytes((tag,)) + len(value).to_bytes(2) + value
