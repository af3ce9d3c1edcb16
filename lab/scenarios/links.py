"""The transfer socket of a network that loses, repeats, reorders and delays, and of a stranger."""

import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress

from lab.scenarios.model import TransferFault
from tftp.packets import ErrorCode, encode_error

Later = Callable[[float, Callable[[], None]], None]
DATA = b"\0\3"
_NUMBER = slice(2, 4)


class FaultyLink(socket.SocketType):
    """A connected transfer socket, taken over from ``connected``, that sends with faults.

    The n-th DATA packet is n by its block number, so that a repetition meets the same fault once
    only: what is lost the first time arrives the second. ``later`` runs a call after so many
    seconds.
    """

    def __init__(self, connected: socket.SocketType, fault: TransferFault, *, later: Later) -> None:
        family, kind, protocol = connected.family, connected.type, connected.proto
        super().__init__(family, kind, protocol, fileno=connected.detach())
        self.setblocking(False)  # noqa: FBT003  the standard library's own signature
        self._fault = fault
        self._later = later
        self._met: set[int] = set()
        self._before = b""

    def send(self, data: bytes, flags: int = 0, /) -> int:  # type: ignore[override]  # one datagram of octets
        """Send one datagram, or not."""
        number = int.from_bytes(data[_NUMBER], "big")
        if data[:2] != DATA:
            return super().send(data, flags)
        fault = self._fault
        if fault.what == "stop":
            return len(data) if number > fault.after_blocks else super().send(data, flags)
        if number % fault.every or number in self._met:
            self._before = bytes(data)
            return super().send(data, flags)
        self._met.add(number)
        match fault.what:
            case "lose":
                return len(data)
            case "repeat":
                super().send(data, flags)
            case "reorder":
                # in lockstep nothing is under way but an older block: it comes once more, first
                if self._before:
                    super().send(self._before, flags)
            case "delay":
                late = bytes(data)
                self._later(fault.seconds, lambda: self._send_late(late))
                return len(data)
            case "stray port":
                self._stray()
        return super().send(data, flags)

    def sendmsg(self, *_: object) -> int:
        """Refuse to have the kernel cut a window: every datagram of it is looked at."""
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def _send_late(self, data: bytes) -> None:
        with suppress(OSError):  # the transfer may have ended meanwhile
            super().send(data)

    def _stray(self) -> None:
        """An ERROR from a port that has no part in the transfer."""
        local, peer = self.getsockname(), self.getpeername()
        with socket.socket(self.family, socket.SOCK_DGRAM) as other, suppress(OSError):
            other.bind((local[0], 0))
            other.sendto(encode_error(ErrorCode.UNDEFINED, "from another port"), peer)
