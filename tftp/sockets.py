"""Datagram sockets for TFTP: who was asked, one socket a transfer, windows in one call."""

import errno
import socket
import struct
from dataclasses import dataclass
from typing import TypeAlias

from conf.addresses import address_text
from tftp.packets import MAX_REQUEST

Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]

# Linux numbers that Python 3.11 does not name (linux/in.h, linux/in6.h, linux/udp.h, asm/socket.h)
_IP_PKTINFO = 8
_IP_MTU = 14
_IPV6_MTU = 24
_UDP_SEGMENT = 103
_SO_RCVBUFFORCE = 33

_MAX_SEGMENTS = 64  # of one UDP_SEGMENT call
_MAX_CALL = 65_507  # octets of UDP payload in one call
_HEADERS = {socket.AF_INET: 28, socket.AF_INET6: 48}  # IP and UDP
_PKTINFO = struct.Struct("=I4s4s")  # struct in_pktinfo: interface, local address, header address
_PKTINFO6 = struct.Struct("=16sI")  # struct in6_pktinfo: address, interface
_NO_SEGMENTATION = {errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.ENOPROTOOPT, errno.EOPNOTSUPP}


@dataclass(frozen=True)
class Listener:
    """A bound service socket; ``local`` is its address with port 0."""

    socket: socket.socket
    family: int
    local: Address
    wildcard: bool

    def receive(self) -> tuple[bytes, Address, Address]:
        """A datagram, its sender, and the local address it was sent to (port 0).

        Raises BlockingIOError when there is none.
        """
        if not self.wildcard:
            datagram, peer = self.socket.recvfrom(MAX_REQUEST + 1)
            return datagram, peer, self.local
        datagram, notes, _, peer = self.socket.recvmsg(MAX_REQUEST + 1, 64)
        return datagram, peer, _asked(notes, peer) or self.local

    def answer(self, datagram: bytes, asked: Address, peer: Address) -> None:
        """Send one datagram from the address that was asked; lost like any if there is no room."""
        try:
            if not self.wildcard:
                self.socket.sendto(datagram, peer)
            elif self.family == socket.AF_INET6:
                note = _PKTINFO6.pack(socket.inet_pton(socket.AF_INET6, asked[0]), 0)
                self.socket.sendmsg(
                    [datagram], [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, note)], 0, peer
                )
            else:
                note = _PKTINFO.pack(0, socket.inet_aton(asked[0]), b"")
                self.socket.sendmsg([datagram], [(socket.IPPROTO_IP, _IP_PKTINFO, note)], 0, peer)
        except OSError:
            return


def listener_on(bound: socket.socket) -> Listener:
    """Make a bound socket a service socket; a wildcard one learns which address was asked."""
    bound.setblocking(False)  # noqa: FBT003  the standard library's own signature
    host, _, *rest = bound.getsockname()
    wildcard = host in {"0.0.0.0", "::"}  # noqa: S104  recognised here, not bound
    if wildcard:
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        bound.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    local: Address = (host, 0, *rest) if rest else (host, 0)
    return Listener(bound, bound.family, local, wildcard)


def _asked(notes: list[tuple[int, int, bytes]], peer: Address) -> Address | None:
    for level, kind, data in notes:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            host = socket.inet_ntop(socket.AF_INET, _PKTINFO.unpack_from(data)[1])
            return (f"::ffff:{host}", 0, 0, 0) if ":" in peer[0] else (host, 0)
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            octets, interface = _PKTINFO6.unpack_from(data)
            host = socket.inet_ntop(socket.AF_INET6, octets)
            return (host, 0, 0, interface if host.startswith("fe80") else 0)
    return None


def transfer_socket(
    family: int, local: Address, peer: Address, *, shared: bool = False
) -> socket.SocketType:
    """A connected socket from a port of its own: the kernel checks the peer's TID from here on.

    Its calls block unless MSG_DONTWAIT says otherwise; a recv waits for two ticks of the kernel at
    most, some milliseconds. Raises OSError, for one when descriptors run out.
    """
    # the C type: the Python class around it takes as long as the system call
    made = socket.SocketType(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
    try:
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 1000))
        made.bind(local)
        made.connect(peer)
    except OSError:
        made.close()
        raise
    return made


def path_blksize(connected: socket.SocketType) -> int:
    """The largest block in octets that goes to the peer in one unfragmented datagram."""
    if connected.family == socket.AF_INET6:
        mtu = connected.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU)
    else:
        mtu = connected.getsockopt(socket.IPPROTO_IP, _IP_MTU)
    return mtu - _HEADERS[socket.AddressFamily(connected.family)] - 4


def send_window(connected: socket.SocketType, burst: memoryview, segment: int) -> None:
    """Send ``burst`` as datagrams of ``segment`` octets: few calls where the kernel can cut it.

    What the socket's buffer has no room for is left out, as the network may lose it too. Raises
    OSError for a peer that is gone.
    """
    step = min(_MAX_SEGMENTS, _MAX_CALL // segment) * segment
    note = [(socket.IPPROTO_UDP, _UDP_SEGMENT, struct.pack("=H", segment))]
    for at in range(0, len(burst), step):
        part = burst[at : at + step]
        try:
            connected.sendmsg([part], note, socket.MSG_DONTWAIT)
        except OSError as error:
            if error.errno not in _NO_SEGMENTATION:
                raise
            for start in range(0, len(part), segment):
                connected.send(part[start : start + segment], socket.MSG_DONTWAIT)


def widen_receive_buffer(bound: socket.socket, wanted: int) -> int:
    """Give ``bound`` a receive buffer of ``wanted`` octets; answers the octets it got.

    By force where allowed (CAP_NET_ADMIN), else as far as net.core.rmem_max lets it. A larger
    buffer that came with the socket (a systemd unit's ReceiveBuffer=) stays.
    """
    if _buffer(bound) >= wanted:
        return _buffer(bound)
    try:
        bound.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, wanted)
    except PermissionError:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)
    return _buffer(bound)


def _buffer(bound: socket.socket) -> int:
    # the kernel doubles what it is asked for, to have room for its own bookkeeping
    return bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


def peer_text(peer: Address) -> str:
    """Address and port in words."""
    return address_text(peer[0], peer[1])
