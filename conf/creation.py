"""A node is created: its identities made or brought along, its cluster founded or joined."""

import ipaddress
import re
import secrets
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from conf import ConfError
from conf.files import make_folder, read_regular, write_whole
from conf.identity import (
    CALLMANAGER_ECDSA,
    IDENTITIES,
    WAITING,
    IdentityError,
    TlsIdentity,
    as_signer,
    encode_identity,
    identities_folder,
    identity_file,
    read_identity,
    waiting_identity_file,
)
from conf.node import Member, Node, check_no_copy, load_node, publish, write_member
from conf.running import claim_folder, is_running
from conf.selfsigned import COMMON_NAME_LENGTH, make_identity
from conf.settings import SETTINGS_FILE, load_settings

DEFAULT_TVS_PORT = 2445
_FOLDERS = ("identities", "cluster", "tftp")
_DRAFT = re.compile(r"\..{0,32}\.[0-9a-f]{16}", re.DOTALL)
_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*")


@dataclass(frozen=True)
class Request:
    """What ``trustlab init`` was asked for; ``identities`` maps a name to a PEM file.

    ``macs`` are phones, 12 hexadecimal digits each, that get a rendered configuration.
    """

    cluster: str | None
    host: str
    address: str
    secure: bool = False
    list_signer: str | None = None
    identities: Mapping[str, Path] = field(default_factory=dict)
    ecdsa: bool = False
    join: Path | None = None
    macs: tuple[str, ...] = ()


def create_node(state: Path, request: Request, *, force: bool = False) -> Path | None:
    """Create the node ``state``, whole or not at all; answers where an old one went.

    An existing node is never overwritten: with ``force`` its folder is renamed first. An empty
    folder is filled where it is: it may be a volume, or all a service may write to; what a call
    that was killed there left is removed. Raises :class:`~conf.ConfError` with what is wrong.
    """
    _check(request)
    with ExitStack() as claims:
        if state.is_dir():
            claims.enter_context(claim_folder(state))
        if request.join is not None:
            # no other join, and no renewal, may change the cluster meanwhile
            joined = load_node(request.join)
            check_no_copy(joined)
            states = sorted(member.state for member in joined.members)
            for folder in map(identities_folder, states):
                if folder.is_dir():  # else on another machine
                    claims.enter_context(claim_folder(folder))
        return _create(state, request, force=force)


def _create(state: Path, request: Request, *, force: bool) -> Path | None:
    peer = _peer(request)
    if peer is not None:
        peer = _without_former(peer, request.host, state, force=force)
    backup = _make_room(state, force=force)
    place = state if state.exists() else state.parent
    place.mkdir(parents=True, exist_ok=True)
    draft = place / f".{state.name[:32]}.{secrets.token_hex(8)}"  # as _DRAFT knows it
    try:
        make_folder(draft)
        _fill(draft, state, request, peer)
        if place == state:
            _empty_into(state, draft)
        else:
            draft.rename(state)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        if backup is not None and not state.exists():
            backup.rename(state)
        raise
    if peer is not None:
        node = load_node(state)
        missed = publish(node, node.own)
        if missed:
            raise IdentityError(f"joined, but {', '.join(map(str, missed))} cannot be written")
    return backup


def _empty_into(state: Path, draft: Path) -> None:
    """Move what a draft holds up into ``state``; the settings, which make it a node, come last."""
    state.chmod(0o700)
    for path in sorted(draft.iterdir(), key=lambda path: path.name == SETTINGS_FILE):
        path.rename(state / path.name)
    draft.rmdir()


def _check(request: Request) -> None:
    if not _HOST.fullmatch(request.host) or len(request.host) > COMMON_NAME_LENGTH:
        raise ConfError(
            f"--node {request.host!r}: not a host name of at most {COMMON_NAME_LENGTH} octets"
        )
    try:
        ipaddress.ip_address(request.address)
    except ValueError as error:
        raise ConfError(f"--address: {error}") from None
    if request.cluster is not None and not re.fullmatch(r"[^\x00-\x1f\"\\]{1,64}", request.cluster):
        raise ConfError("--cluster: 1 to 64 characters, no control character, quote or backslash")
    known = (*IDENTITIES, CALLMANAGER_ECDSA)
    for name in request.identities:
        if name not in known:
            raise ConfError(f"--identity {name}: no such identity; known: {', '.join(known)}")


def _peer(request: Request) -> Node | None:
    if request.join is None:
        if request.cluster is None:
            raise ConfError("--cluster is needed, unless --join names a node of a cluster")
        return None
    peer = load_node(request.join)
    if request.cluster not in {None, peer.cluster}:
        raise ConfError(f"--cluster {request.cluster}: {request.join} belongs to {peer.cluster}")
    if request.secure and not peer.secure:
        raise ConfError(f"--secure: the cluster {peer.cluster} is not secure")
    if "ITLRecovery" in request.identities:
        raise ConfError("--identity ITLRecovery: a cluster has one, which joining brings along")
    return peer


