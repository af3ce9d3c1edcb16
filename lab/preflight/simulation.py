"""The move itself, played with emulated phones that hold the source's lists."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import trio

from lab import LabError
from lab.phone.boot import Boot, BootVerdict, boot
from lab.phone.configuration import TvsServer
from lab.phone.fetch import FileServer
from lab.phone.load import Load, boot_many
from lab.phone.models import Model
from lab.phone.state import Phone, following_mac
from lab.preflight.places import FileNode, Side

RATE = 100.0
_FOLLOWED = (str(BootVerdict.UPDATED), str(BootVerdict.UNCHANGED), str(BootVerdict.NO_LIST))


class SimulationError(LabError):
    """There is nothing to simulate with: no lists of the source, or no server to move to."""


@dataclass(frozen=True)
class Simulation:
    """How many phones were moved to which server, and what became of them."""

    server: str
    phones: int
    load: Load
    seconds: float

    @property
    def followed(self) -> int:
        """How many phones went with the destination's lists and were not refused anything."""
        return sum(self.load.verdicts[verdict] for verdict in _FOLLOWED)

    def as_values(self) -> dict[str, object]:
        """The summary as plain values."""
        return {
            "server": self.server,
            "followed": self.followed,
            **self.load.summary(self.seconds),
        }


async def simulate(
    source: Side,
    destination: tuple[str, int],
    *,
    count: int,
    model: Model,
    mac: str,
    timeout_seconds: float,
) -> Simulation:
    """Move ``count`` phones, from ``mac`` on, that hold the lists of the first source node.

    The phones know the TVS servers of ``source``. Raises :class:`SimulationError`.
    """
    holder = next((node for node in source.nodes if not node.problem and node.lists()), None)
    if holder is None:
        raise SimulationError("nothing to simulate with: no lists of the source")
    host, port = destination
    server = FileServer(host, port, None, timeout_seconds)
    load = Load(count)
    started = trio.current_time()

    async def forget(_: Boot) -> None:
        """These phones are kept nowhere."""

    await boot_many(
        _phones(holder, source.tvs or (), model, mac, count),
        partial(boot, server=server, tvs_seconds=timeout_seconds),
        load,
        rate=RATE,
        finished=forget,
    )
    return Simulation(server.where, count, load, trio.current_time() - started)


def _phones(
    holder: FileNode, servers: tuple[TvsServer, ...], model: Model, mac: str, count: int
) -> Iterator[Phone]:
    for number in range(count):
        yield Phone(
            mac=following_mac(mac, number),
            model=model,
            ctl=holder.ctl.data,
            itl=holder.itl.data,
            tvs=servers,
        )
