"""The octets of trust lists and signed files, declared.

An element is a tag (1 octet), a length (2 octets, big endian) and a value. A file is one header
and then either records, back to back to the end of the file, or any other payload. Some header
elements are groups: their length covers the elements that follow, which stand in the file like all
others. A padding octet (tag 13) in a header has neither length nor value. Text ends in one NUL
that the length counts.

construct declares what has a fixed shape: the values of the header's elements, the header's signer
part as it is written and the encryption group. The elements themselves, 4000 in a list of 400
records, are found by a loop in :mod:`itl.elements`; one of them through construct would cost as
much as a record does there.

Sources: tags 1 to 15 and their printed names, Cisco documents 118893 and 118892 (``show ctl``), and
a CTL that CUCM wrote in 2015; 16 to 28 and digest codes 2 and 3, usecallmanagernz/certutils.
"""

from enum import IntEnum
from functools import lru_cache
from typing import Any

from construct import (
    Byte,
    Bytes,
    Const,
    Construct,
    FocusedSeq,
    GreedyBytes,
    Int16ub,
    Int32ub,
    NullTerminated,
    Prefixed,
    Struct,
    Terminated,
)

PAD = 13
HEADER_ALIGNMENT = 4
ELEMENT_HEAD = 3  # octets of tag and length
MAX_LENGTH = 0xFFFF  # what the two octets of a length hold
IPV4_OCTETS = 4


class HeaderTag(IntEnum):
    """Elements of a header."""

    VERSION = 1
    HEADER_LENGTH = 2
    SIGNER_ID = 3
    SIGNER_NAME = 4
    SERIAL_NUMBER = 5
    CA_NAME = 6
    SIGNATURE_INFO = 7
    DIGEST_ALGORITHM = 8
    SIGNATURE_ALGORITHM_INFO = 9
    SIGNATURE_ALGORITHM = 10
    SIGNATURE_MODULUS = 11
    SIGNATURE = 12
    FILENAME = 14
    TIMESTAMP = 15
    ENCRYPTION_INFO = 16
    IV_INFO = 17
    IV_ALGORITHM = 18
    IV = 19
    PADDING_COUNT = 20
    KEY_INFO = 21
    KEY_ALGORITHM = 22
    KEY_BITS = 23
    CIPHER = 24
    ENCRYPTED_KEY = 25
    PLAIN_DIGEST_ALGORITHM = 26
    PLAIN_DIGEST = 27
    SIGNER_VERSION = 28


class RecordTag:
    """Elements of a record; 11 and 12 are constants of the open tools, never seen in a file.

    Plain numbers: a long list asks for thousands, and members of an enumeration take longer.
    """

    RECORD_LENGTH = 1
    DNS_NAME = 2
    SUBJECT_NAME = 3
    FUNCTION = 4
    ISSUER_NAME = 5
    SERIAL_NUMBER = 6
    PUBLIC_KEY = 7
    SIGNATURE = 8
    CERTIFICATE = 9
    IP_ADDRESS = 10
    CERTIFICATE_HASH = 11
    HASH_ALGORITHM = 12


HEADER_NAMES: dict[int, str] = {
    HeaderTag.VERSION: "VERSION",
    HeaderTag.HEADER_LENGTH: "HEADERLENGTH",
    HeaderTag.SIGNER_ID: "SIGNERID",
    HeaderTag.SIGNER_NAME: "SIGNERNAME",
    HeaderTag.SERIAL_NUMBER: "SERIALNUMBER",
    HeaderTag.CA_NAME: "CANAME",
    HeaderTag.SIGNATURE_INFO: "SIGNATUREINFO",
    HeaderTag.DIGEST_ALGORITHM: "DIGESTALGORTITHM",  # spelled so by CUCM
    HeaderTag.SIGNATURE_ALGORITHM_INFO: "SIGNATUREALGOINFO",
    HeaderTag.SIGNATURE_ALGORITHM: "SIGNATUREALGORTITHM",  # spelled so by CUCM
    HeaderTag.SIGNATURE_MODULUS: "SIGNATUREMODULUS",
    HeaderTag.SIGNATURE: "SIGNATURE",
    HeaderTag.FILENAME: "FILENAME",
    HeaderTag.TIMESTAMP: "TIMESTAMP",
    HeaderTag.ENCRYPTION_INFO: "ENCRYPTIONINFO",
    HeaderTag.IV_INFO: "IVINFO",
    HeaderTag.IV_ALGORITHM: "IVALGORITHM",
    HeaderTag.IV: "IV",
    HeaderTag.PADDING_COUNT: "PADDINGCOUNT",
    HeaderTag.KEY_INFO: "KEYINFO",
    HeaderTag.KEY_ALGORITHM: "KEYALGORITHM",
    HeaderTag.KEY_BITS: "KEYBITS",
    HeaderTag.CIPHER: "CIPHER",
    HeaderTag.ENCRYPTED_KEY: "ENCRYPTEDKEY",
    HeaderTag.PLAIN_DIGEST_ALGORITHM: "PLAINDIGESTALGORITHM",
    HeaderTag.PLAIN_DIGEST: "PLAINDIGEST",
    HeaderTag.SIGNER_VERSION: "SIGNERVERSION",
}
"""Names as ``show ctl`` prints them; those of 16 to 28 are ours, CUCM prints none."""

