"""A request as it came in, and the ERROR it is answered with."""

from functools import partial
from typing import NamedTuple

from tftp.content import BROKEN, ErrorReply
from tftp.engine import Engine
from tftp.flow import device_of
from tftp.listener import Listener
from tftp.names import host_of, host_text, peer_text
from tftp.packets import ErrorCode, Request, encode_error
from tftp.sockets import Address

_WORDS = [code.words for code in ErrorCode]  # once, not for each refusal


class Arrival(NamedTuple):
    """A request as it came in."""

    listener: Listener
    datagram: bytes
    name: bytes  # who sent it, as the kernel has the address
    asked: Address
    now: float

    @property
    def host(self) -> str:
        """The address of the sender."""
        return host_text(host_of(self.name))


def refuse(
    engine: Engine, arrival: Arrival, request: Request | None, reply: ErrorReply, why: str = ""
) -> None:
    """One ERROR, out of the service port: no transfer is made for it.

    ``why`` is what is reported, if it is not what the peer is told.
    """
    error = encode_error(reply.code, reply.text)
    arrival.listener.answer(error, arrival.asked, arrival.name)
    took = engine.clock() - arrival.now
    engine.tell(partial(_event, arrival, request, reply, why, took))


def fail(engine: Engine, arrival: Arrival, request: Request, error: Exception) -> None:
    """The refusal of a request that something of ours went wrong with."""
    refuse(engine, arrival, request, BROKEN, f"{type(error).__name__}: {error}")


def busy(error: OSError) -> ErrorReply:
    """The answer when there is no socket to be had."""
    return ErrorReply(ErrorCode.UNDEFINED, f"the server is busy: {error.strerror}")


def _event(
    arrival: Arrival, request: Request | None, reply: ErrorReply, why: str, took: float
) -> dict[str, object]:
    return {
        "event": "tftp.error",
        "device": device_of(request.name) if request else None,
        "peer": peer_text(arrival.name),
        "outcome": _WORDS[reply.code],
        "reason": why or reply.text,
        "milliseconds": round(took * 1000, 1),
        "file": request.name if request else None,
        "code": int(reply.code),
        "expected": reply.expected,
    }
