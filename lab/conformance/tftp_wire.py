"""TFTP datagrams of the suite's own, and a raw client that notes every one of them.

RFC 1350 section 5: two octets of opcode, then names ended by NUL or a block number of two octets.
"""

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

import trio

from conf.addresses import address_text
from lab import LabError
from lab.conformance.model import Ruling, Timeline, fail, untold

Address: TypeAlias = tuple[str, int]
Options: TypeAlias = Sequence[tuple[str, str]]

DEFAULT_BLOCK = 512
HEAD = 4  # opcode and block number, or opcode and error code
BLOCKS = 1 << 16
MAX_DATAGRAM = 65_536
ASK_AGAIN_SECONDS = 2.0
MAX_READ = 64 << 20
DIGITS = 5  # of the largest block and window


class Opcode(IntEnum):
    """The first two octets (RFC 1350 section 5, RFC 2347)."""

    RRQ = 1
    WRQ = 2
    DATA = 3
    ACK = 4
    ERROR = 5
    OACK = 6


class Code(IntEnum):
    """Error codes (RFC 1350 appendix, RFC 2347)."""

    UNDEFINED = 0
    NOT_FOUND = 1
    ACCESS = 2
    ILLEGAL = 4
    UNKNOWN_TID = 5
    OPTIONS = 8


@dataclass(frozen=True, slots=True)
class Known:
    """A file that the server has; ``content`` if a local copy is at hand."""

    name: str
    content: bytes | None = None


@dataclass(frozen=True)
class TftpTarget:
    """The examined server and what is known of it; ``None`` means that nothing is known.

    ``patience_seconds`` is how long a silent or retransmitting server is waited for.
    """

    address: Address
    file: Known
    text: Known | None = None
    empty: str | None = None
    exact: Known | None = None
    big: Known | None = None
    generated: str | None = None
    missing: str = "trustlab-no-such-file"
    ipv6: Address | None = None
    writes_refused: bool = True
    patience_seconds: float = 6.5

    @property
    def label(self) -> str:
        """The address as people write it."""
        return shown(self.address)


@dataclass(frozen=True, slots=True)
class Datagram:
    """One datagram from the server."""

    octets: bytes
    source: Address

    @property
    def opcode(self) -> int:
        """The first two octets as a number; -1 where there are fewer."""
        return int.from_bytes(self.octets[:2], "big") if len(self.octets) >= 2 else -1  # noqa: PLR2004  two octets

    @property
    def number(self) -> int:
        """The block number or error code."""
        return int.from_bytes(self.octets[2:HEAD], "big")

    @property
    def payload(self) -> bytes:
        """What follows the number."""
        return self.octets[HEAD:]

    @property
    def options(self) -> dict[str, str]:
        """The options of an OACK, names in lower case."""
        parts = self.octets[2:].split(b"\0")[:-1]
        texts = [part.decode("ascii", "backslashreplace") for part in parts]
        return {name.lower(): value for name, value in zip(texts[::2], texts[1::2], strict=False)}

    @property
    def text(self) -> str:
        """What it is, in words."""
        if self.opcode == Opcode.DATA:
            return f"DATA {self.number} of {len(self.payload)} octets"
        if self.opcode == Opcode.ERROR:
            said = self.payload.split(b"\0")[0].decode("utf-8", "backslashreplace")
            return f"ERROR {self.number} “{said}”"
        if self.opcode == Opcode.OACK:
            return "OACK " + " ".join(f"{name}={value}" for name, value in self.options.items())
        if self.opcode == Opcode.ACK:
            return f"ACK {self.number}"
        return f"opcode {self.opcode}"


def request(opcode: int, name: str | bytes, mode: str = "octet", options: Options = ()) -> bytes:
    """A RRQ or WRQ."""
    raw = name if isinstance(name, bytes) else name.encode()
    parts = [raw, mode.encode()]
    for option, value in options:
        parts += (option.encode(), value.encode())
    return opcode.to_bytes(2, "big") + b"".join(part + b"\0" for part in parts)


def acknowledgement(block: int) -> bytes:
    """An ACK; block numbers wrap."""
    return Opcode.ACK.to_bytes(2, "big") + (block % BLOCKS).to_bytes(2, "big")


def error(code: int, text: str) -> bytes:
    """An ERROR."""
    return Opcode.ERROR.to_bytes(2, "big") + code.to_bytes(2, "big") + text.encode() + b"\0"


def shown(address: Address) -> str:
    """Address and port as people write them."""
    return address_text(*address[:2])


def number(text: str) -> int:
    """The number in an option's value; 0 for nonsense, which a server may grant at any length."""
    return int(text) if text.isdecimal() and len(text) <= DIGITS else 0


async def resolve(host: str, port: int) -> Address:
    """The first address of ``host``. Raises :class:`~lab.LabError`."""
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as problem:  # the latter is no host name
        raise LabError(f"{host}: {problem}") from None
    name = found[0][4]
    return str(name[0]), int(name[1])