def _without_former(peer: Node, host: str, state: Path, *, force: bool) -> Node:
    """``peer`` without the node that is made anew in its own folder; no other is replaced."""
    former = next((member for member in peer.members if member.host == host), None)
    if former is None:
        return peer
    same = former.state.absolute() == state.absolute() != peer.state.absolute()
    if not (same and force):
        hint = "; --force makes it anew" if same else ""
        raise ConfError(f"--node {host}: the cluster {peer.cluster} has that node already{hint}")
    return replace(peer, members=tuple(one for one in peer.members if one.host != host))


def _make_room(state: Path, *, force: bool) -> Path | None:
    if state.is_dir():
        _clear(state)
    if not state.exists() or (state.is_dir() and not any(state.iterdir())):
        return None
    if not (state / SETTINGS_FILE).exists():
        raise ConfError(f"{state}: is not empty and holds no node; name another folder")
    if not force:
        raise ConfError(f"{state}: holds a node already; --force backs it up and makes a new one")
    if is_running(state):
        raise ConfError(f"{state}: its daemon runs; stop it first")
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    backup = state.with_name(f"{state.name}.backup-{stamp}")
    try:
        state.rename(backup)
    except OSError as error:
        raise ConfError(f"{state}: cannot be moved aside: {error.strerror}") from None
    return backup


def _clear(state: Path) -> None:
    """Remove what a call left that was killed while it filled ``state``: its draft tells of it."""
    there = {*state.iterdir()}
    drafts = {path for path in there if _DRAFT.fullmatch(path.name) and path.is_dir()}
    moved = there - drafts
    whole = any((draft / SETTINGS_FILE).exists() for draft in drafts)
    if not moved or (whole and moved <= {state / name for name in _FOLDERS}):
        for path in there:
            shutil.rmtree(path)


def _fill(draft: Path, state: Path, request: Request, peer: Node | None) -> None:
    for folder in _FOLDERS:
        make_folder(draft / folder)
    identities = _identities(request, peer)
    for name, identity in identities.items():
        write_whole(identity_file(draft, name), encode_identity(identity))
    if peer is not None:
        _share_waiting(peer, draft)
    if request.list_signer is not None:
        list_signer = request.list_signer
    else:
        list_signer = peer.list_signer if peer is not None else "ITLRecovery"
    for name in {"CallManager", list_signer}:
        as_signer(identities[name], request.identities.get(name, identity_file(state, name)))
    cluster = peer.cluster if peer is not None else request.cluster
    secure = peer.secure if peer is not None else request.secure
    text = _SETTINGS.format(
        cluster=cluster,
        host=request.host,
        address=request.address,
        secure=str(secure).lower(),
        list_signer=list_signer,
        macs=", ".join(f'"{mac}"' for mac in request.macs),
    )
    write_whole(draft / SETTINGS_FILE, text.encode())
    load_settings(draft, environment={})
    others = peer.members if peer is not None else ()
    own = Member(
        host=request.host,
        address=request.address,
        tvs_port=DEFAULT_TVS_PORT,
        order=1 + max((member.order for member in others), default=-1),
        state=state,
        certificates={name: identity.chain[0] for name, identity in identities.items()},
    )
    for member in (own, *others):
        write_member(draft, member)


def _share_waiting(peer: Node, draft: Path) -> None:
    """What of ITLRecovery is being renewed in the cluster is so in the new node too."""
    for when in WAITING:
        path = waiting_identity_file(peer.state, "ITLRecovery", when)
        if path.exists():
            write_whole(waiting_identity_file(draft, "ITLRecovery", when), read_regular(path))


def _identities(request: Request, peer: Node | None) -> dict[str, TlsIdentity]:
    brought = {name: read_identity(path) for name, path in request.identities.items()}
    if peer is not None:
        brought["ITLRecovery"] = read_identity(identity_file(peer.state, "ITLRecovery"))
    names = [*IDENTITIES, *([CALLMANAGER_ECDSA] if request.ecdsa else [])]
    missing = [name for name in names if name not in brought]
    with ThreadPoolExecutor() as pool:
        made = pool.map(lambda name: make_identity(name, request.host), missing)
        brought |= dict(zip(missing, made, strict=True))
    return brought


_SETTINGS = """\
# The settings of this node that differ from the defaults. Every key, its unit and its default:
# `trustlab config default`. A running daemon reads this file again on SIGHUP.

[node]
cluster = "{cluster}"
host = "{host}"
address = "{address}"
secure = {secure}
list_signer = "{list_signer}"

[phones]
# MAC addresses of phones that get a rendered configuration, for example ["001122AABBCC"].
macs = [{macs}]
"""
