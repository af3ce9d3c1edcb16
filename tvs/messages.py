"""TVS messages: frame and elements, octets in and out.

Header, 10 octets: 57 hex, version, command, one octet without meaning, four octets that the answer
echoes, length of what follows (2 octets, big endian). Then elements: tag (1), length (2, big
endian), value. Sources: Cisco documents 213407 and 118699 (octets of a real 8861 and a real CUCM).
The numbers of elements 4 and 5 and the order of 8 and 9 are assumed: the trace leaves them out.
"""

import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import TypeAlias

import msgspec

from tvs import TvsError

HEADER = struct.Struct(">BBBB4sH")
ELEMENT = struct.Struct(">BH")
HEADER_BYTES = HEADER.size
MAX_BODY_BYTES = 0xFFFF
DISCRIMINATOR = 0x57
VERSION = 1

Elements: TypeAlias = tuple[tuple[int, bytes], ...]


class Command(IntEnum):
    """What a message is; an answer's command is the request's plus one."""

    VERIFY_REQUEST = 1
    VERIFY_RESPONSE = 2
    QUERY_REQUEST = 3
    QUERY_RESPONSE = 4


class Tag(IntEnum):
    """The number of an element."""

    DEVICE = 1
    CERTIFICATE = 2
    SUBJECT = 3
    ISSUER = 4
    SERIAL = 5
    STATUS = 7
    ROLES = 8
    LIFE = 9


class Status(IntEnum):
    """The value of a status element."""

    TRUSTED = 0
    NOT_TRUSTED = 1


# The fourth octet: a real CUCM put f7 into a query's answer. For a verify's answer no octets are
# public, and 0 is what phones have been taking from the open TVS server.
_FILLER: dict[int, int] = {Command.QUERY_RESPONSE: 0xF7, Command.VERIFY_RESPONSE: 0x00}
_KNOWN_REQUESTS = frozenset({Command.VERIFY_REQUEST, Command.QUERY_REQUEST})
_REQUEST_TAGS = frozenset({Tag.DEVICE, Tag.CERTIFICATE, Tag.SUBJECT, Tag.ISSUER, Tag.SERIAL})


class MessageError(TvsError):
    """Octets that are no TVS message: which part, at which offset of the message, and why."""

    def __init__(self, element: str, offset: int, reason: str) -> None:
        super().__init__(f"{element} at byte {offset}: {reason}")
        self.element = element
        self.offset = offset
        self.reason = reason


class Header(msgspec.Struct, frozen=True):
    """The first ten octets: what the message is and how many octets of elements follow."""

    version: int
    command: int
    session: bytes
    length: int


