"""Whose turn it is: connections that can go on, taken one step at a time, address by address.

A connection is a coroutine that says what it waits for. One trio task drives all of them from one
epoll, where each is registered once: a task for each, and trio's own waits, cost a third of a
connection with a full RSA handshake (measured). A step (one flight of a handshake, one request)
cannot be interrupted; after it, every other address with something to do has a step first.
"""

import heapq
import select
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from itertools import count
from time import perf_counter
from types import coroutine
from typing import TypeAlias

import trio

READABLE, WRITABLE, OTHERS_FIRST = select.EPOLLIN, select.EPOLLOUT, 0
SLICE_SECONDS = 0.02  # then the rest of the process has its turn
_EVENTS_AT_ONCE = 1024

Wanted: TypeAlias = int | float
Work: TypeAlias = Coroutine[Wanted, None, None]


@coroutine
def wait_for(wanted: Wanted) -> Generator[Wanted, None, None]:
    """Wait, within a coroutine of :class:`Turns`.

    READABLE and WRITABLE wait for the socket, OTHERS_FIRST until the others had their turn, a
    float waits so many seconds, whatever the socket does.
    """
    yield wanted


@dataclass(slots=True, eq=False)
class Turn:
    """A connection's place: its coroutine, and what the epoll watches its socket for."""

    descriptor: int
    address: str
    work: Work
    watched: int = 0
    queued: bool = False
    over: bool = False


@dataclass(slots=True, order=True)
class _Pause:
    until: float
    number: int
    turn: Turn = field(compare=False)


class Turns:
    """Runs the coroutines of connections; :meth:`run` is the task that does it.

    ``pause`` is called whenever nobody has a turn for a moment, at the latest after SLICE_SECONDS:
    for what can wait so long, and is cheaper when done for many at once.
    """

    def __init__(self, pause: Callable[[], None]) -> None:
        self._pause = pause
        self._epoll = select.epoll()
        self._open: dict[int, Turn] = {}
        self._ready: dict[str, deque[Turn]] = {}  # the address whose turn it is comes first
        self._pauses: list[_Pause] = []
        self._numbers = count()
        self._last_gone = trio.Event()

    def begin(self, turn: Turn) -> None:
        """Start ``turn``'s coroutine, up to its first wait."""
        self._open[turn.descriptor] = turn
        self._step(turn)

    def throw(self, turn: Turn, error: Exception) -> None:
        """Raise ``error`` where ``turn``'s coroutine waits; it is to end there."""
        if not turn.over:
            self._resume(turn, error)

    async def run(self) -> None:
        """Give everybody their turns, until cancelled."""
        while True:
            until = perf_counter() + SLICE_SECONDS
            while self._gather():
                while self._ready:
                    self._step(self._next())
                    if perf_counter() >= until:
                        self._pause()
                        await trio.lowlevel.checkpoint()
                        until = perf_counter() + SLICE_SECONDS
                        break
            self._pause()
            await self._wait()

    async def gone(self) -> None:
        """Wait until no connection is left."""
        while self._open:
            self._last_gone = trio.Event()
            await self._last_gone.wait()

    def close(self) -> None:
        """End every connection where it is."""
        for turn in tuple(self._open.values()):
            turn.work.close()
            self._forget(turn)
        self._pause()
        self._epoll.close()

    async def _wait(self) -> None:
        """Until a socket is ready or a pause is over."""
        until = self._pauses[0].until if self._pauses else None
        if until is None:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
        else:
            with trio.move_on_at(until):
                await trio.lowlevel.wait_readable(self._epoll.fileno())

    def _gather(self) -> bool:
        """Queue everybody who can go on; whether anybody can."""
        for descriptor, _ in self._epoll.poll(0, _EVENTS_AT_ONCE):
            turn = self._open.get(descriptor)
            # A process that is being started holds a closed socket open for a moment.
            if turn is not None and not turn.queued:
                self._queue(turn)
        while self._pauses and self._pauses[0].until <= trio.current_time():
            turn = heapq.heappop(self._pauses).turn
            if not turn.over:
                self._queue(turn)
        return bool(self._ready)

    def _queue(self, turn: Turn) -> None:
        turn.queued = True
        queue = self._ready.get(turn.address)
        if queue is None:
            self._ready[turn.address] = deque((turn,))
        else:
            queue.append(turn)

    def _next(self) -> Turn:
        """Take the next turn out; its address comes again after all the others."""
        address = next(iter(self._ready))
        queue = self._ready.pop(address)
        turn = queue.popleft()
        if queue:
            self._ready[address] = queue
        turn.queued = False
        return turn

    def _step(self, turn: Turn) -> None:
        if not turn.over:
            self._resume(turn)

    def _resume(self, turn: Turn, error: Exception | None = None) -> None:
        try:
            wanted = turn.work.throw(error) if error else turn.work.send(None)
        except StopIteration:
            self._forget(turn)
            return
        if isinstance(wanted, float):
            if turn.watched:  # else octets, or a reset, would be told of again and again
                self._watch(turn, 0)
            until = trio.current_time() + wanted
            heapq.heappush(self._pauses, _Pause(until, next(self._numbers), turn))
        elif wanted == OTHERS_FIRST:
            self._queue(turn)
        elif wanted != turn.watched:
            self._watch(turn, wanted)

    def _watch(self, turn: Turn, wanted: int) -> None:
        if not turn.watched:
            self._epoll.register(turn.descriptor, wanted)
        elif wanted:
            self._epoll.modify(turn.descriptor, wanted)
        else:
            self._epoll.unregister(turn.descriptor)
        turn.watched = wanted

    def _forget(self, turn: Turn) -> None:
        """Let go of a turn that has ended and closed its socket."""
        turn.over = True
        del self._open[turn.descriptor]
        if not self._open:
            self._last_gone.set()