RECORD_NAMES: dict[int, str] = {
    RecordTag.RECORD_LENGTH: "RECORDLENGTH",
    RecordTag.DNS_NAME: "DNSNAME",
    RecordTag.SUBJECT_NAME: "SUBJECTNAME",
    RecordTag.FUNCTION: "FUNCTION",
    RecordTag.ISSUER_NAME: "ISSUERNAME",
    RecordTag.SERIAL_NUMBER: "SERIALNUMBER",
    RecordTag.PUBLIC_KEY: "PUBLICKEY",
    RecordTag.SIGNATURE: "SIGNATURE",
    RecordTag.CERTIFICATE: "CERTIFICATE",
    RecordTag.IP_ADDRESS: "IPADDRESS",
    RecordTag.CERTIFICATE_HASH: "CERTIFICATEHASH",
    RecordTag.HASH_ALGORITHM: "HASHALGORITHM",
}

HEADER_GROUPS: dict[int, frozenset[int]] = {
    HeaderTag.SIGNER_ID: frozenset({4, 5, 6}),
    HeaderTag.SIGNATURE_INFO: frozenset({8, 9, 10, 11}),
    HeaderTag.SIGNATURE_ALGORITHM_INFO: frozenset({10, 11}),
    HeaderTag.ENCRYPTION_INFO: frozenset(range(17, 28)),
    HeaderTag.IV_INFO: frozenset({18, 19, 20}),
    HeaderTag.KEY_INFO: frozenset({22, 23, 24, 25}),
}
"""A group's tag and the elements whose octets, heads included, its length counts."""

_VERSION = Struct("major" / Byte, "minor" / Byte)
_VALUES: dict[int, Construct] = {
    HeaderTag.VERSION: _VERSION,
    HeaderTag.HEADER_LENGTH: Int16ub,
    HeaderTag.DIGEST_ALGORITHM: Byte,
    HeaderTag.SIGNATURE_ALGORITHM: Byte,
    HeaderTag.SIGNATURE_MODULUS: Byte,
    HeaderTag.TIMESTAMP: Int32ub,
    HeaderTag.IV_ALGORITHM: Byte,
    HeaderTag.IV: Bytes(16),
    HeaderTag.PADDING_COUNT: Int16ub,
    HeaderTag.KEY_ALGORITHM: Byte,
    HeaderTag.KEY_BITS: Int16ub,
    HeaderTag.CIPHER: Byte,
    HeaderTag.PLAIN_DIGEST_ALGORITHM: Byte,
    HeaderTag.SIGNER_VERSION: _VERSION,
}
HEADER_WIDTHS = {int(tag): value.sizeof() for tag, value in _VALUES.items()}
RECORD_WIDTHS = {RecordTag.RECORD_LENGTH: 2, RecordTag.FUNCTION: 2}
"""Octets of the values that have only one width; another is an error of the file."""


@lru_cache(maxsize=1024)
def header_value(tag: HeaderTag, value: bytes) -> Any:  # noqa: ANN401 - construct is untyped
    """The number, version or octets in a header value whose width was checked before.

    Kept, because the same few values stand in every list.
    """
    return _VALUES[tag].parse(value)


def _element(tag: int, value: Construct) -> Construct:
    """One element with this tag, its length written from the value."""
    return FocusedSeq(
        "value",
        Const(tag, Byte),
        "value" / Prefixed(Int16ub, FocusedSeq("v", "v" / value, Terminated)),
    )


def _text(tag: int) -> Construct:
    return _element(tag, NullTerminated(GreedyBytes))


