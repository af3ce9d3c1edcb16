"""What one address and all together may take of a TVS."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What a TVS allows.

    Deadlines in seconds: ``handshake_seconds`` from the accept to the end of the handshake,
    ``request_seconds`` from a request's first octet to its last, ``idle_seconds`` from an answer to
    the next request's first octet, ``write_seconds`` until the peer has taken an answer.
    Connections in all and for each address; of more than ``max_unfinished_handshakes`` the oldest
    is dropped. ``max_request_bytes`` bounds a request after its header.
    """

    handshake_seconds: float = 10
    request_seconds: float = 5
    idle_seconds: float = 30
    write_seconds: float = 5
    max_connections: int = 16_000
    max_connections_per_address: int = 12_000
    max_unfinished_handshakes: int = 3_000
    max_request_bytes: int = 65_535


class OpenConnections:
    """Counts open connections; the new ones are refused at a limit, the old ones are kept.

    ``most`` is what the process can have open, whatever the limits say.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()
        self.open = 0

    def admit(self, address: str, limits: Limits) -> str | None:
        """Count a connection from ``address``, or say in words why it is refused."""
        if self.open >= min(limits.max_connections, self._most):
            return f"{self.open} connections are open, the limit"
        if self._open[address] >= limits.max_connections_per_address:
            return f"{self._open[address]} connections are open from {address}, its limit"
        self._open[address] += 1
        self.open += 1
        return None

    def release(self, address: str) -> None:
        """Count an admitted connection from ``address`` as gone."""
        self.open -= 1
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]


class Throttle:
    """Lets through at most ``per_second`` reports a second and counts what it holds back."""

    def __init__(self, per_second: int, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._clock = clock
        self._second = 0
        self._passed = 0
        self._held_back = 0

    def admit(self) -> int | None:
        """None: hold this report back; else how many were held back since the last one passed."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._passed = second, 0
        if self._passed >= self._per_second:
            self._held_back += 1
            return None
        self._passed += 1
        held_back, self._held_back = self._held_back, 0
        return held_back
