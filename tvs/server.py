"""Serve TVS on listening sockets: accept, count, start a task for each connection, drain."""

import errno
import resource
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import trio
from OpenSSL import SSL
from trio.lowlevel import checkpoint, wait_readable

from tvs.answers import AnswerPolicy
from tvs.limits import ConnectionLimits
from tvs.service import ContextPolicy, Counters, Deadlines, Reply, ReplyPolicy, Report, Service
from tvs.session import Session
from tvs.snapshot import Snapshot

__all__ = ["Counters", "Reply", "ReplyPolicy", "serve_tvs"]

ACCEPTS_IN_A_ROW = 64
RESERVED_DESCRIPTORS = 64  # what the rest of the process keeps open
DEADLINE_CHECK_SECONDS = 0.2
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_EXHAUSTED_PAUSE_SECONDS = 0.05


async def serve_tvs(
    listeners: Sequence[trio.SocketListener],
    *,
    context: SSL.Context | Callable[[], SSL.Context],
    snapshot: Callable[[], Snapshot],
    policy: AnswerPolicy | Callable[[], AnswerPolicy],
    report: Report,
    handshake_seconds: float = 10,
    request_seconds: float = 5,
    idle_seconds: float = 30,
    write_seconds: float = 5,
    max_connections: int = 16_000,
    max_connections_per_address: int = 12_000,
    max_unfinished_handshakes: int = 3_000,
    max_request_bytes: int = 65_535,
    drain_seconds: float = 2,
    reply_policy: ReplyPolicy | None = None,
    context_policy: ContextPolicy | None = None,
    counters: Counters | None = None,
    stop: trio.Event | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer phones on ``listeners``, which are closed in the end, until ``stop`` or cancelled.

    ``context`` is from :func:`tvs.tls.server_context`, or asked for each connection, so that an
    identity can change; ``snapshot`` and ``policy`` are asked for each answer, ``report`` takes
    each event. ``max_request_bytes`` bounds a request after its header. A connection over a limit
    is closed at once and reported; the open ones are kept, but of more than
    ``max_unfinished_handshakes`` the oldest is dropped. After ``stop`` nothing is accepted, idle
    connections end, the others have ``drain_seconds`` for what they are at. ``reply_policy``
    replaces answers and ``context_policy`` the context by the client's address (None for the true
    one), to misbehave on purpose.

    Started once all listeners accept. Faults of one connection are reported and end only it.
    """
    service = Service(
        context=context if callable(context) else lambda: context,
        snapshot=snapshot,
        policy=policy if callable(policy) else lambda: policy,
        report=report,
        deadlines=Deadlines(handshake_seconds, request_seconds, idle_seconds, write_seconds),
        limits=ConnectionLimits(
            total=min(max_connections, _descriptors_left()), per_address=max_connections_per_address
        ),
        counters=counters or Counters(),
        max_request_bytes=max_request_bytes,
        max_unfinished=max_unfinished_handshakes,
        reply_policy=reply_policy,
        context_policy=context_policy,
    )
    stop = trio.Event() if stop is None else stop
    try:
        async with _deadlines_watched(service), trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(_accept, listener, service, connections)
                task_status.started()
                await stop.wait()
                accepting.cancel_scope.cancel()
            service.stopping = True
            for listener in listeners:
                await listener.aclose()
            for session in tuple(service.sessions):
                session.stop_if_idle()
            connections.cancel_scope.deadline = trio.current_time() + drain_seconds
    finally:
        for listener in listeners:
            listener.socket.close()


@asynccontextmanager
async def _deadlines_watched(service: Service) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch_deadlines, service)
        yield
        nursery.cancel_scope.cancel()


async def _watch_deadlines(service: Service) -> None:
    while True:
        await trio.sleep(DEADLINE_CHECK_SECONDS)
        now = trio.current_time()
        for session in [one for one in service.sessions if one.deadline < now]:
            session.expire()


def _descriptors_left() -> int:
    """How many connections the process may have open, by its own limit of open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 1 << 30
    return max(1, soft - RESERVED_DESCRIPTORS)


async def _accept(
    listener: trio.SocketListener, service: Service, connections: trio.Nursery
) -> None:
    # accept4 on a plain socket that shares the listener's: trio's accept costs a task switch each
    trio_socket = listener.socket
    with socket.fromfd(trio_socket.fileno(), trio_socket.family, trio_socket.type) as listening:
        listening.setblocking(False)  # noqa: FBT003 - the standard library's own signature
        if listening.family in {socket.AF_INET, socket.AF_INET6}:
            # accepted sockets inherit it; an answer is not to wait for the previous one's ACK
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            await wait_readable(listening)
            for _ in range(ACCEPTS_IN_A_ROW):
                try:
                    connected, address = listening.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in _EXHAUSTED:
                        service.report_refusal(peer="", reason=f"cannot accept: {error.strerror}")
                        await trio.sleep(_EXHAUSTED_PAUSE_SECONDS)
                    break  # else the client was gone before it was accepted
                _admit(connected, address, service, connections)
            await checkpoint()


def _admit(
    connected: socket.socket,
    address: tuple[str, int],
    service: Service,
    connections: trio.Nursery,
) -> None:
    host, port = address[:2]
    peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    refusal = service.limits.admit(host)
    if refusal:
        connected.close()
        service.counters.refused += 1
        service.report_refusal(peer=peer, reason=refusal)
        return
    connected.setblocking(False)  # noqa: FBT003 - the standard library's own signature
    service.counters.accepted += 1
    connections.start_soon(Session(service, connected, host, peer).run)
