"""TVS octets of the suite's own, over a raw TLS connection that notes what crosses it.

Header of ten octets: 57 hex, version, command, one without meaning, four to be echoed, length of
the rest. Elements: tag, length (2 octets), value. Sources: Cisco documents 213407 and 118699.
"""

import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from itertools import pairwise

import trio
from OpenSSL import SSL, crypto

from itl.certificates import Certificate, describe
from lab.conformance.model import Ruling, Timeline, demand, fail, untold
from lab.conformance.tftp_wire import Address, shown

HEAD = 10
RECORD = 16_384
DISCRIMINATOR = 0x57
VERSION = 1
DEVICE = b"\1CP-8861-SEP00000000C0DE"
SESSION = bytes.fromhex("000003e9")  # the first that an 8861 was seen to use
EVERYTHING = b"ALL:@SECLEVEL=0"


class Command(IntEnum):
    """The third octet."""

    VERIFY = 1
    VERIFY_ANSWER = 2
    QUERY = 3
    QUERY_ANSWER = 4


class Tag(IntEnum):
    """Element numbers; 4 and 5 are assumed, the trace leaves them out."""

    DEVICE = 1
    CERTIFICATE = 2
    SUBJECT = 3
    ISSUER = 4
    SERIAL = 5
    STATUS = 7
    ROLES = 8
    LIFE = 9


@dataclass(frozen=True)
class TvsTarget:
    """The examined server, and certificates (DER): its own, one it trusts, one it does not.

    ``patience_seconds`` is how long an answer, or the end of an idle connection, is waited for.
    """

    address: Address
    unknown: bytes
    expected: bytes | None = None
    known: bytes | None = None
    patience_seconds: float = 12.0

    @property
    def label(self) -> str:
        """The address as people write it."""
        return shown(self.address)

    @cached_property
    def stranger(self) -> Certificate:
        """The unknown certificate in the words of trust lists."""
        return describe(self.unknown)


@dataclass(frozen=True, slots=True)
class Answer:
    """One message from the server, taken apart."""

    discriminator: int
    version: int
    command: int
    filler: int
    session: bytes
    elements: tuple[tuple[int, bytes], ...]
    octets: bytes = field(repr=False)

    def value(self, tag: int) -> bytes | None:
        """The first element of that number."""
        return next((value for number, value in self.elements if number == tag), None)

    @property
    def status(self) -> int | None:
        """0 trusted, 1 not; None without a status of one octet."""
        value = self.value(Tag.STATUS)
        return value[0] if value is not None and len(value) == 1 else None

    @property
    def text(self) -> str:
        """What it is, in words."""
        tags = ", ".join(f"{tag} ({len(value)})" for tag, value in self.elements)
        return f"command {self.command}, status {self.status}, elements {tags or 'none'}"


def frame(
    command: int,
    elements: Iterable[tuple[int, bytes]],
    *,
    session: bytes = SESSION,
    version: int = VERSION,
    length: int | None = None,
) -> bytes:
    """A message; ``length`` overrides the true length of the elements."""
    body = b"".join(
        bytes((tag,)) + len(value).to_bytes(2, "big") + value for tag, value in elements
    )
    said = len(body) if length is None else length
    return bytes((DISCRIMINATOR, version, command, 0)) + session + said.to_bytes(2, "big") + body


def verify(certificate: bytes, session: bytes = SESSION) -> bytes:
    """Ask whether ``certificate`` (DER) is good."""
    return frame(
        Command.VERIFY, ((Tag.DEVICE, DEVICE), (Tag.CERTIFICATE, certificate)), session=session
    )


def query(names: Certificate, *, serial: bytes | None = None, session: bytes = SESSION) -> bytes:
    """Ask for the certificate with these names and serial number."""
    return frame(
        Command.QUERY,
        (
            (Tag.DEVICE, DEVICE),
            (Tag.SUBJECT, names.subject.encode() + b"\0"),
            (Tag.ISSUER, names.issuer.encode() + b"\0"),
            (Tag.SERIAL, names.serial if serial is None else serial),
        ),
        session=session,
    )


