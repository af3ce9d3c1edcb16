"""The ports of a node: systemd's sockets where it passed one, else opened as the settings say."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from conf.running import RunRecord
from conf.settings import Settings
from lab import systemd
from lab.doors import Door, open_doors
from lab.sockets import address_of, bind_udp, open_tcp
from lab.web import Web, open_web


@dataclass(frozen=True)
class Ports:
    """What is listened on, until the services have taken it over."""

    doors: list[Door]
    datagrams: socket.socket
    web: Web
    scrapes: socket.socket | None

    def record(self) -> RunRecord:
        """Where this process listens."""
        return RunRecord(
            pid=os.getpid(),
            tvs=address_of(self.doors[0].listeners[0].socket.getsockname()),
            tftp=address_of(self.datagrams.getsockname()),
            http=self.web.address("http"),
            https=self.web.address("https"),
            metrics=address_of(self.scrapes.getsockname()) if self.scrapes else None,
        )


async def open_ports(state: Path, settings: Settings) -> Ports:
    """Open every port of the node ``state``.

    Raises :class:`~lab.sockets.PortError`, and :class:`~conf.ConfError` as
    :func:`~lab.web.open_web` does.
    """
    passed = systemd.inherited_sockets()
    doors = await open_doors(settings, passed.get("tvs"))
    datagrams = passed.get("tftp") or bind_udp("TFTP", settings.serve.address, settings.tftp.port)
    scrapes = passed.get("metrics")
    if scrapes is None and settings.metrics.enabled:
        scrapes = await open_tcp("metrics", settings.metrics.address, settings.metrics.port)
    return Ports(doors, datagrams, await open_web(state, settings, passed), scrapes)
