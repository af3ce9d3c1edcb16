"""Many datagrams in one system call: recvmmsg(2) and sendmmsg(2), which Python does not name.

The buffers are made once; a call only fills and reads them. Addresses go in and out as names
(:mod:`tftp.names`).
"""

import ctypes
import errno
import socket
from array import array
from itertools import accumulate
from struct import Struct
from typing import Final

from tftp.frames import HEAD
from tftp.names import name_octets

AT_ONCE = 64  # datagrams of a call
_NOTES = 128  # octets of ancillary data: the address that was asked, and what else came along
_WORD: Final = "L"  # of the type codes the one that is as wide as size_t


class _Part(ctypes.Structure):
    """struct iovec (uio.h)."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr (recvmsg(2))."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("parts", ctypes.c_void_p),
        ("count", ctypes.c_size_t),
        ("notes", ctypes.c_void_p),
        ("notes_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr (recvmmsg(2))."""

    _fields_ = (("header", _Header), ("length", ctypes.c_uint))


_library = ctypes.CDLL(None, use_errno=True)


class _Buffers:
    """Room for ``AT_ONCE`` datagrams of ``room`` octets each, their addresses and their notes."""

    def __init__(self, family: int, room: int) -> None:
        self.size = name_octets(family)
        self.octets = memoryview(bytearray(AT_ONCE * room))
        self.names = memoryview(bytearray(AT_ONCE * self.size))
        self.notes = memoryview(bytearray(AT_ONCE * _NOTES))
        self.messages = (_Message * AT_ONCE)()
        self.start = _place(self.octets)
        parts = (_Part * AT_ONCE)()
        for n in range(AT_ONCE):
            parts[n].base, parts[n].length = self.start + n * room, room
            header = self.messages[n].header
            header.name, header.name_length = _place(self.names) + n * self.size, self.size
            header.parts, header.count = ctypes.addressof(parts[n]), 1
            header.notes = _place(self.notes) + n * _NOTES
        words = memoryview(parts).cast("B").cast(_WORD)
        self.bases, self.lengths = words[::2], words[1::2]
        octets = memoryview(self.messages).cast("B")
        field, step = _Message.length.offset // 4, ctypes.sizeof(_Message) // 4
        self.received = octets.cast("I")[field::step]
        word = ctypes.sizeof(ctypes.c_size_t)
        field, step = _Header.notes_length.offset // word, ctypes.sizeof(_Message) // word
        self.noted = octets.cast(_WORD)[field::step]


_ROOM = memoryview(array(_WORD, [_NOTES] * AT_ONCE))


def _place(buffer: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


class Inbox:
    """Takes datagrams of at most ``room`` octets from sockets of ``family``; longer ones are cut.

    After a call ``names`` has their senders, ``heads`` their first ``HEAD`` octets and ``lengths``
    how many octets each has.
    """

    def __init__(self, family: int, room: int, *, noted: bool = False) -> None:
        self._buffers = _Buffers(family, room)
        self._room = room
        self._noted = noted
        # takes the first octets of each of so many fields
        self._names = [Struct(f"{self._buffers.size}s" * n) for n in range(AT_ONCE + 1)]
        self._heads = [Struct(f"{HEAD}s{room - HEAD}x" * n) for n in range(AT_ONCE + 1)]
        self._receive = _library.recvmmsg
        self.names: tuple[bytes, ...] = ()
        self.heads: tuple[bytes, ...] = ()
        self.lengths: list[int] = []

    def receive(self, descriptor: int) -> None:
        """Take what ``descriptor`` has: nothing also if it has an error to tell."""
        made = self._buffers
        if self._noted:
            made.noted[:] = _ROOM  # it holds how much the kernel wrote last time
        got = self._receive(descriptor, made.messages, AT_ONCE, socket.MSG_DONTWAIT, None)
        count = max(0, int(got))
        self.names = self._names[count].unpack_from(made.names)
        self.heads = self._heads[count].unpack_from(made.octets)
        self.lengths = made.received[:count].tolist()

    def datagram(self, number: int) -> bytes:
        """All octets of one of them."""
        start = number * self._room
        return self._buffers.octets[start : start + self.lengths[number]].tobytes()

    def note(self, number: int) -> bytes:
        """Its ancillary data, as the kernel has it."""
        start = number * _NOTES
        return self._buffers.notes[start : start + self._buffers.noted[number]].tobytes()


class Outbox:
    """Sends datagrams of at most ``room`` octets from sockets of ``family``."""

    def __init__(self, family: int, room: int) -> None:
        self._buffers = _Buffers(family, room)
        self._note = b""
        self._send = _library.sendmmsg

    def send(
        self, descriptor: int, names: list[bytes], datagrams: list[bytes], note: bytes = b""
    ) -> bool:
        """Send each of ``datagrams`` to each of ``names``, with ``note`` as ancillary data.

        What finds no room is left out, as the network may lose it too; also what is too long for
        its path: False says that there was such.
        """
        if note != self._note:
            self._note = note
            self._buffers.noted[:] = memoryview(array(_WORD, [len(note)] * AT_ONCE))
            self._buffers.notes[:] = note.ljust(_NOTES, b"\0") * AT_ONCE
        fits = True
        for start in range(0, len(names), AT_ONCE):
            self._fill(names[start : start + AT_ONCE], datagrams[start : start + AT_ONCE])
            fits = self._push(descriptor, min(AT_ONCE, len(names) - start)) and fits
        return fits

    def _fill(self, names: list[bytes], datagrams: list[bytes]) -> None:
        made = self._buffers
        lengths = array(_WORD, map(len, datagrams))
        bases = array(_WORD, accumulate(lengths, initial=made.start))
        made.octets[: bases.pop() - made.start] = b"".join(datagrams)
        made.names[: len(names) * made.size] = b"".join(names)
        made.bases[: len(bases)] = memoryview(bases)
        made.lengths[: len(lengths)] = memoryview(lengths)

    def _push(self, descriptor: int, count: int) -> bool:
        size = ctypes.sizeof(_Message)
        done, failed, fits = 0, -1, True
        while done < count:
            messages = ctypes.byref(self._buffers.messages, done * size)
            sent = self._send(descriptor, messages, count - done, socket.MSG_DONTWAIT)
            number = ctypes.get_errno()
            if sent > 0:
                done += sent
            elif number in {errno.EAGAIN, errno.ENOBUFS}:
                break
            elif failed == done:  # twice: it is this datagram's, not what the socket had to tell
                fits = fits and number != errno.EMSGSIZE
                done += 1
            else:
                failed = done
        return fits