def take_apart(octets: bytes) -> Answer:
    """Read a whole message; elements that do not fill it exactly fail the check."""
    at, elements = HEAD, []
    while at < len(octets):
        demand(at + 3 <= len(octets), f"the answer's element at octet {at} is cut off")
        tag, length = octets[at], int.from_bytes(octets[at + 1 : at + 3], "big")
        at += 3
        demand(at + length <= len(octets), f"element {tag} runs beyond the answer's end")
        elements.append((tag, octets[at : at + length]))
        at += length
    return Answer(octets[0], octets[1], octets[2], octets[3], octets[4:8], tuple(elements), octets)


def context(
    minimum: int = SSL.TLS1_VERSION,
    maximum: int = SSL.TLS1_3_VERSION,
    ciphers: bytes = EVERYTHING,
) -> SSL.Context:
    """A client's context that takes any certificate; raises SSL.Error for unknown ciphers."""
    made = SSL.Context(SSL.TLS_CLIENT_METHOD)
    made.set_cipher_list(ciphers)
    made.set_min_proto_version(minimum)
    made.set_max_proto_version(maximum)
    made.set_verify(SSL.VERIFY_NONE)
    return made


class Session:
    """A TLS connection after its handshake; what is noted is the plain text inside it."""

    def __init__(self, stream: trio.SocketStream, seen: Timeline, label: str) -> None:
        self.stream = stream
        self.tls: SSL.Connection
        self._seen = seen
        self._label = label
        self._buffer = bytearray()

    async def handshake(self, with_context: SSL.Context) -> None:
        """Raises SSL.Error with the server's alert, ConnectionError where it hangs up."""
        self.tls = SSL.Connection(with_context, None)
        self.tls.set_connect_state()
        while True:
            try:
                self.tls.do_handshake()
            except SSL.WantReadError:
                await self._flush()
                await self._feed()
            else:
                break
        await self._flush()
        self._seen.note(self.spoken)

    def hello(self, with_context: SSL.Context) -> bytes:
        """The first octets of a handshake, not sent."""
        self.tls = SSL.Connection(with_context, None)
        self.tls.set_connect_state()
        with suppress(SSL.WantReadError):
            self.tls.do_handshake()
        return self.tls.bio_read(RECORD)

    @property
    def spoken(self) -> str:
        """TLS version and cipher."""
        return f"{self.tls.get_protocol_version_name()}, {self.tls.get_cipher_name()}"

    @property
    def certificate(self) -> bytes:
        """The certificate the server presented, DER."""
        presented = self.tls.get_peer_certificate()
        if presented is None:
            fail("the server presented no certificate")
        return crypto.dump_certificate(crypto.FILETYPE_ASN1, presented)

    async def send(self, octets: bytes, pieces: Sequence[int] = ()) -> None:
        """Send; ``pieces`` are the offsets at which a new TLS record begins."""
        self._seen.sent(octets, self._label)
        cuts = (0, *pieces, len(octets))
        for begin, end in pairwise(cuts):
            while begin < end:
                begin += self.tls.send(octets[begin:end])  # noqa: PLW2901  a record takes 16 384 octets
                await self._flush()

    async def answer(self, seconds: float) -> Answer | None:  # noqa: RET503  it ends by a ruling
        """The next message; None if the server ends the connection; a fail after ``seconds``."""
        with trio.move_on_after(seconds):
            while len(self._buffer) < HEAD or len(self._buffer) < self._wanted():
                if not await self._read():
                    self._seen.note("the server ended the connection")
                    return None
            wanted = self._wanted()
            octets = bytes(self._buffer[:wanted])
            del self._buffer[:wanted]
            self._seen.received(octets, self._label)
            return take_apart(octets)
        fail(f"no answer within {seconds:g} seconds")

    async def asked(self, octets: bytes, seconds: float) -> Answer:
        """Send a request and take its answer; the end of the connection fails the check."""
        await self.send(octets)
        answer = await self.answer(seconds)
        if answer is None:
            fail("the server ended the connection instead of answering")
        return answer

    async def ended_within(self, seconds: float) -> bool:
        """Whether the server ends the connection, whatever it sends before."""
        with trio.move_on_after(seconds):
            while await self._read():
                pass
            return True
        return False

    async def more_within(self, seconds: float) -> bytes:
        """What comes beyond the answers taken, for ``seconds`` or until the connection ends."""
        await self.ended_within(seconds)
        return bytes(self._buffer)

    def _wanted(self) -> int:
        return HEAD + int.from_bytes(self._buffer[8:HEAD], "big")

    async def _read(self) -> bool:
        while True:
            try:
                self._buffer += self.tls.recv(RECORD)
            except SSL.WantReadError:
                try:
                    await self._feed()
                except ConnectionError:
                    return False
            except SSL.Error:
                return False
            else:
                return True

    async def _feed(self) -> None:
        try:
            octets = await self.stream.receive_some(RECORD)
        except trio.BrokenResourceError:
            octets = b""
        if not octets:
            raise ConnectionError("the server hung up")
        self.tls.bio_write(octets)

    async def _flush(self) -> None:
        while True:
            try:
                octets = self.tls.bio_read(RECORD)
            except SSL.WantReadError:
                return
            try:
                await self.stream.send_all(octets)
            except trio.BrokenResourceError:
                raise ConnectionError("the server hung up") from None


