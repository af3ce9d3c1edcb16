"""The ports that transfers run from, each shared by some of them.

A small file in lockstep is what a thousand phones ask for at once, and a socket for it would cost
more than half of its blocks do. Such a transfer has only a port: one unconnected socket takes the
datagrams of all transfers there in one call and sends their answers in another. A larger one has a
socket of its own, bound to one of these ports and connected, so that the kernel sorts out what is
for it. Either way a transfer is known by both its TIDs (RFC 1350 section 4).

What reaches a port from an address that has no transfer there is a stranger's: it is answered with
ERROR 5, and the transfers go on. What the peer of a transfer that ended repeats is swallowed. A
peer meets a port again only after all the others had their turn, so that nothing it says about one
transfer counts for the next.
"""

import select
import socket

from tftp.frames import HEAD
from tftp.mmsg import Inbox, Outbox, address_of, name_of
from tftp.options import Terms
from tftp.packets import MAX_REQUEST, ErrorCode, Opcode, encode_error
from tftp.sender import Sender  # noqa: TC001  annotations stay real for mypyc
from tftp.sockets import Address, never_fragment, tell_unreachable, transfer_socket, unreachable

PORTS = 64  # of a local address
TURN = 64  # transfers that begin on a port before the next has its turn
SHARED_BLKSIZE = 512  # octets: it fits every path, and an unconnected socket does not know its own
SHARED_OCTETS = 64 * 1024  # of a file; one that is larger is worth a socket
ACK_ROOM = 256  # octets: an ACK, or an ERROR with most of its text
_DATA_ROOM = max(SHARED_BLKSIZE + HEAD, MAX_REQUEST)  # octets: DATA, OACK, ERROR
_ERROR = Opcode.ERROR.to_bytes(2, "big")
_UNKNOWN_TID = encode_error(ErrorCode.UNKNOWN_TID, "unknown transfer ID")


class Port:
    """A port: its socket, the transfers that have none of their own, and what is to be sent."""

    __slots__ = (
        "bound",
        "datagrams",
        "descriptor",
        "family",
        "names",
        "senders",
        "served",
        "socket",
    )

    def __init__(self, family: int, local: Address) -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.family = family
        try:
            self.socket.bind(local)
            # after the bind, so that the port was nobody's; now sockets of transfers may share it
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tell_unreachable(self.socket)
            never_fragment(self.socket)
            self.bound: Address = self.socket.getsockname()
        except OSError:
            self.socket.close()
            raise
        self.descriptor = self.socket.fileno()
        self.senders: dict[bytes, Sender] = {}
        self.served: set[bytes] = set()
        self.names: list[bytes] = []
        self.datagrams: list[bytes] = []

    def stranger(self, name: bytes, head: bytes) -> None:
        """Answer what ``name`` said, who has no transfer here."""
        if name not in self.served and head[:2] != _ERROR:  # an ERROR is never answered
            self.names.append(name)
            self.datagrams.append(_UNKNOWN_TID)

    def unsay(self, name: bytes) -> None:
        """Send nothing of what waits for ``name``."""
        kept = [n for n, each in enumerate(self.names) if each != name]
        self.datagrams = [self.datagrams[n] for n in kept]
        self.names = [self.names[n] for n in kept]

    def gone(self) -> set[bytes]:
        """The peers whose ports are closed, as the kernel has learnt since the last call."""
        return {name_of(peer) for peer in unreachable(self.socket)}


class TransferPorts:
    """All ports, by their descriptors; ``epoll`` watches them and the transfers' own sockets."""

    def __init__(self, epoll: select.epoll) -> None:
        self.ports: dict[int, Port] = {}
        self._epoll = epoll
        self._homes: dict[tuple[int, Address], _Home] = {}
        self._boxes: dict[int, tuple[Inbox, Outbox]] = {}
        self.filled: set[Port] = set()  # those where something waits to be sent

    def serve(self, family: int) -> None:
        """Have ready what the ports of ``family`` need."""
        self._boxes[family] = Inbox(family, ACK_ROOM), Outbox(family, _DATA_ROOM)

    def share(self, family: int, local: Address, name: bytes) -> Port:
        """A port at ``local`` (port 0) for a transfer to ``name``. Raises OSError."""
        home = self._homes.get((family, local))
        if home is None:
            home = self._homes[family, local] = _Home()
        if not home.left or name in home.ports[home.turn].served:
            self._next(home, family, local)
        home.left -= 1
        return home.ports[home.turn]

    def connect(self, port: Port, name: bytes) -> socket.SocketType:
        """A socket from ``port`` that is connected to ``name``. Raises OSError."""
        made = transfer_socket(port.family, port.bound, address_of(name))
        self._epoll.register(made.fileno(), select.EPOLLIN)
        return made

    def inbox(self, port: Port) -> Inbox:
        """What has come to ``port``."""
        inbox = self._boxes[port.family][0]
        inbox.receive(port.descriptor)
        return inbox

    def put(self, port: Port, name: bytes, datagram: bytes) -> None:
        """Have ``datagram`` sent to ``name`` when this turn is over."""
        port.names.append(name)
        port.datagrams.append(datagram)
        self.filled.add(port)

    def flush(self) -> None:
        """Send what waits."""
        for port in self.filled:
            if port.names:
                self._boxes[port.family][1].send(port.descriptor, port.names, port.datagrams)
                port.names.clear()
                port.datagrams.clear()
        self.filled.clear()

    def close(self) -> None:
        """Hear nobody any more."""
        for port in self.ports.values():
            port.socket.close()
        self.ports.clear()
        self._homes.clear()

    def _next(self, home: "_Home", family: int, local: Address) -> None:
        turn = (home.turn + 1) % PORTS
        if turn == len(home.ports):
            port = Port(family, local)
            self.ports[port.descriptor] = port
            self._epoll.register(port.descriptor, select.EPOLLIN)
            home.ports.append(port)
        home.turn, home.left = turn, TURN
        home.ports[turn].served.clear()


class _Home:
    """A local address: its ports, whose turn it is, and how many transfers more begin there."""

    __slots__ = ("left", "ports", "turn")

    def __init__(self) -> None:
        self.ports: list[Port] = []
        self.turn = -1
        self.left = 0


def shares(octets: int, terms: Terms) -> bool:
    """Whether a transfer of a file of ``octets`` under ``terms`` needs no socket of its own."""
    return octets <= SHARED_OCTETS and terms.blksize <= SHARED_BLKSIZE and terms.windowsize == 1