class Request(msgspec.Struct, frozen=True):
    r"""What a phone asks.

    ``device`` is the device name as sent, without its leading octet 01, octets outside ASCII as
    ``\xNN``. Names are text, ``serial`` raw octets. ``unknown`` are elements without known meaning
    and repeated ones, in order; ``body_error`` says why the elements of an unknown command could
    not be read.
    """

    command: int
    session: bytes
    version: int = VERSION
    device: str | None = None
    certificate: bytes | None = None
    subject: str | None = None
    issuer: str | None = None
    serial: bytes | None = None
    unknown: Elements = ()
    body_error: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether the command is one of the two known questions."""
        return self.command in _KNOWN_REQUESTS


class Response(msgspec.Struct, frozen=True):
    """What a TVS answers; ``roles`` are codes, ``ttl_seconds`` the life of the answer."""

    command: int
    session: bytes
    status: int
    certificate: bytes | None = None
    roles: tuple[int, ...] | None = None
    ttl_seconds: int | None = None
    unknown: Elements = ()


def parse_header(octets: bytes | bytearray) -> Header:
    """Read the first ten of ``octets``. Versions 0 and 1 are taken, the fourth octet is ignored."""
    if len(octets) < HEADER_BYTES:
        raise MessageError("header", len(octets), f"{HEADER_BYTES} octets are needed")
    discriminator, version, command, _, session, length = HEADER.unpack_from(octets)
    if discriminator != DISCRIMINATOR:
        raise MessageError("header", 0, f"discriminator is {discriminator:02x}, not 57")
    if version > VERSION:
        raise MessageError("header", 1, f"version {version} is not known")
    return Header(version, command, session, length)


def parse_elements(body: bytes) -> Elements:
    """Take ``body`` apart into (tag, value); the elements must fill it exactly."""
    found = []
    at, end = 0, len(body)
    while at < end:
        if end - at < ELEMENT.size:
            raise MessageError("element", HEADER_BYTES + at, "tag and length are cut off")
        tag, length = ELEMENT.unpack_from(body, at)
        at += ELEMENT.size
        if length > end - at:
            raise MessageError(
                f"element {tag}",
                HEADER_BYTES + at - ELEMENT.size,
                f"{length} octets promised, {end - at} left in the message",
            )
        found.append((tag, body[at : at + length]))
        at += length
    return tuple(found)


def parse_request(header: Header, body: bytes) -> Request:
    """Read a phone's question. Raises :class:`MessageError` for a known command's bad elements."""
    try:
        elements = parse_elements(body)
    except MessageError as error:
        if header.command in _KNOWN_REQUESTS:
            raise
        return Request(header.command, header.session, header.version, body_error=str(error))
    values: dict[int, bytes] = {}
    unknown = []
    for tag, value in elements:
        if tag in _REQUEST_TAGS and tag not in values:
            values[tag] = value
        else:
            unknown.append((tag, value))
    issuer, serial = values.get(Tag.ISSUER), values.get(Tag.SERIAL)
    if not _is_name(issuer) and _is_name(serial):
        issuer, serial = serial, issuer  # the numbers are assumed: the shape tells which is which
    device = values.get(Tag.DEVICE)
    return Request(
        command=header.command,
        session=header.session,
        version=header.version,
        device=None if device is None else _readable(device.removeprefix(b"\1")),
        certificate=values.get(Tag.CERTIFICATE),
        subject=_name(values.get(Tag.SUBJECT)),
        issuer=_name(issuer),
        serial=serial,
        unknown=tuple(unknown),
    )


def encode_request(request: Request) -> bytes:
    """The octets of ``request``, as an 8861 orders them; device and names in their encodings."""
    elements: list[tuple[int, bytes]] = []
    if request.device is not None:
        elements.append((Tag.DEVICE, b"\1" + request.device.encode()))
    if request.certificate is not None:
        elements.append((Tag.CERTIFICATE, request.certificate))
    for tag, name in ((Tag.SUBJECT, request.subject), (Tag.ISSUER, request.issuer)):
        if name is not None:
            elements.append((tag, name.encode(errors="surrogateescape") + b"\0"))
    if request.serial is not None:
        elements.append((Tag.SERIAL, request.serial))
    body = encode_elements((*elements, *request.unknown))
    return _framed(request.version, request.command, 0, request.session, body)


def parse_response(header: Header, body: bytes) -> Response:
    """Read a TVS's answer; a status element is required. Raises :class:`MessageError`."""
    values: dict[int, bytes] = {}
    unknown = []
    offsets: dict[int, int] = {}
    at = HEADER_BYTES
    for tag, value in parse_elements(body):
        if tag in {Tag.STATUS, Tag.CERTIFICATE, Tag.ROLES, Tag.LIFE} and tag not in values:
            values[tag], offsets[tag] = value, at
        else:
            unknown.append((tag, value))
        at += ELEMENT.size + len(value)
    for tag, size in ((Tag.STATUS, 1), (Tag.LIFE, 4)):
        if tag in values and len(values[tag]) != size:
            raise MessageError(f"element {tag}", offsets[tag], f"{size} octets are expected")
    if Tag.STATUS not in values:
        raise MessageError("element 7", HEADER_BYTES, "the answer has no status")
    life = values.get(Tag.LIFE)
    roles = values.get(Tag.ROLES)
    return Response(
        command=header.command,
        session=header.session,
        status=values[Tag.STATUS][0],
        certificate=values.get(Tag.CERTIFICATE),
        roles=None if roles is None else tuple(roles),
        ttl_seconds=None if life is None else int.from_bytes(life, "big"),
        unknown=tuple(unknown),
    )


def encode_response(response: Response) -> bytes:
    """The octets of ``response``: elements 7, 2, 8, 9, those that it has."""
    elements: list[tuple[int, bytes]] = [(Tag.STATUS, bytes((response.status,)))]
    if response.certificate is not None:
        elements.append((Tag.CERTIFICATE, response.certificate))
    if response.roles is not None:
        elements.append((Tag.ROLES, bytes(response.roles)))
    if response.ttl_seconds is not None:
        elements.append((Tag.LIFE, response.ttl_seconds.to_bytes(4, "big")))
    body = encode_elements((*elements, *response.unknown))
    filler = _FILLER.get(response.command, 0xF7)
    return _framed(VERSION, response.command, filler, response.session, body)


def encode_elements(elements: Iterable[tuple[int, bytes]]) -> bytes:
    """The octets of (tag, value) pairs; a value is at most 65 535 octets."""
    parts: list[bytes] = []
    for tag, value in elements:
        if len(value) > MAX_BODY_BYTES:
            raise MessageError(f"element {tag}", HEADER_BYTES, f"{len(value)} octets do not fit")
        parts += (ELEMENT.pack(tag, len(value)), value)
    return b"".join(parts)


def _framed(version: int, command: int, filler: int, session: bytes, body: bytes) -> bytes:
    if len(body) > MAX_BODY_BYTES:
        raise MessageError("header", 8, f"{len(body)} octets do not fit into one message")
    return HEADER.pack(DISCRIMINATOR, version, command, filler, session, len(body)) + body


def _is_name(value: bytes | None) -> bool:
    """Whether ``value`` has the shape of a name, not of a serial number."""
    if value is None or b"=" not in value:
        return False
    try:
        return value.rstrip(b"\0").decode().isprintable()
    except UnicodeDecodeError:
        return False


def _name(value: bytes | None) -> str | None:
    r"""The text of a name element, without its NUL; octets that are no UTF-8 as ``\xNN``."""
    return None if value is None else value.rstrip(b"\0").decode(errors="backslashreplace")


def _readable(value: bytes) -> str:
    return value.decode("ascii", errors="backslashreplace")