_OPENING = Struct(
    "version" / _element(HeaderTag.VERSION, _VERSION),
    "header_length" / _element(HeaderTag.HEADER_LENGTH, Int16ub),
)
_SIGNER_VERSION = _element(HeaderTag.SIGNER_VERSION, _VERSION)
_NAME = "name" / _text(HeaderTag.SIGNER_NAME)
_SERIAL = "serial" / _element(HeaderTag.SERIAL_NUMBER, GreedyBytes)
_CA_NAME = "issuer" / _text(HeaderTag.CA_NAME)
_SIGNER_ID = {
    "cucm": _element(HeaderTag.SIGNER_ID, Struct(_NAME, _SERIAL, _CA_NAME)),
    "certutils": _element(HeaderTag.SIGNER_ID, Struct(_NAME, _CA_NAME, _SERIAL)),
}
_SIGNATURE_INFO = _element(
    HeaderTag.SIGNATURE_INFO,
    Struct(
        "digest" / _element(HeaderTag.DIGEST_ALGORITHM, Byte),
        "algorithm"
        / _element(
            HeaderTag.SIGNATURE_ALGORITHM_INFO,
            Struct(
                "code" / _element(HeaderTag.SIGNATURE_ALGORITHM, Byte),
                "modulus" / _element(HeaderTag.SIGNATURE_MODULUS, Byte),
            ),
        ),
    ),
)
_FILENAME = _text(HeaderTag.FILENAME)
_TIMESTAMP = _element(HeaderTag.TIMESTAMP, Int32ub)
_ENCRYPTION = _element(
    HeaderTag.ENCRYPTION_INFO,
    Struct(
        "iv"
        / _element(
            HeaderTag.IV_INFO,
            Struct(
                "algorithm" / _element(HeaderTag.IV_ALGORITHM, Const(0, Byte)),
                "iv" / _element(HeaderTag.IV, Bytes(16)),
                "padding" / _element(HeaderTag.PADDING_COUNT, Int16ub),
            ),
        ),
        "key"
        / _element(
            HeaderTag.KEY_INFO,
            Struct(
                "algorithm" / _element(HeaderTag.KEY_ALGORITHM, Const(0, Byte)),
                "bits" / _element(HeaderTag.KEY_BITS, Int16ub),
                "cipher" / _element(HeaderTag.CIPHER, Const(1, Byte)),
                "key" / _element(HeaderTag.ENCRYPTED_KEY, GreedyBytes),
            ),
        ),
        "digest_code" / _element(HeaderTag.PLAIN_DIGEST_ALGORITHM, Byte),
        "digest" / _element(HeaderTag.PLAIN_DIGEST, GreedyBytes),
    ),
)


@lru_cache(maxsize=256)
def opening(version: tuple[int, int], header_length: int) -> bytes:
    """Elements 1 and 2: format version and header length in octets (at most 65535)."""
    return bytes(
        _OPENING.build(
            {
                "version": {"major": version[0], "minor": version[1]},
                "header_length": header_length,
            }
        )
    )


def signer_version(version: tuple[int, int]) -> bytes:
    """Element 28."""
    return bytes(_SIGNER_VERSION.build({"major": version[0], "minor": version[1]}))


def signer_part(
    style: str, *, name: bytes, serial: bytes, issuer: bytes, digest_code: int, modulus_code: int
) -> bytes:
    """The groups 3 and 7, in the element order of ``style`` ("cucm" or "certutils")."""
    identity = _SIGNER_ID[style].build({"name": name, "serial": serial, "issuer": issuer})
    algorithms = _SIGNATURE_INFO.build(
        {"digest": digest_code, "algorithm": {"code": 0, "modulus": modulus_code}}
    )
    return bytes(identity + algorithms)


@lru_cache(maxsize=256)
def filename_element(filename: bytes) -> bytes:
    """Element 14."""
    return bytes(_FILENAME.build(filename))


def timestamp_element(timestamp: int) -> bytes:
    """Element 15, from Unix seconds that fit four octets."""
    return bytes(_TIMESTAMP.build(timestamp))


def encryption_part(
    *, iv: bytes, padding: int, key_bits: int, key: bytes, digest_code: int, digest: bytes
) -> bytes:
    """The group 16 of an encrypted configuration (usecallmanagernz/certutils ``enccnf``)."""
    return bytes(
        _ENCRYPTION.build(
            {
                "iv": {"iv": iv, "padding": padding, "algorithm": None},
                "key": {"bits": key_bits, "key": key, "algorithm": None, "cipher": None},
                "digest_code": digest_code,
                "digest": digest,
            }
        )
    )
