"""Signed forms of files, each made once however many phones ask for it at the same moment."""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable

from tftp.content import ErrorReply, Later, Octets
from tftp.packets import ErrorCode

KEPT_BYTES = 16 * 1024 * 1024
PER_ADDRESS = 4096  # a thousand phones behind one address, each with a few files
WINDOW_SECONDS = 60.0
MAX_ADDRESSES = 65_536

_BUSY = ErrorReply(ErrorCode.UNDEFINED, "too many signatures asked for; try again later")


class SignedFiles:
    """A bounded cache of what takes a signature to make.

    ``per_address`` signatures may be asked for by one address within a minute; what is in the cache
    is free. ``kept_bytes`` bounds the cache. Safe to use from several threads.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        per_address: int = PER_ADDRESS,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self._clock = clock
        self._per_address = per_address
        self._kept_bytes = kept_bytes
        self._bytes = 0
        self._kept: OrderedDict[Hashable, Octets] = OrderedDict()
        # what nobody waits for any more goes, and the open file in it
        self._running: weakref.WeakValueDictionary[Hashable, _Once] = weakref.WeakValueDictionary()
        self._asked: dict[str, int] = {}
        self._window = clock()
        self._lock = threading.Lock()

    def find(
        self, key: Hashable, address: str, make: Callable[[], Octets | ErrorReply]
    ) -> Octets | ErrorReply | Later:
        """What is kept under ``key``, else what will make it; or the refusal to."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                return kept
            running = self._running.get(key)
            if running is None:
                if not self._may_ask(address):
                    return _BUSY
                running = self._running[key] = _Once(lambda: self._work(key, make))
            return Later(running)

    def _may_ask(self, address: str) -> bool:
        now = self._clock()
        if now - self._window > WINDOW_SECONDS or len(self._asked) > MAX_ADDRESSES:
            self._window = now
            self._asked.clear()
        asked = self._asked.get(address, 0) + 1
        self._asked[address] = asked
        return asked <= self._per_address

    def _work(self, key: Hashable, make: Callable[[], Octets | ErrorReply]) -> Octets | ErrorReply:
        try:
            made = make()
            if isinstance(made, Octets):
                self._keep(key, made)
        finally:
            with self._lock:
                self._running.pop(key, None)
        return made

    def _keep(self, key: Hashable, made: Octets) -> None:
        with self._lock:
            self._kept[key] = made
            self._bytes += made.size
            while self._bytes > self._kept_bytes and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].size


class _Once:
    """Calls ``work`` at the first call; every caller gets its result, or its exception."""

    def __init__(self, work: Callable[[], Octets | ErrorReply]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._result: Octets | ErrorReply | None = None
        self._error: Exception | None = None

    def __call__(self) -> Octets | ErrorReply:
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._result is None:
                try:
                    self._result = self._work()
                except Exception as error:
                    self._error = error
                    raise
            return self._result
