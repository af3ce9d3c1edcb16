"""Ports that transfers share with a socket that hears strangers.

RFC 1350 section 4: a datagram from a port that has no part in a transfer is answered with ERROR 5,
and the transfer goes on. A transfer's socket is connected, so the kernel would turn strangers away
with ICMP only. Therefore each transfer binds to one of a few ports, on which an unconnected socket
is bound as well: the kernel gives it what no connected socket on that port matches.

The socket of a transfer that ended rests, connected as it was: to connect it to the next peer
costs a fifth of a new one, and what its peer repeats meanwhile is swallowed. The one that rested
longest is taken first. No two sockets are ever connected to one peer, so that none gets what is
meant for another.
"""

import select
import socket
from contextlib import suppress
from typing import NamedTuple

from tftp.packets import ErrorCode, Opcode, encode_error
from tftp.sockets import Address, transfer_socket

PORTS = 64  # of a local address: the kernel walks through the transfers that share one
AT_ONCE = 64
RESTING = 512  # sockets that rest, in all
_ERROR = Opcode.ERROR.to_bytes(2, "big")
_ANSWER = encode_error(ErrorCode.UNKNOWN_TID, "unknown transfer ID")


class TransferPorts:
    """The ports transfers run from; ``epoll`` watches all their sockets."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._hearing: dict[int, socket.socket] = {}
        self._homes: dict[tuple[int, Address], _Home] = {}
        self._of: dict[int, _Place] = {}
        self._resting = 0

    def connect(self, family: int, local: Address, peer: Address) -> socket.SocketType:
        """A transfer's socket from ``local`` (port 0) to ``peer``. Raises OSError."""
        home = self._homes.get((family, local))
        if home is None:
            home = self._homes[family, local] = _Home()
        before = home.resting.pop(peer, None)
        if before is not None:  # what the peer still says there must not count for the new transfer
            self._resting -= 1
            self._close(before.connected)
        if home.resting:
            self._resting -= 1
            place = home.resting.pop(next(iter(home.resting)))
            try:
                place.connected.connect(peer)
            except OSError:
                self._close(place.connected)
                raise
        else:
            place = self._new(family, local, home, peer)
        while place.waiting.poll(0):
            with suppress(OSError):  # a stranger's, or the former peer's, whose port may be closed
                place.connected.recv(1, socket.MSG_DONTWAIT)
        return place.connected

    def release(self, connected: socket.SocketType, peer: Address) -> None:
        """Take back the socket of a transfer that ended."""
        place = self._of[connected.fileno()]
        resting = place.home.resting
        if place.connected is not connected or self._resting >= RESTING or peer in resting:
            self._close(connected)
            return
        resting[peer] = place
        self._resting += 1

    def hears(self, descriptor: int) -> bool:
        """Whether ``descriptor`` is one of ours; what a stranger said is answered."""
        hearing = self._hearing.get(descriptor)
        if hearing is None:
            return self._swallows(descriptor)
        for _ in range(AT_ONCE):
            try:
                opcode, peer = hearing.recvfrom(2, socket.MSG_DONTWAIT)
                if opcode != _ERROR:  # an ERROR is never answered
                    hearing.sendto(_ANSWER, socket.MSG_DONTWAIT, peer)
            except OSError:
                break
        return True

    def close(self) -> None:
        """Hear nobody any more."""
        for hearing in self._hearing.values():
            hearing.close()
        for place in self._of.values():
            place.connected.close()
        self._hearing.clear()
        self._homes.clear()
        self._of.clear()

    def _swallows(self, descriptor: int) -> bool:
        resting = self._of.get(descriptor)
        if resting is None:
            return False
        with suppress(OSError):
            resting.connected.recv(1, socket.MSG_DONTWAIT)
        return True

    def _new(self, family: int, local: Address, home: "_Home", peer: Address) -> "_Place":
        if home.turn == len(home.ports):
            home.ports.append(self._hear(family, local))
        made = transfer_socket(family, home.ports[home.turn], peer, shared=True)
        home.turn = (home.turn + 1) % PORTS
        waiting = select.poll()
        waiting.register(made, select.POLLIN)
        place = self._of[made.fileno()] = _Place(made, home, waiting)
        self._epoll.register(made.fileno(), select.EPOLLIN)
        return place

    def _close(self, connected: socket.SocketType) -> None:
        del self._of[connected.fileno()]
        connected.close()

    def _hear(self, family: int, local: Address) -> Address:
        hearing = socket.socket(family, socket.SOCK_DGRAM)
        try:
            hearing.bind(local)
            # after the bind, so that the port was nobody's; now transfers may share it
            hearing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound: Address = hearing.getsockname()
        except OSError:
            hearing.close()
            raise
        self._hearing[hearing.fileno()] = hearing
        self._epoll.register(hearing.fileno(), select.EPOLLIN)
        return bound


class _Home:
    """A local address: the ports on it, and the sockets that rest there by their last peer."""

    __slots__ = ("ports", "resting", "turn")

    def __init__(self) -> None:
        self.ports: list[Address] = []
        self.resting: dict[Address, _Place] = {}
        self.turn = 0


class _Place(NamedTuple):
    """A transfer's socket, its home, and what tells whether something waits in it."""

    connected: socket.SocketType
    home: _Home
    waiting: "select.poll"
