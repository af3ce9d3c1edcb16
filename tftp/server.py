"""The TFTP service: the engine's lifetime, in trio."""

import socket
from collections.abc import Callable

import trio

from tftp.admission import Admission, Find, Link, ReplyPolicy, Resume
from tftp.content import Content, ErrorReply, Later
from tftp.engine import TICK_SECONDS, Engine, Report
from tftp.frames import KEPT_BYTES, Frames
from tftp.limits import Limits
from tftp.listener import Listener
from tftp.making import made, threads
from tftp.sockets import widen_receive_buffer
from tftp.uploads import Uploads

DEFAULT_LIMITS = Limits()
RECEIVE_BUFFER = 8 * 1024 * 1024


async def serve_tftp(
    sockets: list[socket.socket],
    *,
    find: Find,
    report: Report,
    limits: Limits | Callable[[], Limits] = DEFAULT_LIMITS,
    uploads: Uploads | None = None,
    reply_policy: ReplyPolicy | None = None,
    link: Link | None = None,
    receive_buffer: int = RECEIVE_BUFFER,
    cache_bytes: int = KEPT_BYTES,
    rollover: int = 0,
    stop: trio.Event | None = None,
    drain_seconds: float = 2.0,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve TFTP on bound datagram ``sockets``, which are owned and closed.

    ``find(name, address)`` answers a request; it must not block. ``report`` gets an event for each
    transfer and each refusal. ``limits`` are asked for each request. ``receive_buffer`` octets are
    wanted for each socket: a thousand phones that boot at once are lost in less. ``cache_bytes`` of
    framed content are kept.
    ``rollover`` is the block number after 65535. ``reply_policy`` replaces answers and ``link``
    transfers' sockets, to misbehave on purpose. After ``stop`` running transfers, and requests
    whose content is being made, have ``drain_seconds``.
    """
    engine = Engine(report=report)
    frames = Frames(kept_bytes=cache_bytes, rollover=rollover)
    try:
        async with trio.open_nursery() as nursery:
            limiter = threads()
            busy = trio.lowlevel.ParkingLot()

            def make(later: Later, resume: Resume) -> None:
                nursery.start_soon(_make, later, resume, limiter, busy)

            admission = Admission(
                engine,
                frames,
                find=find,
                make=make,
                limits=limits if callable(limits) else lambda: limits,
                uploads=uploads,
                reply_policy=reply_policy,
                link=link,
            )
            for bound in sockets:
                _widen(bound, receive_buffer, report)
                engine.listen(Listener(bound), admission.admit)
            nursery.start_soon(_drain, engine, busy)
            nursery.start_soon(_sweep, engine, busy)
            task_status.started()
            await (trio.Event() if stop is None else stop).wait()
            engine.stop_listening()
            with trio.move_on_after(drain_seconds):
                await _until_idle(engine, admission)
            nursery.cancel_scope.cancel()
    finally:
        engine.close()
        for bound in sockets:
            bound.close()


async def _drain(engine: Engine, busy: trio.lowlevel.ParkingLot) -> None:
    while True:
        await trio.lowlevel.wait_readable(engine.fileno())
        engine.drain()
        if engine.flows:
            busy.unpark_all()


async def _until_idle(engine: Engine, admission: Admission) -> None:
    while engine.flows or admission.making:  # noqa: ASYNC110  the engine is plain code and knows no trio events
        await trio.sleep(TICK_SECONDS)


async def _sweep(engine: Engine, busy: trio.lowlevel.ParkingLot) -> None:
    """Look at the deadlines while there are any."""
    while True:
        if not engine.flows:
            await busy.park()
        await trio.sleep(TICK_SECONDS)
        engine.sweep()


async def _make(
    later: Later,
    resume: Resume,
    limiter: trio.CapacityLimiter,
    busy: trio.lowlevel.ParkingLot,
) -> None:
    content: Content | ErrorReply | Exception
    try:
        content = await made(later, limiter)
    except Exception as error:  # noqa: BLE001  one request must not end the service for all
        content = error
    resume(content)
    busy.unpark_all()  # it may have begun a transfer


def _widen(bound: socket.socket, wanted: int, report: Report) -> None:
    got = widen_receive_buffer(bound, wanted)
    if got < wanted:
        report(
            {
                "event": "tftp.receive_buffer",
                "device": None,
                "peer": None,
                "outcome": "smaller than wanted",
                "reason": f"sysctl net.core.rmem_max allows {got} octets, {wanted} are wanted: "
                "requests may be lost when many phones boot at once",
                "milliseconds": 0,
                "bytes": got,
                "wanted": wanted,
            }
        )
