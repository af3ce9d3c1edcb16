"""One transfer, either role, without sockets or clock.

A datagram goes in with the time, what to send comes out. The side that sends DATA is a
:class:`Sender`, whether it serves an RRQ or made a WRQ; the other is a :class:`Receiver`. Both have
``deadline`` (the time at which :meth:`timeout` is due), ``outcome`` (None until the transfer ended)
and counters.

What comes out is a *burst*: nothing (``b""``), one datagram (``bytes``), or several of
``segment`` octets each, back to back, of which the last may be shorter (``memoryview``): the form
in which a kernel with UDP_SEGMENT takes a window in one call.

Rules: RFC 1350; RFC 1123 section 4.2.3.1 (a repeated ACK sends nothing); RFC 2347; RFC 7440 (an ACK
inside a window sends again from the gap, at once and once per burst).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from tftp import PacketError, RemoteError
from tftp.packets import BLOCK_NUMBERS, Error, ErrorCode, encode_error, parse

Burst: TypeAlias = bytes | memoryview
RETRIES = 8  # retransmissions in a row without progress: some 12 seconds with the timer's bounds
UNPROVEN_SENDS = 3  # copies of the first packet to an address that has not answered yet
HALF_OPEN_SECONDS = 5.0  # how long an answer to the last of these copies is waited for at least


class Ending(StrEnum):
    """How a transfer ended."""

    DONE = "done"
    UNCONFIRMED = "unconfirmed"  # every octet was sent, only the last ACK did not come
    REFUSED = "refused"  # the peer sent ERROR
    TIMED_OUT = "timed out"
    FAILED = "failed"  # this side sent ERROR
    GONE = "gone"  # the peer's port is closed


@dataclass(frozen=True)
class Outcome:
    """The end of a transfer; ``error`` is the peer's ERROR when it refused."""

    ending: Ending
    reason: str
    error: RemoteError | None = None


def remote_outcome(datagram: bytes) -> Outcome | None:
    """The outcome that a peer's ERROR makes; None if ``datagram`` is none."""
    try:
        packet = parse(datagram)
    except PacketError:
        return None
    if not isinstance(packet, Error):
        return None
    error = RemoteError(packet.code, packet.text)
    return Outcome(Ending.REFUSED, str(error), error)


def failure(code: ErrorCode, text: str) -> tuple[bytes, Outcome]:
    """The ERROR this side ends a transfer with, and the outcome."""
    return encode_error(code, text), Outcome(Ending.FAILED, text)


def last_wait(timeout: int | None, *, proven: bool) -> float:
    """Seconds for an answer to the last copy, at the least: who asked for a ``timeout`` has it."""
    return float(timeout or 0) if proven else HALF_OPEN_SECONDS


def steps_ahead(wire: int, since: int, rollover: int) -> int:
    """How many blocks the number ``wire`` is after ``since`` on the wire, modulo a cycle."""
    return (wire - since) % (BLOCK_NUMBERS - rollover)
