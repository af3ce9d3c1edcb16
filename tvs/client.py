"""Ask a TVS, ours or a real CUCM's: query and verify, several on one connection."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field

import trio
from msgspec.structs import replace
from OpenSSL import SSL
from trio.lowlevel import wait_readable, wait_writable

from tvs import TvsError
from tvs.connection import MessageBuffer
from tvs.messages import Command, Request, encode_request
from tvs.tls import (
    ClientProfile,
    bound_asides,
    client_context,
    openssl_reason,
    shown_certificate,
)

DEFAULT_PORT = 2445
DEFAULT_DEVICE = "CP-8861-SEP000000000000"
FIRST_SESSION = 1001  # phones count from 3e9 (Cisco document 213407)
READ_BYTES = 16_384


class InquiryError(TvsError):
    """A TVS that could not be asked: unreachable, silent, not speaking TLS or TVS."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a TVS answered.

    ``status`` 0 is trusted; ``roles`` are codes; ``ttl`` is in seconds; ``certificate`` (DER) comes
    with a query's answer; ``server_certificate`` (DER) is what the TVS showed in the handshake.
    """

    status: int
    roles: tuple[int, ...]
    ttl: int | None
    certificate: bytes | None = field(repr=False)
    server_certificate: bytes = field(repr=False)
    tls: str
    cipher: str


class Inquiry:
    """An open connection to a TVS; ``server_certificate`` (DER) can be looked at before asking."""

    def __init__(
        self, connected: socket.socket, tls: SSL.Connection, where: str, timeout_seconds: float
    ) -> None:
        self._socket = connected
        self._tls = tls
        self._where = where
        self._timeout_seconds = timeout_seconds
        self._buffer = MessageBuffer()
        self._session = FIRST_SESSION
        shown = shown_certificate(tls)
        if shown is None:
            raise InquiryError(f"{where} shows no certificate")
        self.server_certificate = shown

    async def query(
        self, *, subject: str, issuer: str, serial: bytes, device: str = DEFAULT_DEVICE
    ) -> Reply:
        """Ask for the certificate with these names and serial octets."""
        command = Command.QUERY_REQUEST
        request = Request(
            command, b"", device=device, subject=subject, issuer=issuer, serial=serial
        )
        return await self._ask(request)

    async def verify(self, *, certificate: bytes, device: str = DEFAULT_DEVICE) -> Reply:
        """Ask whether ``certificate`` (DER) is trusted."""
        command = Command.VERIFY_REQUEST
        return await self._ask(Request(command, b"", device=device, certificate=certificate))

    async def _ask(self, request: Request) -> Reply:
        session = self._session.to_bytes(4, "big")
        self._session += 1
        with _bounded(self._where, self._timeout_seconds):
            await self._send(encode_request(replace(request, session=session)))
            while (response := self._buffer.next_response()) is None:
                octets = await self._receive()
                if not octets:
                    raise InquiryError(f"{self._where} ended the connection without an answer")
                self._buffer.receive_data(octets)
        if response.session != session:
            raise InquiryError(f"{self._where} answered another request ({response.session.hex()})")
        if response.command != request.command + 1:
            raise InquiryError(f"{self._where} answered by command {response.command}")
        return Reply(
            status=response.status,
            roles=response.roles or (),
            ttl=response.ttl_seconds,
            certificate=response.certificate,
            server_certificate=self.server_certificate,
            tls=self._tls.get_protocol_version_name(),
            cipher=self._tls.get_cipher_name() or "",
        )

    async def _send(self, octets: bytes) -> None:
        while octets:
            try:
                octets = octets[self._tls.send(octets) :]
            except SSL.WantWriteError:
                await wait_writable(self._socket)
            except SSL.WantReadError:
                await wait_readable(self._socket)

    async def _receive(self) -> bytes:
        while True:
            try:
                return self._tls.recv(READ_BYTES)
            except SSL.WantReadError:
                await wait_readable(self._socket)
            except SSL.WantWriteError:
                await wait_writable(self._socket)
            except SSL.ZeroReturnError:
                return b""


@asynccontextmanager
async def connect(
    host: str,
    port: int = DEFAULT_PORT,
    *,
    timeout_seconds: float = 5,
    tls_profile: ClientProfile = "legacy",
) -> AsyncIterator[Inquiry]:
    """Connect to a TVS and shake hands; whatever certificate it shows is taken.

    ``timeout_seconds`` bounds connecting with the handshake, and each question. The legacy profile
    reaches old servers as well as new ones. Raises :class:`InquiryError`.
    """
    where = f"TVS {host} port {port}"
    with _bounded(where, timeout_seconds):
        try:
            stream = await trio.open_tcp_stream(host, port)
        except UnicodeError:  # of IDNA, and no OSError
            raise InquiryError(f"{where} cannot be reached: not a host name") from None
    family, kind = stream.socket.family, stream.socket.type
    with socket.socket(family, kind, fileno=stream.socket.detach()) as connected:
        tls = SSL.Connection(client_context(tls_profile), connected)
        tls.set_connect_state()
        with _bounded(where, timeout_seconds):
            await _handshake(tls, connected)
        bound_asides(tls)
        try:
            yield Inquiry(connected, tls, where, timeout_seconds)
        finally:
            with suppress(SSL.Error):
                tls.shutdown()


async def query(
    host: str,
    port: int = DEFAULT_PORT,
    *,
    subject: str,
    issuer: str,
    serial: bytes,
    device: str = DEFAULT_DEVICE,
    timeout_seconds: float = 5,
    tls_profile: ClientProfile = "legacy",
) -> Reply:
    """Connect, ask one query, leave. Raises :class:`InquiryError` or :class:`MessageError`."""
    async with connect(
        host, port, timeout_seconds=timeout_seconds, tls_profile=tls_profile
    ) as inquiry:
        return await inquiry.query(subject=subject, issuer=issuer, serial=serial, device=device)


async def verify(
    host: str,
    port: int = DEFAULT_PORT,
    *,
    certificate: bytes,
    device: str = DEFAULT_DEVICE,
    timeout_seconds: float = 5,
    tls_profile: ClientProfile = "legacy",
) -> Reply:
    """Connect, ask one verify, leave. Raises :class:`InquiryError` or :class:`MessageError`."""
    async with connect(
        host, port, timeout_seconds=timeout_seconds, tls_profile=tls_profile
    ) as inquiry:
        return await inquiry.verify(certificate=certificate, device=device)


async def _handshake(tls: SSL.Connection, connected: socket.socket) -> None:
    while True:
        try:
            tls.do_handshake()
        except SSL.WantReadError:
            await wait_readable(connected)
        except SSL.WantWriteError:
            await wait_writable(connected)
        else:
            return


@contextmanager
def _bounded(where: str, timeout_seconds: float) -> Iterator[None]:
    """Bound a wait, and turn what can go wrong with a peer into :class:`InquiryError`."""
    try:
        with trio.fail_after(timeout_seconds):
            yield
    except trio.TooSlowError:
        raise InquiryError(f"{where} did not answer within {timeout_seconds:g} s") from None
    except SSL.SysCallError as error:
        raise InquiryError(f"{where}: {error.args[-1]}") from None
    except SSL.Error as error:
        raise InquiryError(f"{where} does not speak our TLS: {openssl_reason(error)}") from None
    except OSError as error:
        raise InquiryError(f"{where} cannot be reached: {error}") from None
