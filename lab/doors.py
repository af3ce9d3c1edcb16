"""The ports of TVS: what listens, who shows which certificate, and who answers from the plane.

With more than one worker each has sockets of its own on the same ports (SO_REUSEPORT), so that the
kernel deals connections out; the other workers are processes that look at the trust store for
themselves. Nothing else is shared: no TLS session is ever resumed.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import trio
from OpenSSL import SSL

from conf.settings import Settings
from lab.events import Reader
from lab.plane import TrustPlane
from lab.sockets import TCP_BACKLOG, PortError, listen_tcp
from tvs.server import Counters, serve_tvs
from tvs.tls import Profile, identity_warnings

if TYPE_CHECKING:
    from lab.scenarios.mischief import Mischief


@dataclass(frozen=True)
class Door:
    """One port of TVS: its TLS profile, and a listening socket for each worker."""

    profile: Profile
    listeners: tuple[trio.SocketListener, ...]


async def open_doors(settings: Settings, inherited: socket.socket | None = None) -> list[Door]:
    """Listen on the ports of ``settings``; an ``inherited`` socket stands for the first one.

    Raises :class:`~lab.sockets.PortError`.
    """
    tvs, address = settings.tvs, settings.serve.address
    if inherited is None:
        listeners = await _listen(address, tvs.port, tvs.workers)
    else:
        listeners = tuple(_listener(inherited.dup()) for _ in range(tvs.workers))
        inherited.close()
    doors = [Door(tvs.profile, listeners)]
    if tvs.legacy_port:
        doors.append(Door("legacy", await _listen(address, tvs.legacy_port, tvs.workers)))
    return doors


def warn(plane: TrustPlane, doors: Sequence[Door], report: Reader) -> None:
    """Report what an administrator should know at the start: legacy TLS, expiring identities."""
    for door in doors:
        if door.profile == "legacy":
            where = door.listeners[0].socket.getsockname()
            report(
                {
                    "event": "tvs.legacy_tls",
                    "outcome": "warning",
                    "reason": f"port {where[1]} takes TLS 1.0, RSA key exchange, AES-CBC-SHA, "
                    "RSA-1024 and SHA-1: for phones that know nothing better",
                }
            )
    for name, der in plane.node.own.certificates.items():
        for words in identity_warnings(der, datetime.now(UTC)):
            report(
                {
                    "event": "identity.expiry",
                    "outcome": "warning",
                    "reason": f"{name}: {words}",
                }
            )


async def serve_doors(
    doors: Sequence[Door],
    plane: TrustPlane,
    *,
    worker: int,
    report: Reader,
    stop: trio.Event,
    counters: Counters | None = None,
    mischief: "Mischief | None" = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer at each door's listener of this ``worker``, as the plane's settings then say.

    ``counters`` counts for all doors together; ``mischief`` makes TVS misbehave on purpose.
    """
    async with trio.open_nursery() as nursery:
        for door in doors:
            await nursery.start(
                partial(
                    serve_tvs,
                    [door.listeners[worker]],
                    context=partial(_context, plane, door.profile),
                    snapshot=lambda: plane.snapshot,
                    policy=lambda: plane.policy,
                    report=report,
                    limits=lambda: plane.tvs_limits,
                    drain_seconds=plane.settings.serve.drain_seconds,
                    stop=stop,
                    counters=counters,
                    reply_policy=mischief.tvs_answer if mischief else None,
                    context_policy=mischief.context if mischief else None,
                )
            )
        task_status.started()


def _context(plane: TrustPlane, profile: Profile) -> SSL.Context:
    return plane.contexts[profile]


async def _listen(address: str, port: int, workers: int) -> tuple[trio.SocketListener, ...]:
    first = await listen_tcp("TVS", address, port)
    if workers == 1:
        return tuple(first)
    # the first one has shown that the port is free; now it is made anew, to be shared
    port = first[0].socket.getsockname()[1]
    for listener in first:
        listener.socket.close()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return tuple(
            _listener(
                socket.create_server(
                    (address, port), family=family, backlog=TCP_BACKLOG, reuse_port=True
                )
            )
            for _ in range(workers)
        )
    except OSError as error:
        raise PortError("TVS", address, port, error) from None


def _listener(listening: socket.socket) -> trio.SocketListener:
    return trio.SocketListener(trio.socket.from_stdlib_socket(listening))
