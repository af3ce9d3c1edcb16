"""A transfer of the engine: the pure core, what it runs on, and what will be reported."""

import re
import socket

from tftp.content import Content
from tftp.names import peer_text
from tftp.packets import Request
from tftp.ports import ACK_ROOM, Port
from tftp.receiver import Receiver
from tftp.sender import Sender
from tftp.transfer import Outcome
from tftp.uploads import Upload

NEAR_SECONDS = 0.001
_DEVICE = re.compile(r"SEP[0-9A-Fa-f]{12}")


class Flow:
    """A transfer to ``name`` from ``port``, over a socket of its own if it has one.

    ``over`` says that it is no longer the engine's, ``tick`` when the engine looks at its deadline.
    """

    __slots__ = (
        "connected",
        "content",
        "datagram",
        "name",
        "over",
        "port",
        "recv_size",
        "request",
        "sender",
        "started",
        "tick",
        "transfer",
        "upload",
    )

    def __init__(
        self,
        transfer: Sender | Receiver,
        port: Port,
        connected: socket.SocketType | None,
        *,
        name: bytes,
        request: Request,
        datagram: bytes,
        now: float,
        content: Content | None = None,
        upload: Upload | None = None,
    ) -> None:
        self.transfer = transfer
        self.sender = transfer if isinstance(transfer, Sender) else None
        self.port = port
        self.connected = connected
        # of a longer packet enough is left to see that it is too long
        self.recv_size = ACK_ROOM if upload is None else transfer.terms.blksize + 256
        self.name = name
        self.request = request
        self.datagram = datagram
        self.started = now
        self.content = content
        self.upload = upload
        self.over = False
        self.tick = 0

    def near(self) -> bool:
        """Whether the peer answers so soon that waiting for it in a recv is worth it."""
        smoothed = self.transfer.timer.smoothed
        return smoothed is not None and smoothed <= NEAR_SECONDS

    def event(self, outcome: Outcome, now: float) -> dict[str, object]:
        """What is reported once the transfer ended."""
        transfer = self.transfer
        return {
            "event": "tftp.transfer",
            "device": device_of(self.request.name),
            "peer": peer_text(self.name),
            "outcome": str(outcome.ending),
            "reason": outcome.reason,
            "milliseconds": round((now - self.started) * 1000, 1),
            "file": self.request.name,
            "direction": "sent" if isinstance(transfer, Sender) else "received",
            "bytes": transfer.octets,
            "blocks": transfer.acked if isinstance(transfer, Sender) else transfer.blocks,
            "retransmissions": transfer.retransmissions,
            "blksize": transfer.terms.blksize,
            "windowsize": transfer.terms.windowsize,
            "mode": self.request.mode,
        }

    def close(self) -> None:
        """Let go of the content or the upload."""
        if self.content is not None:
            self.content.close()
        if self.upload is not None:
            self.upload.abort()


def device_of(name: str) -> str | None:
    """The SEP name in a requested name, in its usual spelling."""
    found = _DEVICE.search(name)
    return found.group().upper() if found else None
