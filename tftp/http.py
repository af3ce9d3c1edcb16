"""The catalog over HTTP and HTTPS, where newer phones ask first (ports 6970 and 6971).

Single byte ranges, HEAD, ETag with If-None-Match and If-Range (RFC 9110). The connections are in
:mod:`tftp.http_server`.
"""

import hashlib
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from conf.addresses import address_text
from tftp import TftpError
from tftp.admission import Find, ReplyPolicy
from tftp.content import BROKEN, Content, ErrorReply, Later
from tftp.engine import Report
from tftp.flow import device_of
from tftp.http_server import HttpServer, Wire
from tftp.making import made, threads
from tftp.packets import MAX_NAME, ErrorCode

PIECE_BYTES = 64 * 1024
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII | re.IGNORECASE)
_STATUS = {ErrorCode.NOT_FOUND: 404, ErrorCode.ACCESS_VIOLATION: 403}
_UNAVAILABLE = 503
_NOT_ALLOWED = ErrorReply(ErrorCode.ILLEGAL_OPERATION, "only GET and HEAD are answered")
_NOT_HTTP_1 = ErrorReply(ErrorCode.ILLEGAL_OPERATION, "only HTTP/1 is spoken")
_NO_TARGET = ErrorReply(ErrorCode.ILLEGAL_OPERATION, "the request's target is no URI")
_TOO_LONG = ErrorReply(ErrorCode.ILLEGAL_OPERATION, f"a name has at most {MAX_NAME} octets")


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

    ``identity`` is a PEM file with private key and certificates, for HTTPS, read again when it
    changed. ``report`` gets an event for each request. After ``stop`` open requests have
    ``drain_seconds``. Raises OSError if the identity cannot be used.
    """
    scheme = "http" if identity is None else "https"
    page = _Page(find, report, reply_policy, scheme, threads())
    server = HttpServer(page, identity=identity, report=report)
    await server.run(listening, stop=stop, drain_seconds=drain_seconds, task_status=task_status)


class _Asked:
    """A request: the name it asks for (if it is a ``valid`` one), by whom, since when."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.started = time.monotonic()
        path = request.scope["path"]
        self.valid = True
        try:
            # RFC 9112 section 3.2.2: a server takes the absolute form as well
            path = path if path.startswith("/") else urlsplit(path).path
        except ValueError:
            self.valid = False
        self.name = path.removeprefix("/")
        self.wire: Wire = request.scope["state"]["wire"]
        self.host, self.port = request.client or ("", 0)

    def event(
        self, event: str, outcome: str, reason: str, status: int, octets: int
    ) -> dict[str, object]:
        """What is reported of it."""
        return {
            "event": event,
            "device": device_of(self.name),
            "peer": address_text(self.host, self.port),
            "outcome": outcome,
            "reason": reason,
            "milliseconds": round((time.monotonic() - self.started) * 1000, 1),
            "file": self.name[:MAX_NAME],
            "bytes": octets,
            "status": status,
        }


