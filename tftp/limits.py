"""Who is listened to, and who may begin how much."""

from collections.abc import Callable
from dataclasses import dataclass

from tftp.engine import Engine
from tftp.names import host_of, is_privileged, peer_text
from tftp.options import MAX_BLKSIZE

_TFTP_PORT = (69).to_bytes(2, "big")


@dataclass(frozen=True)
class Limits:
    """What a service allows.

    Transfers at once, in all and for each address (a thousand phones behind one address must fit),
    those whose content is being made with them; requests a second for each address, beyond which
    there is silence, since the address may be one that somebody wants flooded; ``max_making``
    requests at once whose content is being made; largest blksize in octets and windowsize in
    blocks.
    """

    max_transfers: int = 8192
    max_transfers_per_address: int = 2048
    max_requests_per_second: int = 10_000
    max_making: int = 2048
    max_blksize: int = MAX_BLKSIZE
    max_windowsize: int = 64


class Gate:
    """Keeps a service to its ``limits``, which are asked for each request."""

    def __init__(self, engine: Engine, limits: Callable[[], Limits]) -> None:
        self.limits = limits
        self.making = 0  # requests whose content is being made, given up ones too
        self._making_of: dict[bytes, int] = {}  # by the host
        self._engine = engine
        self._second = 0
        self._requests: dict[bytes, int] = {}  # of this second, by the host

    def listens(self, name: bytes, now: float) -> bool:
        """Whether a request of ``name`` is answered at all."""
        if is_privileged(name) and name[2:4] != _TFTP_PORT:
            return False  # a reflection towards a service of the victim's
        most = self.limits().max_requests_per_second
        over = self._count(host_of(name), now) - most
        if over == 1:
            self._tell_flood(name, most)
        return over <= 0

    def lets_begin(self, name: bytes, now: float) -> bool:
        """Whether ``name`` may have a transfer more; half-open ones give way to it."""
        limits, engine, host = self.limits(), self._engine, host_of(name)
        of_host = engine.per_host.get(host, 0) + self._making_of.get(host, 0)
        if of_host >= limits.max_transfers_per_address:
            return False
        running = len(engine.flows) + self.making
        return running < limits.max_transfers or engine.make_room(engine.unproven, now)

    def begin_making(self, name: bytes) -> bool:
        """Count a request of ``name`` whose content is to be made, until :meth:`made`.

        False if there are too many.
        """
        if self.making >= self.limits().max_making:
            return False
        self.making += 1
        host = host_of(name)
        self._making_of[host] = self._making_of.get(host, 0) + 1
        return True

    def made(self, name: bytes) -> None:
        """The content for a request of ``name`` is made."""
        self.making -= 1
        host = host_of(name)
        self._making_of[host] -= 1
        if not self._making_of[host]:
            del self._making_of[host]

    def _count(self, host: bytes, now: float) -> int:
        """Count a request of ``host``; answers how many it is in this second."""
        if int(now) != self._second:
            self._second = int(now)
            self._requests.clear()
        count = self._requests.get(host, 0) + 1
        self._requests[host] = count
        return count

    def _tell_flood(self, name: bytes, limit: int) -> None:
        """Once a second for each address; what is dropped is not told one by one."""
        event = {
            "event": "tftp.flood",
            "device": None,
            "peer": peer_text(name),
            "outcome": "refused",
            "reason": f"more than {limit} requests in a second: no answer to any more of them",
            "milliseconds": 0,
        }
        self._engine.tell(lambda: event)
