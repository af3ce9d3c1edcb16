"""Ports that transfers share with a socket that hears strangers.

RFC 1350 section 4: a datagram from a port that has no part in a transfer is answered with ERROR 5,
and the transfer goes on. A transfer's socket is connected, so the kernel would turn strangers away
with ICMP only. Therefore each transfer binds to one of a few ports, on which an unconnected socket
is bound as well: the kernel gives it what no connected socket on that port matches.
"""

import select
import socket

from tftp.packets import ErrorCode, Opcode, encode_error
from tftp.sockets import Address, transfer_socket

PORTS = 64  # of a local address: the kernel walks through the transfers that share one
AT_ONCE = 64
_ERROR = Opcode.ERROR.to_bytes(2, "big")
_ANSWER = encode_error(ErrorCode.UNKNOWN_TID, "unknown transfer ID")


class TransferPorts:
    """The ports transfers run from; ``epoll`` watches the sockets that hear strangers."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._hearing: dict[int, socket.socket] = {}
        self._ports: dict[tuple[int, Address], list[Address]] = {}
        self._turn = 0

    def connect(self, family: int, local: Address, peer: Address) -> socket.SocketType:
        """A transfer's socket from ``local`` (port 0) to ``peer``. Raises OSError."""
        ports = self._ports.setdefault((family, local), [])
        if len(ports) < PORTS:
            ports.append(self._hear(family, local))
        self._turn += 1
        bound = ports[self._turn % len(ports)]
        made = transfer_socket(family, bound, peer, shared=True)
        try:
            # between bind and connect it may have been given what was a stranger's
            while True:
                made.recv(1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return made
        except OSError:
            made.close()
            raise

    def hears(self, descriptor: int) -> bool:
        """Whether ``descriptor`` is one of ours; what has come to it is answered."""
        hearing = self._hearing.get(descriptor)
        if hearing is None:
            return False
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
        self._hearing.clear()
        self._ports.clear()

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
