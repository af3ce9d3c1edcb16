"""A service socket: requests come in, ERRORs go out, from the address that was asked."""

import socket
import struct
from functools import lru_cache

from tftp.mmsg import Inbox, Outbox
from tftp.packets import MAX_ERROR_TEXT, MAX_REQUEST
from tftp.sockets import Address

_IP_PKTINFO = 8  # linux/in.h; Python 3.11 does not name it
_NOTE = struct.Struct("@Nii")  # struct cmsghdr: length, level, type
_PKTINFO = struct.Struct("=I4s4s")  # struct in_pktinfo: interface, local address, header address
_PKTINFO6 = struct.Struct("=16sI")  # struct in6_pktinfo: address, interface
_ANY = {"0.0.0.0", "::"}  # noqa: S104  recognised here, not bound


class Listener:
    """A bound service socket; ``family`` is its address family."""

    def __init__(self, bound: socket.socket) -> None:
        bound.setblocking(False)  # noqa: FBT003  the standard library's own signature
        host, _, *rest = bound.getsockname()
        self.family = bound.family
        self.descriptor = bound.fileno()
        self._wildcard = host in _ANY
        if self._wildcard:  # it learns which address was asked
            if bound.family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            bound.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        self._local: Address = (host, 0, *rest) if rest else (host, 0)
        self._inbox = Inbox(self.family, MAX_REQUEST + 1, noted=self._wildcard)
        self._outbox = Outbox(self.family, MAX_ERROR_TEXT + 8)
        self._answers: dict[Address, tuple[list[bytes], list[bytes]]] = {}

    def receive(self) -> list[tuple[bytes, bytes, Address]]:
        """What has come: datagrams, their senders, and the local address each asked (port 0)."""
        inbox = self._inbox
        inbox.receive(self.descriptor)
        return [
            (inbox.datagram(n), name, self._asked(inbox.note(n)) if self._wildcard else self._local)
            for n, name in enumerate(inbox.names)
        ]

    def answer(self, datagram: bytes, asked: Address, name: bytes) -> None:
        """Have ``datagram`` sent to ``name`` from the address that was asked."""
        answers = self._answers.get(asked)
        if answers is None:
            answers = self._answers[asked] = [], []
        answers[0].append(name)
        answers[1].append(datagram)

    def flush(self) -> None:
        """Send the answers; one is lost like any datagram if there is no room for it."""
        if self._answers:
            for asked, (names, datagrams) in self._answers.items():
                note = _source(asked) if self._wildcard else b""
                self._outbox.send(self.descriptor, names, datagrams, note)
            self._answers.clear()

    def _asked(self, notes: bytes) -> Address:
        return _destination(self.family, notes) or self._local


@lru_cache(maxsize=256)
def _destination(family: int, notes: bytes) -> Address | None:
    """The local address in the ancillary data of a datagram.

    For IPv4 on a socket for both, the kernel tells the destination of the header as well, which may
    be a broadcast address.
    """
    at = 0
    found: Address | None = None
    while at + _NOTE.size <= len(notes):
        length, level, kind = _NOTE.unpack_from(notes, at)
        data = notes[at + _NOTE.size : at + length]
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            host = socket.inet_ntop(socket.AF_INET, _PKTINFO.unpack_from(data)[1])
            return (host, 0) if family == socket.AF_INET else (f"::ffff:{host}", 0, 0, 0)
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            octets, interface = _PKTINFO6.unpack_from(data)
            host = socket.inet_ntop(socket.AF_INET6, octets)
            found = (host, 0, 0, interface if host.startswith("fe80") else 0)
        at += -(-length // 8) * 8
    return found


@lru_cache(maxsize=256)
def _source(asked: Address) -> bytes:
    """The ancillary data that makes a datagram leave from ``asked``."""
    if len(asked) == 2:  # noqa: PLR2004  an IPv4 address
        data = _PKTINFO.pack(0, socket.inet_aton(asked[0]), b"")
        level, kind = socket.IPPROTO_IP, _IP_PKTINFO
    else:
        data = _PKTINFO6.pack(socket.inet_pton(socket.AF_INET6, asked[0]), 0)
        level, kind = socket.IPPROTO_IPV6, socket.IPV6_PKTINFO
    return _NOTE.pack(_NOTE.size + len(data), level, kind) + data
