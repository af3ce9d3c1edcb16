"""The client: fetch or store one file."""

import socket
from collections.abc import Callable
from typing import TypeAlias

import trio

from tftp import TftpError
from tftp.content import Octets
from tftp.frames import Frames
from tftp.netascii import FromNetascii, to_netascii
from tftp.packets import ErrorCode, Opcode, Request, encode_error
from tftp.receiver import Receiver
from tftp.sender import Sender
from tftp.sockets import Address
from tftp.timer import RetransmitTimer
from tftp.transfer import Burst, Ending

MAX_BYTES = 256 * 1024 * 1024
MAX_DATAGRAM = 65_535
FIRST_SECONDS = 1.0  # a server may have to read or sign before it answers
RETRIES = 5
Progress: TypeAlias = Callable[[int, int | None], None]


async def get(
    host: str,
    port: int,
    name: str,
    *,
    mode: str = "octet",
    blksize: int | None = None,
    windowsize: int | None = None,
    timeout: int | None = None,  # noqa: ASYNC109  the option of RFC 2349, no deadline of ours
    tsize: bool = False,
    timeout_seconds: float = 30.0,
    retries: int = RETRIES,
    max_bytes: int = MAX_BYTES,
    progress: Progress | None = None,
) -> bytes:
    """The octets of ``name``, at most ``max_bytes``.

    Options are sent only where given (``blksize`` octets, ``windowsize`` blocks, ``timeout``
    seconds). ``timeout_seconds`` bounds the whole transfer. ``progress`` is called with the octets
    so far and the size, if known. Raises :class:`~tftp.RemoteError` for the server's ERROR, and
    :class:`~tftp.TftpError` otherwise.
    """
    options = _options(blksize=blksize, windowsize=windowsize, timeout=timeout)
    if tsize:
        options["tsize"] = "0"
    taken = bytearray()

    def take(octets: bytes) -> None:
        taken.extend(octets)
        if progress is not None:
            progress(len(taken), receiver.terms.tsize)

    decoder = FromNetascii(take)
    receiver = Receiver(
        decoder if mode == "netascii" else take,
        max_bytes=max_bytes,
        complete=decoder.finish,
        request=Request(Opcode.RRQ, name, mode, options),
        retries=retries,
        timer=RetransmitTimer(first_seconds=FIRST_SECONDS),
    )
    await _run(receiver, (host, port), name, timeout_seconds)
    return bytes(taken)


async def put(
    host: str,
    port: int,
    name: str,
    data: bytes,
    *,
    mode: str = "octet",
    blksize: int | None = None,
    windowsize: int | None = None,
    timeout: int | None = None,  # noqa: ASYNC109  the option of RFC 2349, no deadline of ours
    tsize: bool = False,
    timeout_seconds: float = 30.0,
    retries: int = RETRIES,
    progress: Progress | None = None,
) -> None:
    """Store ``data`` as ``name``; arguments and errors as for :func:`get`."""
    sent = to_netascii(data) if mode == "netascii" else data
    options = _options(blksize=blksize, windowsize=windowsize, timeout=timeout)
    if tsize:
        options["tsize"] = str(len(sent))
    sender = Sender(
        Frames(kept_bytes=len(sent)),
        Octets(sent, key=name),
        request=Request(Opcode.WRQ, name, mode, options),
        retries=retries,
        timer=RetransmitTimer(first_seconds=FIRST_SECONDS),
    )
    watched = None if progress is None else lambda: progress(sender.octets, len(sent))
    await _run(sender, (host, port), name, timeout_seconds, watched)


def _options(**asked: int | None) -> dict[str, str]:
    return {name: str(value) for name, value in asked.items() if value is not None}


async def _run(
    transfer: Sender | Receiver,
    at: tuple[str, int],
    name: str,
    timeout_seconds: float,
    watched: Callable[[], None] | None = None,
) -> None:
    """Carry the transfer's datagrams until it ends; raise unless it ended well."""
    host, port = at
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise TftpError(f"{host}: {error.strerror or error}") from None
    except UnicodeError:  # of IDNA, and no OSError
        raise TftpError(f"{host} cannot be reached: not a host name") from None
    family, _, _, _, place = min(found, key=lambda each: each[0] != socket.AF_INET)
    server: Address = (str(place[0]), int(place[1]), *map(int, place[2:]))  # type: ignore[assignment]
    with trio.socket.socket(family, socket.SOCK_DGRAM) as own:
        await own.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))  # noqa: S104
        # any local port of any address: the route decides, and the peer's answers are checked
        with trio.move_on_after(timeout_seconds) as scope:
            try:
                await _Conversation(own, server, transfer, watched).run()
            except OSError as error:
                raise TftpError(f"{name} from {host}: {error.strerror or error}") from None
    outcome = transfer.outcome
    if scope.cancelled_caught or outcome is None:
        raise TftpError(f"{name}: no end within {timeout_seconds:g} seconds")
    if outcome.error is not None:
        raise outcome.error
    if outcome.ending not in {Ending.DONE, Ending.UNCONFIRMED}:
        raise TftpError(f"{name}: {outcome.reason}")


class _Conversation:
    """Datagrams of one transfer: the server's TID is the port its first answer comes from."""

    def __init__(
        self,
        own: trio.socket.SocketType,
        server: Address,
        transfer: Sender | Receiver,
        watched: Callable[[], None] | None,
    ) -> None:
        self._own = own
        self._server = server
        self._peer: Address | None = None
        self._transfer = transfer
        self._watched = watched

    async def run(self) -> None:
        transfer = self._transfer
        await self._send(transfer.start(trio.current_time()))
        while transfer.outcome is None:
            datagram = await self._next(transfer.deadline)
            now = trio.current_time()
            if datagram is not None:
                await self._send(transfer.receive(datagram, now))
                if self._watched is not None:
                    self._watched()
            elif transfer.deadline <= now:
                await self._send(transfer.timeout(now))

    async def _next(self, deadline: float) -> bytes | None:
        """A datagram of the peer, None at the deadline; a stranger gets ERROR 5."""
        with trio.move_on_at(deadline):
            while True:
                datagram, sender = await self._own.recvfrom(MAX_DATAGRAM)
                if self._peer is None and sender[0] == self._server[0]:
                    self._peer = sender
                if sender == self._peer:
                    return datagram
                if datagram[:2] != b"\0\5":
                    no = encode_error(ErrorCode.UNKNOWN_TID, "unknown transfer")
                    await self._own.sendto(no, sender)
        return None

    async def _send(self, burst: Burst) -> None:
        to = self._peer or self._server
        if isinstance(burst, bytes):
            if burst:
                await self._own.sendto(burst, to)
            return
        segment = self._transfer.segment if isinstance(self._transfer, Sender) else len(burst)
        for at in range(0, len(burst), segment):
            await self._own.sendto(burst[at : at + segment], to)
