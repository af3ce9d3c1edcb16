"""The octets of lists and signed files, read by a walk of the suite's own.

Header elements: tag (1 octet), length (2, big endian), value; padding is a bare 0d. Element 2 is
the length of the whole header, signature included. Sources: a CTL of a real CUCM, Cisco document
118893.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA512, HashAlgorithm

from itl.certificates import CertificateError, verification_key
from lab.conformance.model import demand, fail, untold

HEAD = 3
PAD = 0x0D
RSA_PKCS1 = b"\0"
GROUPS = {3: (4, 5, 6), 7: (8, 9), 9: (10, 11)}
DIGESTS: dict[int, HashAlgorithm] = {1: SHA1(), 3: SHA512()}  # noqa: S303  what phones check


class Tag(IntEnum):
    """Header elements."""

    VERSION = 1
    LENGTH = 2
    SIGNER = 3
    SIGNER_NAME = 4
    SIGNER_SERIAL = 5
    SIGNER_ISSUER = 6
    DIGEST = 8
    ALGORITHM = 10
    MODULUS = 11
    SIGNATURE = 12
    FILE_NAME = 14
    TIMESTAMP = 15
    CAPABILITY = 28


WIDTHS: dict[int, int] = {
    Tag.VERSION: 2,
    Tag.LENGTH: 2,
    Tag.DIGEST: 1,
    Tag.ALGORITHM: 1,
    Tag.MODULUS: 1,
    Tag.TIMESTAMP: 4,
}
"""Octets of the header's numbers."""


class RecordTag(IntEnum):
    """Record elements."""

    LENGTH = 1
    DNS_NAME = 2
    SUBJECT = 3
    ROLE = 4
    ISSUER = 5
    SERIAL = 6
    PUBLIC_KEY = 7
    SIGNATURE = 8
    CERTIFICATE = 9
    ADDRESS = 10


@dataclass(frozen=True, slots=True)
class Element:
    """One element; ``offset`` is where its tag stands in the file."""

    tag: int
    value: bytes
    offset: int


Record = tuple[Element, ...]


def value_of(elements: Record, tag: int) -> bytes | None:
    """The value of the first element of that number."""
    return next((element.value for element in elements if element.tag == tag), None)


@dataclass(frozen=True)
class Document:
    """A file under examination; ``name`` is what it is asked for as, ``signers`` are DER."""

    data: bytes
    name: str
    signers: tuple[bytes, ...] = ()

    @cached_property
    def header(self) -> Record:
        """The elements of the header; a header that cannot be read fails the check."""
        found: list[Element] = []
        data, at, end = self.data, 0, len(self.data)
        while at < end:
            if data[at] == PAD:
                at += 1
                continue
            element = self._element(at, end)
            width = WIDTHS.get(element.tag, len(element.value))
            demand(
                len(element.value) == width,
                f"element {element.tag} has {len(element.value)} octets, not {width}",
            )
            if element.tag == Tag.LENGTH and len(found) <= 1:
                end = int.from_bytes(element.value, "big")
                demand(end <= len(data), f"the header's length is {end}, the file's {len(data)}")
            if element.tag not in GROUPS:
                at += HEAD + len(element.value)
            else:
                at += HEAD
            found.append(element)
        demand(
            value_of(tuple(found), Tag.LENGTH) is not None, "the header does not tell its length"
        )
        return tuple(found)

    def _element(self, at: int, end: int) -> Element:
        demand(at + HEAD <= end, f"the element at octet {at} is cut off")
        tag, length = self.data[at], int.from_bytes(self.data[at + 1 : at + HEAD], "big")
        if tag in GROUPS:  # its value is the length of what follows
            return Element(tag, self.data[at + 1 : at + HEAD], at)
        demand(at + HEAD + length <= end, f"element {tag} at octet {at} runs beyond the end")
        return Element(tag, self.data[at + HEAD : at + HEAD + length], at)

    @cached_property
    def header_length(self) -> int:
        """Octets of the header, as it says."""
        return int.from_bytes(self.value(Tag.LENGTH), "big")

    @cached_property
    def payload(self) -> bytes:
        """What follows the header."""
        return self.data[self.header_length :]

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """The records of a list; records that do not fill the file exactly fail the check."""
        at, found = self.header_length, []
        while at < len(self.data):
            first = self._element(at, len(self.data))
            demand(first.tag == RecordTag.LENGTH, f"the record at octet {at} has no length")
            demand(len(first.value) == 2, f"the length of the record at octet {at} is none")  # noqa: PLR2004  as the format has it
            length = int.from_bytes(first.value, "big")
            end = at + length
            demand(len(first.value) < length, f"the record at octet {at} is {length} octets long")
            demand(end <= len(self.data), f"the record at octet {at} runs beyond the end")
            elements = []
            while at < end:
                tag, size = self.data[at], int.from_bytes(self.data[at + 1 : at + HEAD], "big")
                demand(
                    at + HEAD + size <= end, f"element {tag} at octet {at} runs beyond its record"
                )
                elements.append(Element(tag, self.data[at + HEAD : at + HEAD + size], at))
                at += HEAD + size
            found.append(tuple(elements))
        return tuple(found)

    def value(self, tag: Tag) -> bytes:
        """A header element's value; its absence fails the check."""
        value = value_of(self.header, tag)
        if value is None:
            fail(f"the header has no element {tag}")
        return value

    @property
    def kind(self) -> str:
        """ITL or CTL, by the file name in the header; else it cannot be told."""
        name = self.value(Tag.FILE_NAME)
        if name not in {b"ITLFile.tlv\0", b"CTLFile.tlv\0"}:
            untold(f"neither ITL nor CTL: the header names {name!r}")
        return name[:3].decode()

    def check_signature(self, certificates: Iterable[bytes]) -> None:
        """Fail the check unless one of ``certificates`` (DER) signed all but element 12."""
        value = self.value(Tag.SIGNATURE)
        begin = next(one.offset for one in self.header if one.tag == Tag.SIGNATURE)
        signed = self.data[:begin] + self.data[begin + HEAD + len(value) :]
        digest = DIGESTS.get(int.from_bytes(self.value(Tag.DIGEST), "big"))
        if digest is None:
            fail(f"digest {self.value(Tag.DIGEST).hex()} is known to no phone")
        algorithm = value_of(self.header, Tag.ALGORITHM)
        demand(algorithm in {None, RSA_PKCS1}, f"algorithm {(algorithm or b'').hex()} is unknown")
        keys = [key for key in map(_rsa_key, certificates) if key is not None]
        if not keys:
            untold("no certificate of the signer can be read, or none has an RSA key")
        for key in keys:
            with suppress(InvalidSignature, ValueError):
                key.verify(value, signed, padding.PKCS1v15(), digest)
                return
        fail("the signature is wrong")


def _rsa_key(certificate: bytes) -> rsa.RSAPublicKey | None:
    try:
        key = verification_key(certificate)
    except CertificateError:
        return None
    return key if isinstance(key, rsa.RSAPublicKey) else None
