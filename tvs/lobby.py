"""Where connections wait until their first TLS record is whole.

A client that says nothing, or dribbles its hello, has no coroutine and no TLS object: only a socket
and a line in a table. The kernel wakes us when enough octets are there (SO_RCVLOWAT), not for each.
"""

import select
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

import trio

from conf.addresses import address_text

PEEK_BYTES = 2048  # a hello with a post-quantum key share takes some 1,700
RECORD_HEADER = struct.Struct(">BHH")  # content type, version, length (RFC 8446, 5.1)
HANDSHAKE_RECORD = b"\x16"
SSL3_MAJOR = 3
WAKES_IN_A_ROW = 256


@dataclass(slots=True, eq=False)
class Guest:
    """An accepted connection; ``since`` is trio's time at its accept, ``lowat`` what is awaited."""

    socket: socket.socket
    address: tuple[str, int]
    since: float
    lowat: int = 1

    @property
    def peer(self) -> str:
        """Address and port in words."""
        return address_text(*self.address)

    def has_arrived(self) -> bool:
        """Whether a whole first record is there, or the end, or something else than TLS."""
        try:
            seen = self.socket.recv(PEEK_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        missing = _record_bytes(seen)
        if not seen or len(seen) >= missing or missing > PEEK_BYTES or missing == self.lowat:
            if self.lowat > 1:
                self._wake_at(1)
            return True
        self._wake_at(missing)
        return False

    def _wake_at(self, octets: int) -> None:
        self.lowat = octets
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, octets)


class Lobby:
    """Holds guests until they arrive; then ``start`` is called with each."""

    start: Callable[[Guest], None]

    def __init__(self) -> None:
        self._guests: dict[int, Guest] = {}
        self._epoll = select.epoll()

    def admit(self, guest: Guest) -> None:
        """Take a guest in, or start it at once if it has arrived already."""
        if guest.has_arrived():
            self.start(guest)
        else:
            self._guests[guest.socket.fileno()] = guest
            self._epoll.register(guest.socket, select.EPOLLIN)

    async def run(self) -> None:
        """Start guests as they arrive, until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for descriptor, _ in self._epoll.poll(0, WAKES_IN_A_ROW):
                guest = self._guests[descriptor]
                if guest.has_arrived():
                    self._remove(guest)
                    self.start(guest)

    def overdue(self, since: float) -> list[Guest]:
        """Give back the guests that have waited since before ``since`` (trio's time)."""
        late = [guest for guest in self._guests.values() if guest.since < since]
        for guest in late:
            self._remove(guest)
        return late

    def close(self) -> None:
        """Let go of the epoll; whoever is still there is for :meth:`overdue` to give back."""
        self._epoll.close()

    def _remove(self, guest: Guest) -> None:
        descriptor = guest.socket.fileno()
        self._epoll.unregister(descriptor)
        del self._guests[descriptor]


def _record_bytes(seen: bytes) -> int:
    """How many octets are needed to hold the record that ``seen`` begins; 1 for what is no TLS."""
    if seen[:1] != HANDSHAKE_RECORD:
        return 1
    if len(seen) < RECORD_HEADER.size:
        return RECORD_HEADER.size
    _, version, length = RECORD_HEADER.unpack_from(seen)
    return RECORD_HEADER.size + length if version >> 8 == SSL3_MAJOR else 1
