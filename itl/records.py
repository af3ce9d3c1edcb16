"""The records of a list, each by itself: read, and written.

Element order and name text as CUCM writes them: Cisco documents 118893 and 118892, and a CTL of
2015.
"""

import ipaddress
from dataclasses import dataclass, field
from functools import lru_cache

from itl.certificates import describe, same_serial
from itl.document import Header, encode_text, names_of, text
from itl.elements import (
    Element,
    Places,
    encode_record,
    record_elements,
    record_label,
    record_places,
    value_at,
)
from itl.errors import BuildError, FormatError
from itl.layout import ELEMENT_HEAD, IPV4_OCTETS, MAX_LENGTH, RECORD_NAMES, RECORD_WIDTHS, RecordTag
from itl.names import same_name

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


@dataclass(slots=True)
class Record:
    """A record as read: where its elements stand in the file's octets ``raw``, and what they say.

    Not to be changed; a frozen class would take three times as long to make.

    ``offset`` is its first byte in the file and ``length`` its octets. Text that is missing is "",
    octets that are missing are b"".
    """

    raw: bytes = field(repr=False)
    offset: int
    length: int
    places: Places = field(repr=False)

    def value(self, tag: int) -> bytes | None:
        """The octets of one element, None where the record has none."""
        return value_at(self.raw, self.places[tag]) if tag in self.places else None

    @property
    def role(self) -> int:
        """Its code; :class:`~itl.roles.Role` names those that are known."""
        return int.from_bytes(self.value(RecordTag.FUNCTION) or b"")

    @property
    def dns_name(self) -> str:
        """Host name or address, as it is written."""
        return text(self.value(RecordTag.DNS_NAME) or b"")

    @property
    def subject(self) -> str:
        """The certificate's, as the list writes it."""
        return text(self.value(RecordTag.SUBJECT_NAME) or b"")

    @property
    def issuer(self) -> str:
        """The certificate's, as the list writes it."""
        return text(self.value(RecordTag.ISSUER_NAME) or b"")

    @property
    def serial(self) -> bytes:
        """The certificate's serial number, unsigned."""
        return self.value(RecordTag.SERIAL_NUMBER) or b""

    @property
    def public_key(self) -> bytes:
        """PKCS#1 RSAPublicKey or an EC point, unchecked against the certificate."""
        return self.value(RecordTag.PUBLIC_KEY) or b""

    @property
    def signature(self) -> bytes:
        """The certificate's signature value, unchecked against it."""
        return self.value(RecordTag.SIGNATURE) or b""

    @property
    def certificate(self) -> bytes | None:
        """DER octets, which nobody has decoded yet."""
        return self.value(RecordTag.CERTIFICATE)

    @property
    def address(self) -> str | None:
        """IPv4 as text; another number of octets than four, never seen in a real list, as hex."""
        octets = self.value(RecordTag.IP_ADDRESS)
        if octets is not None and len(octets) == IPV4_OCTETS:
            return "{}.{}.{}.{}".format(*octets)
        return None if octets is None else octets.hex()

    @property
    def elements(self) -> tuple[Element, ...]:
        """All elements in the file's order."""
        return record_elements(self.raw, self.places)

    @property
    def unknown_tags(self) -> list[int]:
        """Tags of elements that no source names."""
        return [tag for tag in self.places if tag not in RECORD_NAMES and tag >= 0]

    @property
    def has_key(self) -> bool:
        """Whether there is a certificate or a key; a record of an emptied section has neither."""
        return bool(self.certificate or self.public_key)

    @property
    def trust(self) -> tuple[int, bytes]:
        """Role and certificate, which make a record the same; without one, all that it says."""
        return self.role, self.certificate or self.raw[self.offset : self.offset + self.length]

    def is_named_by(self, header: Header) -> bool:
        """Whether a header names this record's certificate as its signer."""
        return self.is_called(header.signer_issuer, header.signer_serial)

    def is_called(self, issuer: str, serial: bytes) -> bool:
        """Whether issuer and serial number are those of this record's certificate."""
        return same_serial(self.serial, serial) and same_name(self.issuer, issuer)

    def encode(self) -> bytes:
        """The record's octets, written back from its elements."""
        return encode_record(self.elements)


def read_record(data: bytes, start: int, number: int) -> Record:
    """Record ``number`` (from 1) at byte ``start``. Raises :class:`~itl.errors.FormatError`."""
    places, end = record_places(data, start, number)
    if RecordTag.FUNCTION not in places:
        label = record_label(number, RecordTag.FUNCTION)
        raise FormatError(label, start, "missing in the record")
    return Record(data, start, end - start, places)


@lru_cache(maxsize=1024)
def record_octets(
    role: int, certificate: bytes | None, dns_name: str, address: str | None, style: str
) -> bytes:
    """One record, read back: its length, then the elements in the order of ``style``.

    The arguments are those of a :class:`RecordSpec`. Raises :class:`~itl.errors.ItlError`. Kept,
    because nearly every list repeats records of the last one.
    """
    if not 0 <= role <= MAX_LENGTH:
        raise BuildError(f"role {role} does not fit two octets")
    function = _element(RecordTag.FUNCTION, role.to_bytes(2))
    subject, issuer, serial, rest = _certificate_parts(certificate, style)
    if style == "cucm":
        dns = _text_element(RecordTag.DNS_NAME, dns_name, "DNS name")
        body = b"".join((dns, subject, function, issuer, serial, rest, _address(address)))
    else:
        body = b"".join((subject, issuer, serial, function, rest))
    length = _RECORD_HEAD + len(body)
    if length > MAX_LENGTH:
        raise BuildError(f"{length} octets; its length field holds {MAX_LENGTH}")
    octets = _element(RecordTag.RECORD_LENGTH, length.to_bytes(2)) + body
    read = read_record(octets, 0, 1)
    if (read.length, read.role, read.certificate) != (length, role, certificate):
        raise BuildError("reads back as another record")
    return octets


def _certificate_parts(certificate: bytes | None, style: str) -> tuple[bytes, bytes, bytes, bytes]:
    """Elements of the subject, the issuer, the serial number, and of key to certificate."""
    if certificate is None:
        return b"", b"", b"", b""
    described = describe(certificate)
    if not described.public_key:
        raise BuildError(f"{described.subject}: PUBLICKEY (7) has a form for RSA and EC keys only")
    subject = names_of(style, described.subject, described.subject_in_order)
    issuer = names_of(style, described.issuer, described.issuer_in_order)
    return (
        _text_element(RecordTag.SUBJECT_NAME, subject, "subject"),
        _text_element(RecordTag.ISSUER_NAME, issuer, "issuer"),
        _element(RecordTag.SERIAL_NUMBER, described.serial),
        _element(RecordTag.PUBLIC_KEY, described.public_key)
        + _element(RecordTag.SIGNATURE, described.signature)
        + _element(RecordTag.CERTIFICATE, certificate),
    )


def _address(address: str | None) -> bytes:
    try:
        octets = ipaddress.IPv4Address(address or "").packed
    except ValueError:
        return b""
    return _element(RecordTag.IP_ADDRESS, octets)


def _text_element(tag: int, value: str, what: str) -> bytes:
    return _element(tag, encode_text(value, what) + b"\0")


def _element(tag: int, value: bytes) -> bytes:
    if len(value) > MAX_LENGTH:
        raise BuildError(f"element {tag}: {len(value)} octets; its length field holds {MAX_LENGTH}")
    return bytes((tag,)) + len(value).to_bytes(2) + value
