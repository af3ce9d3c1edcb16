"""The ports that transfers run from, each by some of them.

A small file in lockstep is what a thousand phones ask for at once, and a socket for it would cost
more than half of its blocks do. Such a transfer has only a port: one unconnected socket takes the
datagrams of all transfers there in one call and sends their answers in another. A larger one has a
socket of its own, connected, so that the kernel sorts out what is for it; it is bound to a port on
which an unconnected socket hears whom the kernel knows no transfer of. Either way a transfer is
known by both its TIDs (RFC 1350 section 4), and a peer's TID has one transfer: another request from
it, to whichever of our addresses, ends the one before.

Whoever sends DATA, ACK or OACK to a port and has no transfer there is a stranger: he is answered
with ERROR 5, and the transfers go on. What the peer of a transfer that ended repeats is swallowed.
A peer gets another port each time, as long as there is one it had no transfer on lately, so that
nothing it says about one counts for the next.
"""

import resource
import select
import socket

from tftp.frames import HEAD
from tftp.mmsg import Inbox, Outbox
from tftp.names import address_of, is_privileged, name_of
from tftp.options import Terms
from tftp.packets import MAX_REQUEST, ErrorCode, Opcode, encode_error
from tftp.sender import Sender  # noqa: TC001  annotations stay real for mypyc
from tftp.sockets import Address, set_fragmenting, tell_unreachable, transfer_socket, unreachable

MOST_PORTS = 1024  # of all addresses, and no more than a quarter of the descriptors there may be
PORTS = 64  # of a local address, shared ones, and as many for sockets
TURN = 64  # transfers that begin on a port before the next has its turn
SHARED_BLKSIZE = 512  # octets: fits nearly every path; what the path's MTU is nobody can tell here
SHARED_OCTETS = 64 * 1024  # of a file; one that is larger is worth a socket
ACK_ROOM = 256  # octets: an ACK, or an ERROR with most of its text
_DATA_ROOM = max(SHARED_BLKSIZE + HEAD, MAX_REQUEST)  # octets: DATA, OACK, ERROR
_STRANGE = {code.to_bytes(2, "big") for code in (Opcode.DATA, Opcode.ACK, Opcode.OACK)}
_UNKNOWN_TID = encode_error(ErrorCode.UNKNOWN_TID, "unknown transfer ID")


class Port:
    """A port: its socket, the transfers that have none of their own, and what is to be sent."""

    __slots__ = (
        "bound",
        "datagrams",
        "descriptor",
        "family",
        "flows",
        "names",
        "senders",
        "served",
        "socket",
    )

    def __init__(self, family: int, local: Address, *, shared: bool) -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.family = family
        try:
            self.socket.bind(local)
            if shared:
                tell_unreachable(self.socket)
                set_fragmenting(self.socket, allowed=False)
            else:  # after the bind, so that the port was nobody's; now other sockets may join
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.bound: Address = self.socket.getsockname()
        except OSError:
            self.socket.close()
            raise
        self.descriptor = self.socket.fileno()
        self.senders: dict[bytes, Sender] = {}
        self.served: set[bytes] = set()
        self.flows = 0  # transfers there, with or without a socket of their own
        self.names: list[bytes] = []
        self.datagrams: list[bytes] = []

    def stranger(self, name: bytes, head: bytes) -> None:
        """Answer what ``name`` said, ``HEAD`` octets or more, who has no transfer here.

        An ERROR is never answered, nor a service on a privileged port: both might answer again.
        """
        if head[:2] in _STRANGE and not is_privileged(name) and name not in self.served:
            self.names.append(name)
            self.datagrams.append(_UNKNOWN_TID)

    def unsay(self, name: bytes) -> None:
        """Send nothing of what waits for ``name``."""
        kept = [n for n, each in enumerate(self.names) if each != name]
        self.datagrams[:] = [self.datagrams[n] for n in kept]
        self.names[:] = [self.names[n] for n in kept]

    def gone(self) -> set[bytes]:
        """The peers whose ports are closed, as the kernel has learnt since the last call."""
        return {name_of(peer) for peer in unreachable(self.socket)}


class TransferPorts:
    """All ports, by their descriptors; ``epoll`` watches them and the transfers' own sockets."""

    def __init__(self, epoll: select.epoll) -> None:
        self.ports: dict[int, Port] = {}
        self._most = min(MOST_PORTS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
        self._epoll = epoll
        self._homes: dict[tuple[int, Address, bool], _Home] = {}
        self._boxes: dict[int, tuple[Inbox, Outbox]] = {}
        self.filled: set[Port] = set()  # those where something waits to be sent

    def serve(self, family: int) -> None:
        """Have ready what the ports of ``family`` need."""
        self._boxes[family] = Inbox(family, ACK_ROOM), Outbox(family, _DATA_ROOM)

    def port(self, family: int, local: Address, name: bytes, *, shared: bool) -> Port:
        """A port at ``local`` (port 0) for a transfer to ``name``. Raises OSError.

        If it is not ``shared``, the transfer is to be given a socket on it by :meth:`connect`.
        """
        key = family, local, shared
        home = self._homes.get(key)
        if home is None:
            home = self._homes[key] = _Home()
        if home.left == 0:
            home.turn, home.left = (home.turn + 1) % PORTS, TURN
            if home.turn < len(home.ports):
                home.ports[home.turn].served.clear()
        home.left -= 1
        for step in range(PORTS):
            place = (home.turn + step) % PORTS
            if place >= len(home.ports):
                if not self._room(home) and home.ports:
                    break
                try:
                    home.ports.append(self._new(family, local, shared=shared))
                except OSError:
                    if not home.ports:
                        raise
                    break
                place = len(home.ports) - 1
            if name not in home.ports[place].served:
                return home.ports[place]
        port = home.ports[home.turn % len(home.ports)]
        port.served.discard(name)
        return port

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
                outbox = self._boxes[port.family][1]
                if not outbox.send(port.descriptor, port.names, port.datagrams):
                    set_fragmenting(port.socket, allowed=True)  # the next copy gets through
                port.names.clear()
                port.datagrams.clear()
        self.filled.clear()

    def close(self) -> None:
        """Hear nobody any more."""
        for port in self.ports.values():
            port.socket.close()
        self.ports.clear()
        self._homes.clear()

    def _room(self, home: "_Home") -> bool:
        """Whether ``home`` may have a port more; those of others that nobody uses are let go."""
        if len(self.ports) < self._most:
            return True
        for key, other in list(self._homes.items()):
            if other is not home:
                for port in other.ports:
                    if not port.flows and not port.names:
                        del self.ports[port.descriptor]
                        port.socket.close()
                other.ports = [port for port in other.ports if port.descriptor in self.ports]
                if not other.ports:
                    del self._homes[key]
        return len(self.ports) < self._most

    def _new(self, family: int, local: Address, *, shared: bool) -> Port:
        port = Port(family, local, shared=shared)
        try:
            self._epoll.register(port.descriptor, select.EPOLLIN)
        except OSError:
            port.socket.close()
            raise
        self.ports[port.descriptor] = port
        return port


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
