"""A node and its cluster: the record that each node leaves in the folders of all."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import msgspec
from cryptography import x509

from conf.files import read_regular, write_whole
from conf.identity import (
    CALLMANAGER_ECDSA,
    IDENTITIES,
    UNREADABLE,
    WAITING,
    IdentityError,
    identity_file,
    odd_serials,
    read_certificate,
    waiting_identity_file,
)
from conf.settings import NodeSettings, Port, load_settings


@dataclass(frozen=True)
class Member:
    """The public part of one node of a cluster.

    ``certificates`` are DER octets by identity name; ``order`` is the place in the phones'
    CallManager group; ``state`` is the node's folder on this machine.
    """

    host: str
    address: str
    tvs_port: int
    order: int
    state: Path
    certificates: Mapping[str, bytes]


@dataclass(frozen=True)
class Node:
    """This node and its cluster; ``members`` in CallManager-group order, this node included.

    ``overlap`` are certificates (DER) of signers that stand in the lists beside those in force
    while an identity is renewed: the next, or the one before.
    """

    state: Path
    cluster: str
    host: str
    address: str
    secure: bool
    list_signer: str
    members: tuple[Member, ...]
    overlap: tuple[bytes, ...] = ()

    @property
    def own(self) -> Member:
        """This node's public part."""
        return next(member for member in self.members if member.host == self.host)

    @property
    def others(self) -> tuple[Member, ...]:
        """The other nodes of the cluster."""
        return tuple(member for member in self.members if member.host != self.host)


class _MemberRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``DIR/cluster/HOST.json`` holds."""

    host: str
    address: str
    tvs_port: Port
    order: int
    state: str
    certificates: dict[str, bytes]


def cluster_folder(state: Path) -> Path:
    """Where the records of a cluster's nodes lie."""
    return state / "cluster"


def load_node(state: Path, settings: NodeSettings | None = None) -> Node:
    """Read the node under ``state`` and the records of its cluster.

    Its own certificates are those in force, whatever a renewal that broke off left in the record;
    those of the record where a file is missing or damaged.
    ``settings`` are those in force, for who does not go by what is on disk. Raises
    :class:`~conf.settings.SettingsError` or :class:`IdentityError` naming the file.
    """
    settings = settings or load_settings(state).node
    members = sorted(
        (_read_member(path) for path in cluster_folder(state).glob("*.json")),
        key=lambda member: (member.order, member.host),
    )
    members = [
        replace(one, certificates=_in_force(state, one)) if one.host == settings.host else one
        for one in members
    ]
    if settings.host not in {member.host for member in members}:
        raise IdentityError(f"{cluster_folder(state)}: no record of this node, {settings.host}")
    return Node(
        state=state,
        cluster=settings.cluster,
        host=settings.host,
        address=settings.address,
        secure=settings.secure,
        list_signer=settings.list_signer,
        members=tuple(members),
        overlap=_overlap(state, settings.list_signer),
    )


def _in_force(state: Path, own: Member) -> Mapping[str, bytes]:
    found = dict(own.certificates)
    for name in (*IDENTITIES, CALLMANAGER_ECDSA):
        if name in found:
            with suppress(IdentityError):  # who needs the key says what is wrong with the file
                found[name] = read_certificate(identity_file(state, name))
    return MappingProxyType(found)


def _overlap(state: Path, list_signer: str) -> tuple[bytes, ...]:
    names = dict.fromkeys(("CallManager", list_signer))
    paths = [waiting_identity_file(state, name, when) for name in names for when in WAITING]
    return tuple(read_certificate(path) for path in paths if path.exists())


def write_member(folder_of: Path, member: Member) -> None:
    """Put the record of ``member`` into the cluster folder of the node at ``folder_of``."""
    record = _MemberRecord(
        host=member.host,
        address=member.address,
        tvs_port=member.tvs_port,
        order=member.order,
        state=str(member.state.absolute()),
        certificates=dict(member.certificates),
    )
    path = cluster_folder(folder_of) / f"{member.host}.json"
    encoded = msgspec.json.format(msgspec.json.encode(record))
    if not path.exists() or read_regular(path) != encoded:
        write_whole(path, encoded)


def publish(node: Node, member: Member) -> tuple[Path, ...]:
    """Put ``member`` into the folders of every node of the cluster on this machine.

    Answers the folders that could not be written, or know another folder as this node's; the own
    one must be written, else OSError.
    """
    write_member(node.state, member)
    missed = []
    for other in node.others:
        try:
            if _original(node, other) is None:
                write_member(other.state, member)
                continue
        except OSError:
            pass
        missed.append(other.state)
    return tuple(missed)


def check_no_copy(node: Node) -> None:
    """Raise :class:`IdentityError` if ``node`` was copied from a folder that is still there.

    A record of the cluster names folders: those of the original's nodes, which are not to change
    with a copy.
    """
    for other in node.others:
        original = _original(node, other)
        if original is not None:
            raise IdentityError(
                f"{node.state}: a copy of {original}: its record of {other.host} names a node of "
                f"the original's cluster, {other.state}; nothing was changed"
            )


def _original(node: Node, other: Member) -> Path | None:
    """The folder that ``other`` knows as that of ``node``, if it is another one and there."""
    try:
        known = _read_member(cluster_folder(other.state) / f"{node.host}.json").state
        return None if known.samefile(node.state) else known
    except (OSError, IdentityError):  # it knows none, or one that has been moved
        return None


def _read_member(path: Path) -> Member:
    try:
        record = msgspec.json.decode(read_regular(path), type=_MemberRecord)
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise IdentityError(f"{path}: not a node's record: {error}") from None
    if record.host != path.stem:
        raise IdentityError(f"{path}: host: {record.host!r} has its record in another file")
    for name in IDENTITIES:
        if name not in record.certificates:
            raise IdentityError(f"{path}: certificates: there is none of {name}")
    for name, der in record.certificates.items():
        try:
            with odd_serials():
                x509.load_der_x509_certificate(der)
        except UNREADABLE as error:
            raise IdentityError(f"{path}: certificate {name}: {error}") from None
    return Member(
        host=record.host,
        address=record.address,
        tvs_port=record.tvs_port,
        order=record.order,
        state=Path(record.state),
        certificates=MappingProxyType(record.certificates),
    )
