"""One file from a TFTP server, over HTTP first where the phone does so. Reads only, never writes.

That current models try HTTP on port 6970 before TFTP is told by https://usecallmanager.nz and shown
by published console logs of 8900 phones. Time-outs and retries of phones are not public.
"""

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

import h11
import trio

from conf.addresses import address_text
from lab import LabError
from tftp import RemoteError, TftpError
from tftp.client import RETRIES, get

FILE_NOT_FOUND = 1  # RFC 1350 section 5
MAX_FILE_BYTES = 8 << 20
MAX_SECONDS = 300.0  # for a whole file that goes on coming
_HTTP_OK = 200


class Transfer(StrEnum):
    """How a request ended."""

    OK = "ok"
    NOT_FOUND = "not found"
    ERROR = "error"
    NO_ANSWER = "no answer"


@dataclass(frozen=True, slots=True)
class FileServer:
    """Where a phone fetches files; ``http_port`` None where only TFTP is tried.

    ``timeout_seconds`` is how long the phone waits while nothing comes; within it a request or ACK
    over TFTP that nobody answers is sent again, at most ``retries`` times in a row.
    """

    host: str
    tftp_port: int
    http_port: int | None
    timeout_seconds: float
    retries: int = RETRIES

    @property
    def where(self) -> str:
        """Where TFTP is asked."""
        return f"tftp {address_text(self.host, self.tftp_port)}"


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of one request; ``data`` only where it ended with OK."""

    name: str
    transport: str
    transfer: Transfer
    data: bytes = b""
    text: str = ""


class HttpError(LabError):
    """An HTTP server that gave no usable answer; the phone goes on with TFTP."""


async def fetch(server: FileServer, name: str) -> Fetched:
    """Ask for ``name``; every failure is a value, since to a phone it is one."""
    if server.http_port is not None:
        try:
            return await _fetch_http(server.host, server.http_port, name, server.timeout_seconds)
        except (HttpError, OSError, UnicodeError):  # the last one: no host name
            pass  # whatever is wrong with HTTP, the phone falls back
    return await _fetch_tftp(server, name)


async def _fetch_tftp(server: FileServer, name: str) -> Fetched:
    with trio.CancelScope(deadline=trio.current_time() + server.timeout_seconds) as silence:

        def heard(*_: object) -> None:
            silence.deadline = trio.current_time() + server.timeout_seconds

        try:
            data = await get(
                server.host,
                server.tftp_port,
                name,
                timeout_seconds=MAX_SECONDS,
                retries=server.retries,
                max_bytes=MAX_FILE_BYTES,
                progress=heard,
            )
        except RemoteError as error:
            transfer = Transfer.NOT_FOUND if error.code == FILE_NOT_FOUND else Transfer.ERROR
            return Fetched(name, "tftp", transfer, text=f"ERROR {error.code}: {error.text}")
        except TftpError as error:
            return Fetched(name, "tftp", Transfer.NO_ANSWER, text=str(error))
        return Fetched(name, "tftp", Transfer.OK, data)
    text = f"nothing heard for {server.timeout_seconds:g} seconds"
    return Fetched(name, "tftp", Transfer.NO_ANSWER, text=text)


async def _fetch_http(host: str, port: int, name: str, timeout_seconds: float) -> Fetched:
    try:
        with trio.fail_after(timeout_seconds):
            async with await trio.open_tcp_stream(host, port) as stream:
                return await _exchange(stream, address_text(host, port), name)
    except trio.TooSlowError:
        raise HttpError("no answer in time") from None
    except (trio.BrokenResourceError, h11.ProtocolError) as error:
        raise HttpError(str(error)) from None


async def _exchange(stream: trio.SocketStream, host: str, name: str) -> Fetched:
    connection = h11.Connection(h11.CLIENT)
    headers = [("Host", host), ("Connection", "close")]
    await stream.send_all(
        (
            connection.send(h11.Request(method="GET", target=f"/{quote(name)}", headers=headers))
            or b""
        )
        + (connection.send(h11.EndOfMessage()) or b"")
    )
    status, body = 0, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some())
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_FILE_BYTES:
                raise HttpError(f"{name}: more than {MAX_FILE_BYTES} octets")
        elif isinstance(event, h11.EndOfMessage):
            break
    if status != _HTTP_OK:
        raise HttpError(f"{name}: HTTP {status}")
    return Fetched(name, "http", Transfer.OK, bytes(body))
