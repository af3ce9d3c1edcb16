"""The trust lists of a node: built, signed when, kept where."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from conf.composition import Entry, ctl_entries, itl_entries
from conf.files import make_folder, read_regular, write_whole
from conf.node import Node
from conf.signer import Signer
from itl import ItlError
from itl.roles import parse_role
from itl.trustlist import (
    CTL_FILENAME,
    ITL_FILENAME,
    RecordSpec,
    build_trust_list,
    parse_trust_list,
)
from tftp.content import Octets, octets_of


@dataclass(frozen=True)
class Lists:
    """The lists in force; ``ctl`` is None in a cluster that is not in mixed mode."""

    itl: Octets
    ctl: Octets | None


def itl_records(node: Node, signer: Signer, *, rollback: bool = False) -> list[RecordSpec]:
    """The records of this node's ITL; ``rollback`` as in :func:`~conf.composition.itl_entries`."""
    return _records(itl_entries(node, signer.certificate, rollback=rollback))


def ctl_records(node: Node, signer: Signer) -> list[RecordSpec]:
    """The records of the cluster's CTL."""
    return _records(ctl_entries(node, signer.certificate))


def _records(entries: Iterable[Entry]) -> list[RecordSpec]:
    return [
        RecordSpec(
            role=parse_role(entry.role),
            certificate=entry.certificate,
            dns_name=entry.member.host,
            address=entry.member.address,
        )
        for entry in entries
    ]


def build_lists(
    node: Node,
    signer: Signer,
    *,
    digest: str,
    rollback: bool,
    folder: Path,
    keep: bool,
    now: Callable[[], float],
) -> Lists:
    """Build, sign, read back and verify the lists of ``node``.

    A list whose content is that of the one kept in ``folder`` keeps the time it was signed at, and
    so its octets. With ``keep`` the folder is made, and new lists are kept there; without nothing
    is written. Raises :class:`~itl.ItlError`, and OSError if they cannot be read or kept.
    """
    if keep:
        make_folder(folder)

    def made(filename: str, records: Sequence[RecordSpec]) -> Octets:
        path = folder / filename
        kept = _kept(path)
        for timestamp in [*_time_of(kept), int(now())]:
            data = build_trust_list(
                records, signer=signer, filename=filename, timestamp=timestamp, digest=digest
            )
            if data == kept:
                break
        else:
            if keep:
                write_whole(path, data)
        return octets_of(data, timestamp)

    itl = made(ITL_FILENAME, itl_records(node, signer, rollback=rollback))
    ctl = made(CTL_FILENAME, ctl_records(node, signer)) if node.secure else None
    return Lists(itl, ctl)


def _kept(path: Path) -> bytes:
    try:
        return read_regular(path)
    except FileNotFoundError:
        return b""


def _time_of(kept: bytes) -> list[int]:
    """When the list kept was signed; nothing if there is none that reads."""
    try:
        timestamp = parse_trust_list(kept).header.timestamp
    except ItlError:
        return []
    return [] if timestamp is None else [timestamp]
