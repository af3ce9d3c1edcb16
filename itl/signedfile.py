"""The header of a list before any other file: ``.sgn`` and Cisco's firmware.

What a file is, its octets tell, never its name: a ``.loads`` from Cisco is signed already.
"""

import re
from dataclasses import dataclass, field
from enum import Enum

from conf.signer import Signer
from itl.container import CONTAINER_MAGIC
from itl.document import Header, leads_out, parse_header, sign_document
from itl.errors import BuildError, FormatError
from itl.layout import HeaderTag
from itl.trustlist import parse_trust_list

_OPENING = re.compile(rb"\x01\x00\x02..\x02\x00\x02", re.DOTALL)  # version, header length
SIGNED_SUFFIX = ".sgn"
_LIST_SUFFIX = ".tlv"
FILE_VERSION = (1, 0)  # of a ``.sgn``, as usecallmanagernz/certutils writes it


class Kind(Enum):
    """What the octets of a file are."""

    TRUST_LIST = "trust list"
    SIGNED_FILE = "signed file"
    ENCRYPTED_FILE = "encrypted configuration"
    FIRMWARE_88XX = "78xx/88xx firmware container"
    DAMAGED = "signed file with a damaged header"
    EMPTY = "empty file"
    UNKNOWN = "unsigned or unknown file"


_UNSIGNED = frozenset({Kind.EMPTY, Kind.UNKNOWN})


@dataclass(frozen=True)
class SignedFile:
    """A signed file as read; ``raw`` holds the octets received, ``payload`` what was signed."""

    header: Header
    payload: bytes = field(repr=False)
    raw: bytes = field(repr=False)


def recognise(data: bytes) -> Kind:
    """What kind of file these octets are; never raises."""
    if data.startswith(CONTAINER_MAGIC):
        return Kind.FIRMWARE_88XX
    try:
        header = parse_header(data)
    except FormatError:
        if _OPENING.match(data):
            return Kind.DAMAGED
        return Kind.UNKNOWN if data else Kind.EMPTY
    return _kind_behind(header, data)


def _kind_behind(header: Header, data: bytes) -> Kind:
    if header.value(HeaderTag.VERSION) is None:
        return Kind.UNKNOWN
    if header.filename.lower().endswith(_LIST_SUFFIX) or _has_records(data):
        return Kind.TRUST_LIST
    if header.value(HeaderTag.ENCRYPTION_INFO) is not None:
        return Kind.ENCRYPTED_FILE
    return Kind.SIGNED_FILE


def is_signed(data: bytes) -> bool:
    """Whether a file carries a signature of its own, so that it must not be signed again."""
    return recognise(data) not in _UNSIGNED


def _has_records(data: bytes) -> bool:
    try:
        parse_trust_list(data)
    except FormatError:
        return False
    return True


def parse_signed_file(data: bytes) -> SignedFile:
    """Read a signed file. Raises :class:`~itl.errors.FormatError` where there is no header."""
    header = parse_header(data)
    return SignedFile(header=header, payload=data[header.header_length :], raw=data)


def sign_file(
    payload: bytes, *, name: str, signer: Signer, timestamp: int, digest: str = "sha1"
) -> bytes:
    """``payload`` behind a signed header, as a phone downloads it.

    ``name`` goes into the header: exactly the name that is asked for, with ``.sgn`` and with its
    folder; ``timestamp`` is in Unix seconds. Raises :class:`~itl.errors.BuildError`, also for a
    payload that is signed already.
    """
    check_unsigned(payload)
    check_name(name)
    signed, _ = sign_document(
        [payload],
        signer=signer,
        filename=name,
        timestamp=timestamp,
        digest=digest,
        version=FILE_VERSION,
    )
    return signed


def check_unsigned(payload: bytes) -> None:
    """Refuse what is signed already. Raises :class:`~itl.errors.BuildError`."""
    kind = recognise(payload)
    if kind is Kind.FIRMWARE_88XX:
        raise BuildError(
            "this is a 78xx/88xx firmware container, signed by Cisco in a format of its own:"
            " serve it as it is"
        )
    if kind not in _UNSIGNED:
        raise BuildError(f"this is signed already ({kind.value}): serve it as it is")


def check_name(name: str) -> None:
    """Refuse a header file name that no signed file can have. Raises BuildError."""
    if not name or leads_out(name):
        raise BuildError(f"file name {name!r}: must be a path below the TFTP root")
    if name.lower().endswith(_LIST_SUFFIX):
        raise BuildError(
            f"file name {name!r}: a header with such a name is a trust list's, and records follow"
        )