class Client:
    """One socket; ``tid`` is where the server's first answer came from."""

    def __init__(self, target: TftpTarget, seen: Timeline, service: Address | None = None) -> None:
        self.target = target
        self.tid: Address | None = None
        self.finished = False
        self._service = service or target.address
        self._seen = seen
        family = socket.AF_INET6 if ":" in self._service[0] else socket.AF_INET
        self._socket = trio.socket.socket(family, socket.SOCK_DGRAM)

    async def send(self, octets: bytes, to: Address | None = None) -> None:
        """Send to ``to``, else to the server's transfer port, else to its service port."""
        peer = to or self.tid or self._service
        self._seen.sent(octets, shown(peer))
        await self._socket.sendto(octets, peer)

    async def receive(self, seconds: float, *, any_port: bool = False) -> Datagram | None:
        """The next datagram from the server's transfer port, or None after ``seconds``.

        Before that port is known, and with ``any_port``, all ports of the server's address are
        heard. What comes from elsewhere, as for a client that had our port before, is noted only.
        """
        with trio.move_on_after(seconds):
            while True:
                octets, name = await self._socket.recvfrom(MAX_DATAGRAM)
                source = str(name[0]), int(name[1])
                self._seen.received(octets, shown(source))
                if self.tid is None or any_port:
                    heard = source[0] == self._service[0]
                else:
                    heard = source == self.tid
                if heard:
                    return Datagram(octets, source)
                self._seen.note("that came from elsewhere and is passed over")
        return None

    async def ask(self, octets: bytes) -> Datagram:  # noqa: RET503  it ends by a ruling
        """Send a request to the service port and wait for the first answer.

        The request is repeated every 2 seconds; a server silent beyond the target's patience ends
        the check as inconclusive.
        """
        limit = trio.current_time() + self.target.patience_seconds
        while (left := limit - trio.current_time()) > 0:
            await self.send(octets, self._service)
            answer = await self.receive(min(left, ASK_AGAIN_SECONDS))
            if answer is not None:
                self.tid = answer.source
                self.finished = answer.opcode == Opcode.ERROR
                return answer
        untold(f"no answer within {self.target.patience_seconds:g} seconds")

    async def begin(self, name: str, mode: str = "octet", options: Options = ()) -> Datagram:
        """Ask for ``name``; an ERROR or an answer that is neither DATA nor OACK fails the check."""
        answer = await self.ask(request(Opcode.RRQ, name, mode, options))
        if answer.opcode not in {Opcode.DATA, Opcode.OACK}:
            fail(f"asked for {name}, the server answered {answer.text}")
        return answer

    async def close(self) -> None:
        """Tell the server that the check is over if a transfer is open; free the socket."""
        with trio.CancelScope(shield=True):
            if self.tid is not None and not self.finished:
                await self.send(error(Code.UNDEFINED, "end of check"))
        self._socket.close()


@asynccontextmanager
async def client(
    target: TftpTarget, seen: Timeline, service: Address | None = None
) -> AsyncIterator[Client]:
    """A client for the length of a block."""
    opened = Client(target, seen, service)
    try:
        yield opened
    finally:
        await opened.close()


@dataclass
class Transfer:
    """What a whole read gave: the octets, and what was odd on the way."""

    payload: bytearray = field(default_factory=bytearray)
    blocks: int = 0
    granted: dict[str, str] | None = None
    repeats: int = 0

    @property
    def block_size(self) -> int:
        """Octets in a full block."""
        return self._number("blksize", DEFAULT_BLOCK)

    @property
    def window(self) -> int:
        """Blocks that come without an ACK between them."""
        return self._number("windowsize", 1)

    def _number(self, option: str, default: int) -> int:
        """What was granted; nonsense fails the check."""
        granted = (self.granted or {}).get(option)
        if granted is None:
            return default
        return number(granted) or fail(f"{option} “{granted[:DIGITS]}” was granted")


async def read(opened: Client, name: str, mode: str = "octet", options: Options = ()) -> Transfer:
    """Read all of ``name`` as an orderly client does; an ERROR fails the check."""
    first = await opened.begin(name, mode, options)
    transfer = Transfer()
    if first.opcode == Opcode.OACK:
        transfer.granted = first.options
        await opened.send(acknowledgement(0))
        await finish(opened, transfer)
    else:
        await finish(opened, transfer, first)
    return transfer


async def finish(opened: Client, transfer: Transfer, pending: Datagram | None = None) -> None:
    """Take the rest of a transfer, beginning with ``pending`` if it has come already."""
    since_ack = 0
    while True:
        found = pending or await opened.receive(opened.target.patience_seconds)
        pending = None
        if found is None:
            fail(f"after block {transfer.blocks} nothing came any more")
        if found.opcode == Opcode.OACK:
            await opened.send(acknowledgement(0))
            continue
        if found.opcode != Opcode.DATA:
            opened.finished = True
            fail(f"after block {transfer.blocks} came {found.text}")
        if found.number != (transfer.blocks + 1) % BLOCKS:
            transfer.repeats += 1
            since_ack = 0
            await opened.send(acknowledgement(transfer.blocks))
            continue
        transfer.blocks += 1
        transfer.payload += found.payload
        since_ack += 1
        if len(transfer.payload) > MAX_READ:
            untold(f"the file has more than {MAX_READ} octets")
        last = len(found.payload) < transfer.block_size
        if last or since_ack >= transfer.window:
            since_ack = 0
            await opened.send(acknowledgement(transfer.blocks))
        if last:
            opened.finished = True
            return


async def fetch(
    target: TftpTarget,
    seen: Timeline,
    name: str,
    mode: str = "octet",
    options: Options = (),
    *,
    service: Address | None = None,
) -> Transfer:
    """Read all of ``name`` with a client of its own."""
    async with client(target, seen, service) as opened:
        return await read(opened, name, mode, options)


async def still_serves(target: TftpTarget, seen: Timeline) -> None:
    """Fail the check unless the server still gives its known file."""
    async with client(target, seen) as opened:
        try:
            answer = await opened.begin(target.file.name)
        except Ruling as ruling:
            fail(f"after that: {ruling}")
        if answer.opcode != Opcode.DATA:
            fail(f"after that the server answered {answer.text}")
