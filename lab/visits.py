"""Which phone came for the trust list when: read back from the event log."""

import re
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec

from lab.timeline import read_events

_LIST = re.compile(r"ITL(?:File|SEP[0-9A-Fa-f]{12})\.tlv")
_SIGNED = re.compile(r"SEP[0-9A-Fa-f]{12}\.cnf\.xml\.sgn")


class _Fetch(msgspec.Struct):
    time: Annotated[datetime, msgspec.Meta(tz=True)]  # it is compared with times that have one
    device: str
    file: str
    outcome: str = ""


def lists_taken(state: Path) -> dict[str, datetime]:
    """When each phone last fetched a trust list and went on to ask for its signed configuration.

    By name ("SEP001122334455"). A phone that refuses a list does not go on (assumed), so a list
    that was only fetched does not count. As far back as ``DIR/events.jsonl`` and its older files.
    """
    fetched: dict[str, datetime] = {}
    taken: dict[str, datetime] = {}
    for event in read_events(state, _Fetch, holding=b'"file"'):
        if event.outcome == "done" and _LIST.fullmatch(event.file):
            fetched[event.device] = event.time
        elif event.device in fetched and _SIGNED.fullmatch(event.file):
            taken[event.device] = fetched[event.device]
    return taken
