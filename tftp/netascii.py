"""netascii, both ways (RFC 764): LF is CR LF on the wire, a bare CR is CR NUL."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

from tftp.content import Content, ErrorReply, Later, Octets, whole
from tftp.packets import ErrorCode

MOST_OCTETS = 1024 * 1024  # of a file that is translated: phones ask in octet mode
KEPT_OCTETS = 4 * 1024 * 1024
WHILE_SECONDS = 10.0  # longer than a transfer that nobody answers
OCTETS_IN_A_WHILE = 16 * 1024 * 1024
_BUSY = ErrorReply(ErrorCode.UNDEFINED, "the server is busy: much text was asked for just now")
_TOO_LARGE = ErrorReply(ErrorCode.UNDEFINED, "too large for netascii; ask in octet mode")


def to_netascii(octets: bytes) -> bytes:
    """Local text (lines end in LF) as it goes over the wire."""
    return octets.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")


class Translations:
    """Files as they go over the wire, kept up to ``KEPT_OCTETS``, for all who ask for the same.

    Transfers hold what they send, so what may be translated in a while is bounded as well.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = 0.0
        self._octets = 0  # translated since
        self._kept: OrderedDict[Hashable, Octets] = OrderedDict()
        self._lock = Lock()

    def of(self, content: Content) -> Octets | ErrorReply | Later:
        """The translation of ``content``, which is closed; made in a thread the first time."""
        if content.size > MOST_OCTETS:
            content.close()
            return _TOO_LARGE
        ready = self._kept.get(content.key)
        if ready is None:
            return Later(lambda: self._make(content))
        content.close()
        return ready

    def _make(self, content: Content) -> Octets | ErrorReply:
        with self._lock:
            ready = self._kept.get(content.key)
            if ready is not None or not self._may(content.size):
                content.close()
                return ready or _BUSY
            octets = to_netascii(whole(content))
            made = Octets(octets, key=(content.key, "netascii"), modified=content.modified)
            self._kept[content.key] = made
            while sum(each.size for each in self._kept.values()) > KEPT_OCTETS:
                self._kept.popitem(last=False)
            return made

    def _may(self, octets: int) -> bool:
        now = self._clock()
        if now - self._since > WHILE_SECONDS:
            self._since, self._octets = now, 0
        self._octets += octets
        return self._octets <= OCTETS_IN_A_WHILE


class FromNetascii:
    """Turns what comes over the wire into local text, cut anywhere; ``deliver`` gets the result."""

    def __init__(self, deliver: Callable[[bytes], None]) -> None:
        self._deliver = deliver
        self._pending = b""

    def __call__(self, octets: bytes) -> None:
        """Take the next octets; a CR at their end waits for what follows."""
        octets = self._pending + octets
        self._pending = b"\r" if octets.endswith(b"\r") else b""
        if self._pending:
            octets = octets[:-1]
        self._deliver(octets.replace(b"\r\n", b"\n").replace(b"\r\0", b"\r"))

    def finish(self) -> None:
        """The end: a CR that waited is delivered as it is."""
        if self._pending:
            self._deliver(self._pending)
            self._pending = b""
