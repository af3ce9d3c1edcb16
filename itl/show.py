"""A document for people, in the words of CUCM's ``show itl`` and ``show ctl``.

Words, order and spelling are those of Cisco documents 118893, 118892 and 116232; the column headed
BYTEPOS holds tag numbers there too. Where CUCM's words are not public (a list that does not verify,
elements 16 to 28, signed files) they are ours. What comes from the file is shown with every
character that is not printable escaped, so that no file can write lines or drive a terminal.
"""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from itl.document import Header, text
from itl.elements import Element
from itl.layout import HEADER_GROUPS, HEADER_NAMES, PAD, RECORD_NAMES, HeaderTag, RecordTag
from itl.roles import Role, role_name
from itl.signedfile import SignedFile
from itl.signing import Verdict, verify
from itl.trustlist import Record, TrustList

_TAB = 8
_PRINTED_ROLES: dict[int, str] = {Role.SAST: "System Administrator Security Token"}
_TABLE_HEAD = ("BYTEPOS\tTAG\t\tLENGTH\tVALUE", "-------\t---\t\t------\t-----")
_NOT_IN_TABLE = frozenset({HeaderTag.VERSION, HeaderTag.HEADER_LENGTH, PAD})
_SIGNATURE_OCTETS_A_LINE = 16


def printable(value: str) -> str:
    r"""``value`` with every character that is not printable escaped, ``\n`` and ``\x9b`` alike."""
    if value.isprintable():
        return value
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in value
    )


def show_text(document: TrustList | SignedFile) -> str:
    """What ``show itl`` or ``show ctl`` prints; for a signed file the same as far as it goes.

    Columns are set by tabs, as on CUCM's own terminal.
    """
    if isinstance(document, TrustList):
        kind = document.kind
        lines = [*_opening_lines(document, kind), *_header_lines(document.header)]
        for number, record in enumerate(document.records, start=1):
            lines += _record_lines(record, number, document, kind)
        lines.append(_closing_line(document, kind))
    else:
        lines = [*_opening_lines(document, "SGN"), *_header_lines(document.header)]
        lines.append(f"Length of payload: {len(document.payload)}")
    return "\n".join(lines) + "\n"


def _opening_lines(document: TrustList | SignedFile, kind: str) -> Iterator[str]:
    raw = document.raw
    yield f"The checksum value of the {kind} file:"
    yield f"{hashlib.md5(raw, usedforsecurity=False).hexdigest()}(MD5)"
    yield f"{hashlib.sha1(raw, usedforsecurity=False).hexdigest()}(SHA1)"
    yield ""
    yield f"Length of {kind} file: {len(raw)}"
    if document.header.timestamp is not None:
        when = datetime.fromtimestamp(document.header.timestamp, UTC)
        yield f"The {kind} File was last modified on {when:%a %b %d %H:%M:%S UTC %Y}"
    yield from ("", f"\tParse {kind} File", "\t----------------", "")


def _header_lines(header: Header) -> Iterator[str]:
    yield "Version:\t{}.{}".format(*header.version)
    yield f"HeaderLength:\t{header.header_length} (BYTES)"
    yield ""
    yield from _TABLE_HEAD
    for element in header.elements:
        if element.tag not in _NOT_IN_TABLE:
            yield _row(element, HEADER_NAMES, _header_value(element))
            if element.tag == HeaderTag.SIGNATURE:
                yield from _octet_lines(element.value)
    yield ""


def _record_lines(record: Record, number: int, document: TrustList, kind: str) -> Iterator[str]:
    yield f"\t{kind} Record #:{number}"
    yield "\t  ----"
    yield from _TABLE_HEAD
    for element in record.elements:
        yield _row(element, RECORD_NAMES, _record_value(element))
    if record.role == Role.SAST:
        used = "was used" if record.is_named_by(document.header) else "was not used"
        yield f"This etoken {used} to sign the {kind} file."
    yield ""


def _row(element: Element, names: Mapping[int, str], value: str) -> str:
    name = names.get(element.tag, "UNKNOWN")
    tabs = "\t" if len(name) >= _TAB else "\t\t"
    return f"{element.tag}\t{name}{tabs}{len(element.value)}\t{value}".rstrip("\t")


def _header_value(element: Element) -> str:
    if element.tag in HEADER_GROUPS:
        return str(int.from_bytes(element.value))
    if element.tag == HeaderTag.SERIAL_NUMBER:
        return _pairs(element.value)
    if element.tag in {HeaderTag.SIGNER_NAME, HeaderTag.CA_NAME}:
        return printable(text(element.value))
    if element.tag == HeaderTag.SIGNER_VERSION:
        return ".".join(str(number) for number in element.value)
    return ""


def _record_value(element: Element) -> str:
    tag, value, _ = element
    if tag in {RecordTag.DNS_NAME, RecordTag.SUBJECT_NAME, RecordTag.ISSUER_NAME}:
        return printable(text(value))
    if tag == RecordTag.RECORD_LENGTH:
        return str(int.from_bytes(value))
    if tag == RecordTag.FUNCTION:
        role = int.from_bytes(value)
        return _PRINTED_ROLES.get(role) or role_name(role)
    if tag == RecordTag.SERIAL_NUMBER:
        return _pairs(value)
    if tag == RecordTag.CERTIFICATE:
        digest = hashlib.sha1(value, usedforsecurity=False).digest()
        return f"{digest.hex(' ').upper()} (SHA1 Hash HEX)"
    return ""


def _closing_line(document: TrustList, kind: str) -> str:
    verdict = verify(document).verdict
    if verdict is Verdict.VALID:
        return f"The {kind} file was verified successfully."
    return f"The {kind} file was not verified: {verdict}."


def _pairs(octets: bytes) -> str:
    return octets.hex(":").upper()


def _octet_lines(octets: bytes) -> Iterator[str]:
    """Lower case and without leading zeros, as CUCM prints a signature."""
    for start in range(0, len(octets), _SIGNATURE_OCTETS_A_LINE):
        line = " ".join(f"{octet:x}" for octet in octets[start : start + _SIGNATURE_OCTETS_A_LINE])
        yield f"\t{line}"
