"""Connections to the catalog over HTTP and HTTPS: how many, how long, under which identity.

HTTP itself is hypercorn's, one of its servers for each connection; what it leaves open is closed
here: connections are counted, a client that takes nothing is let go, a certificate is read again
when it was renewed, and whatever goes wrong in one connection stays there.
"""

import socket
import ssl
import time
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from starlette.types import ASGIApp

from conf.addresses import address_text
from tftp.content import file_key
from tftp.engine import Report

IDLE_SECONDS = 15.0  # for a request to arrive whole, and between two
READ_SECONDS = 15
WRITE_SECONDS = 15.0  # for a piece of an answer to be taken
HANDSHAKE_SECONDS = 10.0
MAX_CONNECTIONS = 4096
MAX_PER_ADDRESS = 2048  # a site's phones may sit behind one address


class Wire(trio.abc.HalfCloseableStream):
    """A connection's octets; ``broken`` once the client is gone, or took nothing for too long."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.socket = stream.socket
        self.broken = False
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As of the stream; BrokenResourceError also for a client that takes nothing."""
        try:
            with trio.fail_after(WRITE_SECONDS):
                await self._stream.send_all(data)
        except (trio.TooSlowError, trio.BrokenResourceError) as error:
            self.broken = True
            raise trio.BrokenResourceError from error

    async def wait_send_all_might_not_block(self) -> None:
        """As of the stream."""
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """As of the stream."""
        await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As of the stream."""
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        """As of the stream."""
        await self._stream.aclose()


class HttpServer:
    """Answers connections with ``page``, whose requests find their :class:`Wire` in their state.

    ``identity`` is a PEM file with private key and certificates, for HTTPS; it is read again
    whenever it changed. Raises OSError (also ssl.SSLError) if it cannot be used.
    """

    def __init__(self, page: ASGIApp, *, identity: Path | None, report: Report) -> None:
        # hypercorn's type names its own messages only
        self._page = ASGIWrapper(page)  # type: ignore[arg-type]
        self._scheme = "http" if identity is None else "https"
        self._report = report
        self._config = Config()
        self._config.keep_alive_timeout = IDLE_SECONDS
        self._config.read_timeout = READ_SECONDS  # whole seconds, by hypercorn's type
        self._config.ssl_handshake_timeout = HANDSHAKE_SECONDS
        self._config.include_server_header = False
        self._config.alpn_protocols = ["http/1.1"]
        self._config.accesslog = self._config.errorlog = None
        self._tls = None if identity is None else _Tls(self._config, identity)
        self._context = WorkerContext(None)
        self._open: Counter[str] = Counter()
        self._told = -1.0

    async def run(
        self,
        listening: socket.socket,
        *,
        stop: trio.Event,
        drain_seconds: float,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve a listening socket, which is owned; after ``stop`` requests are let end."""
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accept = partial(trio.serve_listeners, handler_nursery=connections)
                await accepting.start(accept, self._connected, [listener])
                task_status.started()
                await stop.wait()
                accepting.cancel_scope.cancel()
            await self._context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + drain_seconds

    async def _connected(self, stream: trio.SocketStream) -> None:
        with suppress(OSError):  # a client that is gone has no name any more
            peer = stream.socket.getpeername()
            with self._counted(peer[0]) as accepted:
                if accepted:
                    await self._converse(Wire(stream), address_text(*peer[:2]))
                else:
                    self._refused(peer)

    async def _converse(self, wire: Wire, peer: str) -> None:
        state = ConnectionState({"wire": wire})
        stream = wire if self._tls is None else self._tls.around(wire)
        try:
            await _Conversation(
                self._page,
                self._config,
                self._context,
                state,
                stream,  # type: ignore[arg-type]  # its type knows TLS only, its code both
            ).run()
        except Exception as error:  # noqa: BLE001  of a protocol that is not ours, for this client only
            self._report(
                {
                    "event": f"{self._scheme}.failed",
                    "peer": peer,
                    "outcome": "failed",
                    "reason": f"{type(error).__name__}: {error}",
                }
            )

    @contextmanager
    def _counted(self, host: str) -> Iterator[bool]:
        """Whether one more connection of ``host`` has room; if so it is counted meanwhile."""
        accepted = self._open[host] < MAX_PER_ADDRESS and self._open.total() < MAX_CONNECTIONS
        self._open[host] += accepted
        try:
            yield accepted
        finally:
            self._open[host] -= accepted
            if not self._open[host]:
                del self._open[host]

    def _refused(self, peer: tuple[str, int]) -> None:
        """Told once a second; what is refused is not told one by one."""
        if time.monotonic() - self._told > 1:
            self._told = time.monotonic()
            self._report(
                {
                    "event": f"{self._scheme}.refused_connection",
                    "peer": address_text(*peer[:2]),
                    "outcome": "refused",
                    "reason": f"{self._open[peer[0]]} connections of this address are open, "
                    f"{self._open.total()} in all",
                }
            )


class _Conversation(TCPServer):
    """One connection of HTTP/1.1; once the client has ended it, no other request is waited for."""

    async def _read_data(self) -> None:
        # Whatever alpn_protocols says, hypercorn changes to HTTP/2 for its preface and for
        # Upgrade: h2c; there it keeps whole answers in memory for a client that opens no window.
        protocol = self.protocol.protocol
        protocol._check_protocol = _unchanged  # type: ignore[union-attr, method-assign]  # noqa: SLF001
        await super()._read_data()
        await self.idle_task.stop()


async def _unchanged(request: object) -> None:
    """The protocol stays, whatever ``request`` asks for."""


class _Tls:
    """TLS under the identity of a PEM file, as it is when a client comes."""

    def __init__(self, config: Config, identity: Path) -> None:
        config.certfile = config.keyfile = str(identity)
        self._config = config
        self._identity = identity
        self._seen: Hashable = None
        self._context = self._renewed()

    def around(self, wire: Wire) -> "trio.SSLStream[Wire]":
        """The server's side of TLS on ``wire``; the identity before if the new one is no use."""
        with suppress(OSError):
            self._context = self._renewed()
        return trio.SSLStream(wire, self._context, server_side=True, https_compatible=True)

    def _renewed(self) -> ssl.SSLContext:
        seen = file_key(self._identity.stat())
        if seen == self._seen:
            return self._context
        context = self._config.create_ssl_context()
        assert context is not None  # noqa: S101  there is a certfile
        self._seen = seen
        return context
