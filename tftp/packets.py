"""Packets of RFC 1350 and RFC 2347: octets to values and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from tftp import PacketError

MAX_REQUEST = 512  # octets of a request, options included (RFC 2347)
MAX_NAME = 255  # octets of a file name: what file systems can hold
MAX_ERROR_TEXT = 400  # octets of text kept of an ERROR, sent or received
BLOCK_NUMBERS = 65_536


class Opcode(IntEnum):
    """Packet types: RFC 1350 section 5, RFC 2347 for OACK."""

    RRQ = 1
    WRQ = 2
    DATA = 3
    ACK = 4
    ERROR = 5
    OACK = 6


class ErrorCode(IntEnum):
    """Error codes: RFC 1350 appendix, RFC 2347 for 8."""

    UNDEFINED = 0
    NOT_FOUND = 1
    ACCESS_VIOLATION = 2
    DISK_FULL = 3
    ILLEGAL_OPERATION = 4
    UNKNOWN_TID = 5
    FILE_EXISTS = 6
    NO_SUCH_USER = 7
    OPTIONS_REFUSED = 8

    @property
    def words(self) -> str:
        """As events have it: "not found"."""
        return self.name.lower().replace("_", " ")


_REQUESTS = {b"\0\1": Opcode.RRQ, b"\0\2": Opcode.WRQ}
_NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


class Request(NamedTuple):
    """RRQ or WRQ.

    ``mode`` and the names of ``options`` are lower case, as neither depends on case; values are
    text as received. Of an option given twice the first counts.
    """

    opcode: Opcode
    name: str
    mode: str = "octet"
    options: Mapping[str, str] = _NO_OPTIONS


@dataclass(frozen=True)
class Data:
    """DATA: the block number on the wire (0 to 65535) and its octets."""

    block: int
    payload: bytes


@dataclass(frozen=True)
class Ack:
    """ACK of a block number on the wire (0 to 65535)."""

    block: int


@dataclass(frozen=True)
class Error:
    """ERROR: code (0 to 65535) and text, at most 400 octets of it."""

    code: int
    text: str


@dataclass(frozen=True)
class OptionAck:
    """OACK: option names in lower case with their values as text."""

    options: dict[str, str]


Packet: TypeAlias = Request | Data | Ack | Error | OptionAck


def parse(datagram: bytes) -> Packet:
    """The packet in ``datagram``. Raises :class:`~tftp.PacketError` and nothing else."""
    if len(datagram) < 2:  # noqa: PLR2004  the two octets of the opcode
        raise PacketError("opcode", 0, f"{len(datagram)} octets are no packet")
    opcode = int.from_bytes(datagram[:2], "big")
    if opcode in {Opcode.RRQ, Opcode.WRQ}:
        return parse_request(datagram)
    if opcode == Opcode.DATA:
        return Data(_number(datagram, "block number"), bytes(datagram[4:]))
    if opcode == Opcode.ACK:
        return Ack(_number(datagram, "block number"))
    if opcode == Opcode.ERROR:
        text = datagram[4:].split(b"\0", 1)[0][:MAX_ERROR_TEXT].decode("utf-8", "replace")
        return Error(_number(datagram, "error code"), text)
    if opcode == Opcode.OACK:
        options = _options(datagram, 2)
        if not options:
            raise PacketError("options", 2, "none is acknowledged")
        return OptionAck(options)
    raise PacketError("opcode", 0, f"{opcode} is none of 1 to 6")


def parse_request(datagram: bytes) -> Request:
    """The RRQ or WRQ in ``datagram``. Raises :class:`~tftp.PacketError`.

    What follows the mode and is no pair of NUL-ended strings is ignored, as some boot loaders leave
    garbage there.
    """
    opcode = _REQUESTS.get(datagram[:2])
    if opcode is None:
        raise PacketError("opcode", 0, "no request")
    if len(datagram) > MAX_REQUEST:
        raise PacketError("request", MAX_REQUEST, f"longer than {MAX_REQUEST} octets")
    end = datagram.find(b"\0", 2)
    if end < 0:
        raise PacketError("file name", 2, "no NUL ends it")
    if end == 2:  # noqa: PLR2004  where the name begins
        raise PacketError("file name", 2, "empty")
    if end - 2 > MAX_NAME:
        raise PacketError("file name", 2, f"longer than {MAX_NAME} octets")
    name = datagram[2:end].decode("utf-8", "replace")
    if datagram[end:] == b"\0octet\0":  # nearly always
        return Request(opcode, name, "octet", _NO_OPTIONS)
    over = datagram.find(b"\0", end + 1)
    if over < 0:
        raise PacketError("mode", end + 1, "no NUL ends it")
    mode = datagram[end + 1 : over].decode("ascii", "replace").lower()
    options = _options(datagram, over + 1) if len(datagram) > over + 1 else _NO_OPTIONS
    return Request(opcode, name, mode, options)


def _options(datagram: bytes, offset: int) -> dict[str, str]:
    words = datagram[offset:].split(b"\0")[:-1]
    options: dict[str, str] = {}
    for name, value in zip(words[::2], words[1::2], strict=False):
        options.setdefault(
            name.decode("ascii", "replace").lower(), value.decode("ascii", "replace")
        )
    return options


def _number(datagram: bytes, what: str) -> int:
    if len(datagram) < 4:  # noqa: PLR2004  opcode and number
        raise PacketError(what, 2, "cut short")
    return int.from_bytes(datagram[2:4], "big")


def encode_request(request: Request) -> bytes:
    """RRQ or WRQ as octets."""
    words = [request.name, request.mode]
    for name, value in request.options.items():
        words += [name, value]
    return request.opcode.to_bytes(2, "big") + b"".join(
        word.encode(errors="surrogateescape") + b"\0" for word in words
    )


def encode_data(block: int, payload: bytes) -> bytes:
    """DATA of a block number on the wire."""
    return b"\0\3" + block.to_bytes(2, "big") + payload


def encode_ack(block: int) -> bytes:
    """ACK of a block number on the wire."""
    return b"\0\4" + block.to_bytes(2, "big")


@lru_cache(maxsize=256)
def encode_error(code: int, text: str) -> bytes:
    """ERROR; the text is cut to 400 octets."""
    cut = text.encode("utf-8", "replace").replace(b"\0", b" ")[:MAX_ERROR_TEXT]
    return b"\0\5" + code.to_bytes(2, "big") + cut + b"\0"


def encode_option_ack(options: dict[str, str]) -> bytes:
    """OACK with options in the order given."""
    return b"\0\6" + b"".join(word.encode() + b"\0" for pair in options.items() for word in pair)


def wire_number(block: int, rollover: int) -> int:
    """The number on the wire of the ``block``-th block (counted from 1 without end).

    After 65535 comes ``rollover``, 0 or 1: RFC 1350 does not say, implementations differ.
    """
    if block < BLOCK_NUMBERS:
        return block
    if rollover == 0:
        return block % BLOCK_NUMBERS
    return (block - 1) % (BLOCK_NUMBERS - 1) + 1
