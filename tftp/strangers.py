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
        self._of: dict[int, tuple[socket.SocketType, _Home]] = {}
        self._resting = 0

    def connect(self, family: int, local: Address, peer: Address) -> socket.SocketType:
        """A transfer's socket from ``local`` (port 0) to ``peer``. Raises OSError."""
        home = self._homes.get((family, local))
        if home is None:
            home = self._homes[family, local] = _Home()
        before = home.resting.pop(peer, None)
        if before is not None:  # what the peer still says there must not count for the new transfer
            self._resting -= 1
            self._close(before)
        if home.resting:
            self._resting -= 1
            taken = home.resting.pop(next(iter(home.resting)))
            try:
                taken.connect(peer)
            except OSError:
                self._close(taken)
                raise
        else:
            taken = self._new(family, local, home, peer)
        while True:
            try:  # it may have been given what was a stranger's, or the former peer's
                taken.recv(1, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return taken
            except OSError:  # the former peer's port is closed
                continue

    def release(self, connected: socket.SocketType, peer: Address) -> None:
        """Take back the socket of a transfer that ended."""
        made, home = self._of[connected.fileno()]
        if made is not connected or self._resting >= RESTING or peer in home.resting:
            self._close(connected)
            return
        home.resting[peer] = connected
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
        for connected, _ in self._of.values():
            connected.close()
        self._hearing.clear()
        self._homes.clear()
        self._of.clear()

    def _swallows(self, descriptor: int) -> bool:
        resting = self._of.get(descriptor)
        if resting is None:
            return False
        with suppress(OSError):
            resting[0].recv(1, socket.MSG_DONTWAIT)
        return True

    def _new(self, family: int, local: Address, home: "_Home", peer: Address) -> socket.SocketType:
        if home.turn == len(home.ports):
            home.ports.append(self._hear(family, local))
        made = transfer_socket(family, home.ports[home.turn], peer, shared=True)
        home.turn = (home.turn + 1) % PORTS
        self._of[made.fileno()] = (made, home)
        self._epoll.register(made.fileno(), select.EPOLLIN)
        return made

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
        self.resting: dict[Address, socket.SocketType] = {}
        self.turn = 0