async def connect(target: TvsTarget) -> trio.SocketStream:
    """A TCP connection; a server that cannot be reached ends the check as inconclusive."""
    try:
        with trio.fail_after(target.patience_seconds):
            return await trio.open_tcp_stream(*target.address)
    except (OSError, UnicodeError, trio.TooSlowError) as error:
        untold(f"cannot connect: {str(error) or 'no answer'}")


@asynccontextmanager
async def raw(target: TvsTarget) -> AsyncIterator[trio.SocketStream]:
    """A TCP connection without TLS for the length of a block."""
    stream = await connect(target)
    try:
        yield stream
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)


@asynccontextmanager
async def session(
    target: TvsTarget, seen: Timeline, with_context: SSL.Context | None = None
) -> AsyncIterator[Session]:
    """A TLS connection for the length of a block; a handshake that does not end well fails."""
    async with raw(target) as stream:
        opened = Session(stream, seen, target.label)
        try:
            with trio.fail_after(target.patience_seconds):
                await opened.handshake(with_context or context())
        except trio.TooSlowError:
            fail(f"the handshake did not end within {target.patience_seconds:g} seconds")
        except SSL.Error as error:
            fail(f"handshake: {reason_of(error)}")
        except ConnectionError as error:
            fail(f"handshake: {error}")
        yield opened


def reason_of(error: SSL.Error) -> str:
    """OpenSSL's words."""
    queue = error.args[0] if error.args else ()
    return str(queue[0][-1]) if isinstance(queue, list) and queue else type(error).__name__


async def reset(stream: trio.SocketStream) -> None:
    """End a TCP connection with RST."""
    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    await trio.aclose_forcefully(stream)


async def others_answered(target: TvsTarget, seen: Timeline, seconds: float) -> None:
    """Fail unless another client gets an answer within ``seconds``."""
    seen.note("another client asks")
    try:
        with trio.fail_after(seconds):
            async with session(target, seen) as other:
                answer = await other.asked(verify(target.unknown), seconds)
    except trio.TooSlowError:
        fail(f"another client had no answer within {seconds:g} seconds")
    except Ruling as ruling:
        fail(f"another client was not served: {ruling}")
    demand(answer.session == SESSION, f"another client got {answer.text}")
