"""netascii, both ways (RFC 764): LF is CR LF on the wire, a bare CR is CR NUL."""

from collections.abc import Callable


def to_netascii(octets: bytes) -> bytes:
    """Local text (lines end in LF) as it goes over the wire."""
    return octets.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")


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
