"""Datagram sockets for TFTP: who is gone, what fits the path, windows in one call."""

import errno
import socket
import struct
from typing import TypeAlias

Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]

# Linux numbers that Python 3.11 does not name (linux/in.h, linux/in6.h, linux/udp.h, asm/socket.h)
_IP_MTU_DISCOVER = 10
_IP_PMTUDISC_DONT = 0
_IP_PMTUDISC_DO = 2
_IP_RECVERR = 11
_IP_MTU = 14
_IPV6_MTU = 24
_IPV6_RECVERR = 25
_UDP_SEGMENT = 103
_SO_RCVBUFFORCE = 33

_MAX_SEGMENTS = 64  # of one UDP_SEGMENT call
_MAX_CALL = 65_507  # octets of UDP payload in one call
_HEADERS = {socket.AF_INET: 28, socket.AF_INET6: 48}  # IP and UDP
_NUMBER = struct.Struct("=I")
_UNREACHABLE_AT_ONCE = 64
_DISCARDED = 1024
_NO_SEGMENTATION = {errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.ENOPROTOOPT, errno.EOPNOTSUPP}


def set_fragmenting(bound: socket.SocketType, *, allowed: bool) -> None:
    """Whether IPv4 datagrams may be fragmented; the kernel numbers those that may, which costs."""
    how = _IP_PMTUDISC_DONT if allowed else _IP_PMTUDISC_DO
    bound.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, how)


def tell_unreachable(bound: socket.socket) -> None:
    """Have ``bound``, which is not connected, keep what comes back as undeliverable."""
    bound.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
    if bound.family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)


def unreachable(bound: socket.socket) -> list[Address]:
    """The addresses whose ports are closed, as the kernel has learnt since the last call."""
    found: list[Address] = []
    for _ in range(_UNREACHABLE_AT_ONCE):
        try:
            _, notes, _, peer = bound.recvmsg(0, 256, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
        except OSError:
            break
        # struct sock_extended_err (ip(7)) begins with the error's number
        if any(_NUMBER.unpack_from(note)[0] == errno.ECONNREFUSED for _, _, note in notes):
            found.append(peer)
    return found


def transfer_socket(family: int, local: Address, peer: Address) -> socket.SocketType:
    """A connected socket from ``local``, a port that others may share: the kernel checks the TIDs.

    Its calls block unless MSG_DONTWAIT says otherwise; a recv waits for two ticks of the kernel at
    most, some milliseconds. Raises OSError, for one when descriptors run out.
    """
    # the C type: the Python class around it takes as long as the system call
    made = socket.SocketType(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 1000))
        made.bind(local)
        made.connect(peer)
        _discard(made)
    except OSError:
        made.close()
        raise
    return made


def _discard(connected: socket.SocketType) -> None:
    """Drop what came before it was connected: that may be anybody's."""
    for _ in range(_DISCARDED):
        try:
            connected.recv(1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return


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
