"""The trust lists of a node: which records, signed when, kept where.

Roles as in Cisco's Preferred Architecture for Enterprise Collaboration, "CTL and ITL" (table 7-7),
and document 118893. The ITL is the node's own; the CTL is the cluster's and exists in mixed mode
only.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from conf.files import make_folder, read_regular, write_whole
from conf.identity import TVS, TVS_ECDSA
from conf.node import Member, Node
from conf.signer import Signer
from itl import ItlError
from itl.roles import Role
from itl.trustlist import (
    CTL_FILENAME,
    ITL_FILENAME,
    RecordSpec,
    build_trust_list,
    parse_trust_list,
)
from tftp.content import Octets


@dataclass(frozen=True)
class Lists:
    """The lists in force; ``ctl`` is None in a cluster that is not in mixed mode."""

    itl: Octets
    ctl: Octets | None


def itl_records(node: Node, signer: Signer, *, rollback: bool = False) -> list[RecordSpec]:
    """The records of this node's ITL.

    ``rollback`` is CUCM's parameter "Prepare Cluster for Rollback to pre 8.0": the TFTP and TVS
    sections are empty. Their form, short records without a certificate, is assumed.
    """
    own = node.own
    tftp_role = Role.CCM_TFTP if node.secure else Role.TFTP
    callmanager = own.certificates["CallManager"]
    records = [_record(Role.SAST, own, signer.certificate)]
    if callmanager != signer.certificate and not rollback:
        records.append(_record(Role.SAST, own, callmanager))
    records += _overlap(node)
    records.append(_record(tftp_role, own, None if rollback else callmanager))
    records += _capf(node)
    records += [
        _record(Role.TVS, member, None if rollback else member.certificates[name])
        for member in node.members
        for name in (TVS, TVS_ECDSA)
        if name in member.certificates
    ]
    return records


def ctl_records(node: Node, signer: Signer) -> list[RecordSpec]:
    """The records of the cluster's CTL."""
    records = [_record(Role.SAST, node.own, signer.certificate)]
    records += [
        _record(Role.CCM_TFTP, member, member.certificates["CallManager"])
        for member in node.members
    ]
    records += _capf(node)
    recovery = node.own.certificates.get("ITLRecovery")
    if recovery is not None and recovery != signer.certificate:
        records.append(_record(Role.SAST, node.own, recovery))
    return records + _overlap(node)


def _overlap(node: Node) -> list[RecordSpec]:
    """While a signer is renewed, the next and the one before are SASTs too."""
    return [_record(Role.SAST, node.own, certificate) for certificate in node.overlap]


def _record(role: Role, member: Member, certificate: bytes | None) -> RecordSpec:
    return RecordSpec(
        role=role, certificate=certificate, dns_name=member.host, address=member.address
    )


def _capf(node: Node) -> list[RecordSpec]:
    """CAPF runs on the publisher, the first node."""
    publisher = node.members[0]
    certificate = publisher.certificates.get("CAPF")
    return [] if certificate is None else [_record(Role.CAPF, publisher, certificate)]


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
        return Octets(data, key=hashlib.sha256(data).digest(), modified=timestamp)

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
