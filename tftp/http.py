"""The catalog over HTTP and HTTPS, where newer phones ask first (ports 6970 and 6971).

Served by hypercorn on trio. Single byte ranges, HEAD, ETag with If-None-Match and If-Range (RFC
9110).
"""

import hashlib
import os
import re
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tftp import TftpError
from tftp.admission import Find, ReplyPolicy
from tftp.content import Content, ErrorReply, Later
from tftp.engine import Report
from tftp.flow import device_of
from tftp.packets import ErrorCode
from tftp.sockets import peer_text

PIECE_BYTES = 64 * 1024
IDLE_SECONDS = 15.0
READ_SECONDS = 15
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_STATUS = {ErrorCode.NOT_FOUND: 404, ErrorCode.ACCESS_VIOLATION: 403}
_UNAVAILABLE = 503


async def serve_http(
    listening: socket.socket,
    *,
    find: Find,
    report: Report,
    identity: Path | None = None,
    reply_policy: ReplyPolicy | None = None,
    stop: trio.Event,
    drain_seconds: float = 2.0,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve what ``find`` answers on a listening socket, which is owned and closed.

    ``identity`` is a PEM file with private key and certificates, for HTTPS. ``report`` gets an
    event for each request. After ``stop`` open requests have ``drain_seconds``.
    """
    config = Config()
    config.bind = [f"fd://{os.dup(listening.fileno())}"]
    listening.close()
    config.keep_alive_timeout = IDLE_SECONDS
    config.read_timeout = READ_SECONDS  # whole seconds, by hypercorn's type
    config.graceful_timeout = drain_seconds
    config.include_server_header = False
    config.alpn_protocols = ["http/1.1"]
    config.accesslog = None
    config.errorlog = None
    if identity is not None:
        config.certfile = config.keyfile = str(identity)
    page = _Page(find, report, reply_policy, "http" if identity is None else "https")
    app = Starlette(routes=[Route("/{name:path}", page.answer, methods=["GET", "HEAD"])])

    async with trio.open_nursery() as nursery:
        await nursery.start(_serve, app, config, stop.wait)
        task_status.started()


async def _serve(
    app: Starlette,
    config: Config,
    stopped: Callable[[], Awaitable[None]],
    *,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    # hypercorn takes any ASGI application; its type names its own messages only
    await serve(app, config, shutdown_trigger=stopped, task_status=task_status)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Page:
    """Every path is a name of the catalog."""

    find: Find
    report: Report
    reply_policy: ReplyPolicy | None
    scheme: str

    async def answer(self, request: Request) -> Response:
        """GET or HEAD of one name."""
        started = time.monotonic()
        name = request.path_params["name"]
        host = request.client.host if request.client else "127.0.0.1"
        answer = self.find(name, host)
        found = self.reply_policy(name, host, answer) if self.reply_policy else answer
        if isinstance(found, Later):
            found = await _made(found)
        if found is None or isinstance(found, Later):
            found = ErrorReply(ErrorCode.UNDEFINED, "no answer")
        if isinstance(found, ErrorReply):
            status = _STATUS.get(found.code, _UNAVAILABLE)
            self._tell(request, started, status, 0, found)
            return Response(f"{found.text}\n", status, media_type="text/plain")
        return self._content(request, found, started)

    def _content(self, request: Request, content: Content, started: float) -> Response:
        tag = f'"{hashlib.sha256(repr(content.key).encode()).hexdigest()[:32]}"'
        headers = {"etag": tag, "accept-ranges": "bytes"}
        if tag in request.headers.get("if-none-match", ""):
            content.close()
            self._tell(request, started, 304, 0)
            return Response(status_code=304, headers=headers)
        wanted = _wanted(request, content.size, tag)
        if wanted is None:
            content.close()
            self._tell(request, started, 416, 0)
            return Response(status_code=416, headers={"content-range": f"bytes */{content.size}"})
        first, past, status = wanted
        if status == 206:  # noqa: PLR2004  partial content
            headers["content-range"] = f"bytes {first}-{past - 1}/{content.size}"
        headers["content-length"] = str(past - first)
        kind = "text/xml" if request.path_params["name"].endswith(".xml") else None
        kind = kind or "application/octet-stream"
        if request.method == "HEAD":
            content.close()
            self._tell(request, started, status, 0)
            return Response(b"", status, headers, kind)

        def told(octets: int) -> None:
            self._tell(request, started, status, octets)

        return _Body(content, (first, past), told=told, status=status, headers=headers, kind=kind)

    def _tell(
        self,
        request: Request,
        started: float,
        status: int,
        octets: int,
        refused: ErrorReply | None = None,
    ) -> None:
        name = request.path_params["name"]
        event: dict[str, object] = {
            "event": f"{self.scheme}.transfer" if refused is None else f"{self.scheme}.error",
            "device": device_of(name),
            "peer": peer_text((request.client.host, request.client.port))
            if request.client
            else None,
            "outcome": "done" if refused is None else refused.code.name.lower().replace("_", " "),
            "reason": f"status {status}" if refused is None else refused.text,
            "milliseconds": round((time.monotonic() - started) * 1000, 1),
            "file": name,
            "bytes": octets,
            "status": status,
        }
        if refused is not None:
            event["expected"] = refused.expected
        self.report(event)


class _Body(Response):
    """The octets of ``content`` from the first of ``span`` to before its second, in pieces.

    Starlette's own streaming response listens for the client beside sending, and hypercorn then
    does not close a connection the client wanted closed.
    """

    def __init__(
        self,
        content: Content,
        span: tuple[int, int],
        *,
        told: Callable[[int], None],
        status: int,
        headers: dict[str, str],
        kind: str,
    ) -> None:
        super().__init__(b"", status, headers, kind)
        self._content = content
        self._span = span
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; what was read is what is told."""
        del scope, receive
        at, past = self._span
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            more = True
            while more:
                octets = self._content.read(at, min(PIECE_BYTES, past - at))
                at += len(octets)
                more = at < past
                await send({"type": "http.response.body", "body": octets, "more_body": more})
        finally:
            self._content.close()
            self._told(at - self._span[0])


async def _made(later: Later) -> Content | ErrorReply:
    try:
        return await trio.to_thread.run_sync(later.make)
    except (TftpError, OSError) as error:
        return ErrorReply(ErrorCode.UNDEFINED, f"could not be made: {error}")


def _wanted(request: Request, size: int, tag: str) -> tuple[int, int, int] | None:
    """First octet, the one after the last, and the status; None if a range lies outside.

    What is no single range is passed over, as RFC 9110 section 14.2 allows.
    """
    everything = (0, size, 200)
    given = _RANGE.fullmatch(request.headers.get("range", ""))
    if given is None or request.headers.get("if-range", tag) != tag:
        return everything
    first, last = given.groups()
    if not first:
        if not last:
            return everything
        return (max(0, size - int(last)), size, 206) if int(last) and size else None
    if last and int(last) < int(first):
        return everything
    if int(first) >= size:
        return None
    return int(first), min(size, int(last) + 1) if last else size, 206
