"""``trustlab events``: the timeline of a node, of all phones or of one."""

import time
from itertools import chain

from lab.cli import terminal
from lab.cli.arguments import Flag
from lab.events import Event
from lab.phone.state import parse_mac
from lab.timeline import Timeline

LOOK_SECONDS = 0.2


def events(
    *,
    phone: str | None = None,
    follow: Flag = False,
) -> int:
    """Print what each phone asked, was answered, and did next: one JSON object a line.

    Parameters
    ----------
    phone:
        SEP and the MAC, or the MAC in any spelling: only this phone's. Requests without a phone's
        name in them are told by the address that this phone was last seen at.
    follow:
        Go on with what happens from now on, until Ctrl-C.
    """
    told = _Told(f"SEP{parse_mac(phone)}" if phone else None)
    timeline = Timeline(terminal.state_dir())
    for event in chain(timeline.kept(), timeline.fresh()):
        told.tell(event)
    while follow:
        time.sleep(LOOK_SECONDS)  # a file tells nobody that it has grown
        for event in timeline.fresh():
            told.tell(event)
    return 0


class _Told:
    """Prints the events of one phone, or all."""

    def __init__(self, device: str | None) -> None:
        self._device = device
        self._last: dict[str, str] = {}

    def tell(self, event: Event) -> None:
        peer, device = event.get("peer"), event.get("device")
        host = peer.rpartition(":")[0] if isinstance(peer, str) else ""
        if isinstance(device, str) and host:
            self._last[host] = device
        if self._device in {None, device} or (
            device is None and host and self._last.get(host) == self._device
        ):
            terminal.emit(event)
