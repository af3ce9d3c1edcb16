"""Serve TVS on listening sockets: accept, count, begin a session for each connection, drain."""

import errno
import math
import resource
import socket
from collections.abc import Callable, Iterable, Sequence

import trio
from OpenSSL import SSL
from trio.lowlevel import wait_readable

from tvs.answers import AnswerPolicy
from tvs.limits import Limits, OpenConnections
from tvs.lobby import Guest, Lobby
from tvs.service import ContextPolicy, Counters, Reply, ReplyPolicy, Report, Service
from tvs.session import Session
from tvs.snapshot import Snapshot

__all__ = ["Counters", "Limits", "Reply", "ReplyPolicy", "serve_tvs"]

ACCEPTS_IN_A_ROW = 64
RESERVED_DESCRIPTORS = 64  # what the rest of the process keeps open
DEADLINE_CHECK_SECONDS = 0.2
DEFAULT_LIMITS = Limits()
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_EXHAUSTED_PAUSE_SECONDS = 0.05


async def serve_tvs(
    listeners: Sequence[trio.SocketListener],
    *,
    context: SSL.Context | Callable[[], SSL.Context],
    snapshot: Callable[[], Snapshot],
    policy: AnswerPolicy | Callable[[], AnswerPolicy],
    report: Report,
    limits: Limits | Callable[[], Limits] = DEFAULT_LIMITS,
    drain_seconds: float = 2,
    reply_policy: ReplyPolicy | None = None,
    context_policy: ContextPolicy | None = None,
    counters: Counters | None = None,
    stop: trio.Event | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer phones on ``listeners``, which are closed in the end, until ``stop`` or cancelled.

    ``context`` is from :func:`tvs.tls.server_context`, or asked for each connection, so that an
    identity can change; ``snapshot`` and ``policy`` are asked for each answer, ``limits`` at each
    step of a connection; ``report`` takes each event. A connection over a limit is closed at once
    and reported; the open ones are kept, but for the oldest of too many unfinished handshakes.
    After ``stop`` nothing is accepted, idle connections end, the others have ``drain_seconds`` for
    what they are at. ``reply_policy``
    replaces answers and ``context_policy`` the context by the client's address (None for the true
    one), to misbehave on purpose.

    Started once all listeners accept. Faults of one connection are reported and end only it.
    """
    service = Service(
        context=context if callable(context) else lambda: context,
        snapshot=snapshot,
        policy=policy if callable(policy) else lambda: policy,
        report=report,
        limits=limits if callable(limits) else lambda: limits,
        connections=OpenConnections(_descriptors_left()),
        counters=counters or Counters(),
        reply_policy=reply_policy,
        context_policy=context_policy,
    )
    stop = trio.Event() if stop is None else stop
    lobby = Lobby()
    lobby.start = lambda guest: Session(service, guest).begin()
    try:
        async with trio.open_nursery() as serving:
            serving.start_soon(service.turns.run)
            async with trio.open_nursery() as accepting:
                accepting.start_soon(lobby.run)
                accepting.start_soon(_watch_deadlines, service, lobby)
                for listener in listeners:
                    accepting.start_soon(_accept, listener, service, lobby)
                task_status.started()
                await stop.wait()
                accepting.cancel_scope.cancel()
            service.stopping = True
            for listener in listeners:
                await listener.aclose()
            _send_away(lobby.overdue(math.inf), service)
            for session in tuple(service.sessions):
                session.stop_if_idle()
            # from here on connections have the drain's deadline instead of their own
            with trio.move_on_after(drain_seconds):
                await service.turns.gone()
            serving.cancel_scope.cancel()
    finally:
        service.turns.close()
        _send_away(lobby.overdue(math.inf), service)
        lobby.close()
        for listener in listeners:
            listener.socket.close()


async def _watch_deadlines(service: Service, lobby: Lobby) -> None:
    while True:
        await trio.sleep(DEADLINE_CHECK_SECONDS)
        now = trio.current_time()
        for session in [one for one in service.sessions if one.deadline < now]:
            session.expire()
        late = lobby.overdue(now - service.limits().handshake_seconds)
        for guest in late:
            service.report_problem(
                device=None,
                peer=guest.peer,
                outcome="timed out",
                reason="connected and said nothing"
                if guest.lowat == 1
                else "the hello did not end in time",
                milliseconds=round((now - guest.since) * 1000, 3),
            )
        _send_away(late, service)


def _send_away(guests: Iterable[Guest], service: Service) -> None:
    for guest in guests:
        guest.socket.close()
        service.release(guest.address[0])


def _descriptors_left() -> int:
    """How many connections the process may have open, by its own limit of open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 1 << 30
    return max(1, soft - RESERVED_DESCRIPTORS)


async def _accept(listener: trio.SocketListener, service: Service, lobby: Lobby) -> None:
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
                _admit(connected, address[:2], service, lobby)


def _admit(
    connected: socket.socket, address: tuple[str, int], service: Service, lobby: Lobby
) -> None:
    guest = Guest(connected, address, trio.current_time())
    refusal = service.admit(address[0])
    if refusal:
        connected.close()
        service.report_refusal(peer=guest.peer, reason=refusal)
        return
    connected.setblocking(False)  # noqa: FBT003 - the standard library's own signature
    lobby.admit(guest)