@dataclass(frozen=True)
class _Page:
    """Every path is a name of the catalog; an ASGI application."""

    find: Find
    report: Report
    reply_policy: ReplyPolicy | None
    scheme: str
    making: trio.CapacityLimiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        asked = _Asked(Request(scope))
        try:
            response = await self._answer(asked)
        except Exception as error:  # noqa: BLE001  the server beneath would say nothing of it
            response = self._refused(asked, 500, BROKEN, why=f"{type(error).__name__}: {error}")
        if {"transfer-encoding", "content-length"} <= set(asked.request.headers):
            # RFC 9112 section 6.1: two lengths may be two requests to somebody on the way
            response.headers["connection"] = "close"
        await response(scope, receive, send)

    async def _answer(self, asked: _Asked) -> Response:
        if not asked.request.scope["http_version"].startswith("1."):
            return self._refused(asked, 505, _NOT_HTTP_1)  # the preface of HTTP/2 comes here
        if not asked.valid:
            return self._refused(asked, 400, _NO_TARGET)
        if asked.request.method not in {"GET", "HEAD"}:
            return self._refused(asked, 405, _NOT_ALLOWED, {"allow": "GET, HEAD"})
        if len(asked.name.encode()) > MAX_NAME:
            return self._refused(asked, 414, _TOO_LONG)
        answer = self.find(asked.name, asked.host)
        found = self.reply_policy(asked.name, asked.host, answer) if self.reply_policy else answer
        if isinstance(found, Later):
            found = await made(found, self.making)
        if found is None or isinstance(found, Later):
            found = ErrorReply(ErrorCode.UNDEFINED, "no answer")
        if isinstance(found, ErrorReply):
            return self._refused(asked, _STATUS.get(found.code, _UNAVAILABLE), found)
        return self._content(asked, found)

    def _refused(
        self,
        asked: _Asked,
        status: int,
        reply: ErrorReply,
        headers: dict[str, str] | None = None,
        *,
        why: str = "",
    ) -> Response:
        event = asked.event(f"{self.scheme}.error", reply.code.words, why or reply.text, status, 0)
        self.report(event | {"expected": reply.expected})
        return Response(f"{reply.text}\n", status, headers, "text/plain")

    def _content(self, asked: _Asked, content: Content) -> Response:
        request = asked.request
        tag = f'"{hashlib.sha256(repr(content.key).encode()).hexdigest()[:32]}"'
        headers = {"etag": tag, "accept-ranges": "bytes"}
        wanted = _wanted(request, content.size, tag)
        if _is_known(request, tag) or wanted is None:
            content.close()
            status = 416 if wanted is None else 304
            if wanted is None:
                headers["content-range"] = f"bytes */{content.size}"
            self.tell(asked, status, 0)
            return Response(status_code=status, headers=headers)
        first, past, status = wanted
        headers["content-length"] = str(past - first)
        if status == 206:  # noqa: PLR2004  partial content
            headers["content-range"] = f"bytes {first}-{past - 1}/{content.size}"
        kind = "text/xml" if asked.name.endswith(".xml") else "application/octet-stream"
        if request.method == "HEAD":
            content.close()
            self.tell(asked, status, 0)
            return Response(b"", status, headers, kind)
        return _Body(self, asked, content, (first, past), Response(b"", status, headers, kind))

    def tell(
        self, asked: _Asked, status: int, octets: int, problem: tuple[str, str] = ("", "")
    ) -> None:
        """Report an answer; ``problem`` is an outcome and why, of one that did not get through."""
        outcome, reason = problem
        self.report(
            asked.event(
                f"{self.scheme}.transfer",
                outcome or "done",
                reason or f"status {status}",
                status,
                octets,
            )
        )


class _Body(Response):
    """The octets of ``content`` from the first of ``span`` to before its second, in pieces.

    Starlette's own streaming response listens for the client beside sending, and hypercorn then
    does not close a connection the client wanted closed.
    """

    def __init__(
        self, page: _Page, asked: _Asked, content: Content, span: tuple[int, int], head: Response
    ) -> None:
        super().__init__(b"", head.status_code)
        self.raw_headers = head.raw_headers
        self._page = page
        self._asked = asked
        self._content = content
        self._span = span

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; what was read is what is told."""
        del scope, receive
        at, past = self._span
        wire = self._asked.wire
        problem = ("gone", "the client took no more")
        start = {"status": self.status_code, "headers": self.raw_headers}
        try:
            await send({"type": "http.response.start", **start})
            more = True
            while more and not wire.broken:
                octets = self._content.read(at, min(PIECE_BYTES, past - at))
                at += len(octets)
                more = at < past
                await send({"type": "http.response.body", "body": octets, "more_body": more})
            if not wire.broken:
                problem = ("", "")
        except (TftpError, OSError) as error:
            # too late for another status: hypercorn ends the connection before the length it told
            problem = ("failed", str(error))
        finally:
            self._content.close()
            self._page.tell(self._asked, self.status_code, at - self._span[0], problem)


def _is_known(request: Request, tag: str) -> bool:
    """Whether the client has it already (If-None-Match, RFC 9110 section 13.1.2)."""
    given = ",".join(request.headers.getlist("if-none-match")).split(",")
    return any(each.strip().removeprefix("W/") in {tag, "*"} for each in given)


def _wanted(request: Request, size: int, tag: str) -> tuple[int, int, int] | None:
    """First octet, the one after the last, and the status; None if a range lies outside.

    What is no single range is passed over, as RFC 9110 section 14.2 allows, and any with HEAD, as
    it demands.
    """
    everything = (0, size, 200)
    given = _RANGE.fullmatch(request.headers.get("range", ""))
    if given is None or request.method != "GET" or request.headers.get("if-range", tag) != tag:
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
