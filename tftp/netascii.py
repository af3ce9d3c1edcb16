"""netascii, both ways (RFC 764): LF is CR LF on the wire, a bare CR is CR NUL."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from weakref import WeakValueDictionary

from tftp.content import Content, ErrorReply, Later, Octets, whole
from tftp.packets import ErrorCode

MOST_OCTETS = 1024 * 1024  # of a file that is translated: phones ask in octet mode
KEPT_OCTETS = 4 * 1024 * 1024
_TOO_LARGE = ErrorReply(ErrorCode.UNDEFINED, "too large for netascii; ask in octet mode")


def to_netascii(octets: bytes) -> bytes:
    """Local text (lines end in LF) as it goes over the wire."""
    return octets.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")


class Translations:
    """Files as they go over the wire: one copy of each, however many ask for it at once.

    What no transfer uses any more is kept up to ``KEPT_OCTETS``.
    """

    def __init__(self) -> None:
        self._used: WeakValueDictionary[Hashable, Octets] = WeakValueDictionary()
        self._kept: OrderedDict[Hashable, Octets] = OrderedDict()
        self._lock = Lock()

    def of(self, content: Content) -> Octets | ErrorReply | Later:
        """The translation of ``content``, which is closed; made in a thread the first time."""
        if content.size > MOST_OCTETS:
            content.close()
            return _TOO_LARGE
        ready = self._used.get(content.key)
        if ready is None:
            return Later(lambda: self._make(content))
        content.close()
        return ready

    def _make(self, content: Content) -> Octets:
        with self._lock:
            ready = self._used.get(content.key)
            if ready is not None:
                content.close()
                return ready
            octets = to_netascii(whole(content))
            made = Octets(octets, key=(content.key, "netascii"), modified=content.modified)
            self._used[content.key] = self._kept[content.key] = made
            while sum(each.size for each in self._kept.values()) > KEPT_OCTETS:
                self._kept.popitem(last=False)
            return made


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
