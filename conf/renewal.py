"""Identities are renewed in an order that keeps phones: what a step would do, checked before it.

A phone follows a new trust list if it holds the signer as a SAST record, or if a TVS whose
certificate it holds vouches for the signer (Cisco documents 116232, 213407), or if all it holds is
an ITL emptied for a rollback (Security Guide). So each step is judged against what phones may hold:
the *anchors* of every list served since the phone last came. They are kept in
``DIR/identities/history.json``; when which phone came is an argument.

The key that signs lists is renewed in three steps, so that old and new stand in the list side by
side: the new one enters the list beside the old ("introduce"), then signs it ("switch"), then the
old one leaves ("retire"). Any other identity is replaced at once; a CallManager certificate that is
replaced stays in the list until it is retired.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum, unique
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import msgspec

from conf import ConfError
from conf.composition import RoleName, ctl_entries, itl_entries, tvs_certificates
from conf.files import read_regular, write_whole
from conf.identity import (
    CALLMANAGER_ECDSA,
    IDENTITIES,
    IdentityError,
    identities_folder,
    identity_file,
    read_certificate,
    waiting_identity_file,
)
from conf.node import Member, Node
from conf.settings import load_settings

HISTORY_FILE = "history.json"
_BEGINNING = datetime.fromtimestamp(0, UTC)
_NOT_MADE_YET = b""  # octets that are no certificate's, of one that a step will make


class RenewalError(ConfError):
    """A step that would lose phones; nothing was changed."""

    exit_code = 1


@unique
class Step(StrEnum):
    """What is done to an identity."""

    REPLACE = "replace"
    INTRODUCE = "introduce"
    SWITCH = "switch"
    RETIRE = "retire"


class Anchors(msgspec.Struct, frozen=True):
    """What a phone holds of ITL and CTL, as SHA-256 of DER in hex: signer, SASTs, TVS servers.

    ``since`` is when they were first served (aware, UTC), or before: lists that no renewal made
    have the time of those before them, and a phone that came since may hold either. ``emptied``
    is an ITL without TVS and TFTP certificates, and no CTL: any list is taken after it.
    """

    since: Annotated[datetime, msgspec.Meta(tz=True)]  # it is compared with times that have one
    signer: str
    sasts: frozenset[str]
    tvs: frozenset[str]
    emptied: bool = False

    @property
    def begin(self) -> str:
        """``since`` in words."""
        return f"{self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since > _BEGINNING else "the beginning"

    def follows(self, signer: str, servers: Collection[frozenset[str]]) -> "Bridge":
        """How a phone that holds these anchors comes to lists of ``signer``.

        ``servers`` is what each TVS shows, one certificate to some clients, another to others: all
        have to be held.
        """
        if signer in self.sasts:
            return Bridge.SIGNER
        if self.emptied:
            return Bridge.EMPTIED
        return Bridge.TVS if any(shown <= self.tvs for shown in servers) else Bridge.NONE


@unique
class Bridge(StrEnum):
    """What makes a phone believe the next list."""

    SIGNER = "it holds the signer"
    EMPTIED = "its ITL is emptied for a rollback: it takes any"
    TVS = "TVS vouches for the signer"
    NONE = "lost: it holds neither the signer nor a TVS that could vouch for it"


@dataclass(frozen=True)
class Holders:
    """Phones that hold the list with ``anchors``; ``phones`` are those known by name."""

    anchors: Anchors
    phones: tuple[str, ...]
    bridge: Bridge


@dataclass(frozen=True)
class Plan:
    """One step of renewing ``name``, what phones would do, and the steps to come after it."""

    name: str
    step: Step
    holders: tuple[Holders, ...]
    later: tuple[Step, ...]

    @property
    def lost(self) -> tuple[Holders, ...]:
        """Those who would refuse the list after this step."""
        return tuple(some for some in self.holders if some.bridge is Bridge.NONE)

    def check(self) -> None:
        """Raise :class:`RenewalError` if the step would lose phones."""
        for some in self.lost:
            who = ", ".join(some.phones) or "any phone that has not come back since"
            raise RenewalError(
                f"{self.name}: to {self.step} it now would lose phones that hold the list served "
                f"since {some.anchors.begin} ({who}): let them fetch the "
                f"present list first, or --force"
            )


def next_step(node: Node, name: str) -> tuple[Step, ...]:
    """The step that is next for the identity ``name`` of ``node``, and those after it.

    Raises :class:`~conf.identity.IdentityError` for one that the node does not have.
    """
    known = (*IDENTITIES, CALLMANAGER_ECDSA)
    if name not in known or not identity_file(node.state, name).exists():
        raise IdentityError(
            f"{name}: this node has no such identity; there can be: {', '.join(known)}"
        )
    if waiting_identity_file(node.state, name, "next").exists():
        return (Step.SWITCH, Step.RETIRE)
    if waiting_identity_file(node.state, name, "old").exists():
        return (Step.RETIRE,)
    if name == node.list_signer:
        return (Step.INTRODUCE, Step.SWITCH, Step.RETIRE)
    return (Step.REPLACE, Step.RETIRE) if name == "CallManager" else (Step.REPLACE,)


def plan(node: Node, name: str, fetched: Mapping[str, datetime]) -> Plan:
    """What the next step of renewing ``name`` would do to phones.

    ``fetched`` tells when each phone (by name) last fetched a trust list. Where no phone is known,
    any list ever served may still be held by one. Raises :class:`~conf.ConfError` for a name that
    is none, and for files that cannot be read.
    """
    step, *later = next_step(node, name)
    past = served(node)
    signer, own = _after(node, name, step)
    members = [own if member is node.own else member for member in node.members]
    servers = [_fingerprints(tvs_certificates(member)) for member in members]
    holders = [
        Holders(held, _phones(past, held.since, fetched), held.follows(signer, servers))
        for held in past
    ]
    kept = [some for some in holders if some.phones or some.anchors is past[-1] or not fetched]
    return Plan(name, step, tuple(kept), tuple(later))


def served(node: Node) -> tuple[Anchors, ...]:
    """The anchors of every list served so far, the oldest first, the one now served last.

    Raises :class:`~conf.ConfError` for files that cannot be read.
    """
    path = _history_file(node.state)
    try:
        past = msgspec.json.decode(read_regular(path), type=tuple[Anchors, ...])
    except FileNotFoundError:
        past = ()
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise IdentityError(f"{path}: not a history of renewals: {error}") from None
    return _with(past, anchors(node, since=past[-1].since if past else _BEGINNING))


def keep(node: Node, past: tuple[Anchors, ...]) -> None:
    """Write the history of ``node``: ``past``, and from now on what it serves after a step.

    Raises OSError.
    """
    history = _with(past, anchors(node, since=datetime.now(UTC)))
    write_whole(_history_file(node.state), msgspec.json.format(msgspec.json.encode(history)))


def _with(past: tuple[Anchors, ...], now: Anchors) -> tuple[Anchors, ...]:
    """``past``, and after it ``now`` unless the last is the same."""
    if past and msgspec.structs.replace(now, since=past[-1].since) == past[-1]:
        return past
    return (*past, now)


def anchors(node: Node, *, since: datetime) -> Anchors:
    """What a phone takes from the lists that ``node`` serves with what is on disk.

    Raises :class:`~conf.ConfError` for identities or settings that cannot be read.
    """
    signer = _signer(node)
    rollback = load_settings(node.state).lists.rollback
    entries = list(itl_entries(node, signer, rollback=rollback))
    if node.secure:
        entries += ctl_entries(node, signer)

    def held(role: RoleName) -> frozenset[str]:
        return _fingerprints(
            entry.certificate for entry in entries if entry.role == role and entry.certificate
        )

    return Anchors(
        since,
        fingerprint(signer),
        sasts=held("SAST"),
        tvs=held("TVS"),
        emptied=rollback and not node.secure,
    )


def _signer(node: Node) -> bytes:
    return read_certificate(identity_file(node.state, node.list_signer))


def fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate, in hex."""
    return sha256(der).hexdigest()


def _fingerprints(ders: Iterable[bytes]) -> frozenset[str]:
    return frozenset(map(fingerprint, ders))


def _history_file(state: Path) -> Path:
    return identities_folder(state) / HISTORY_FILE


def _phones(
    past: tuple[Anchors, ...], begin: datetime, fetched: Mapping[str, datetime]
) -> tuple[str, ...]:
    """Who came last while lists served since ``begin`` were the newest."""
    after = [one.since for one in past if one.since > begin]
    end = min(after, default=datetime.max.replace(tzinfo=UTC))
    return tuple(sorted(name for name, when in fetched.items() if begin <= when < end))


def _after(node: Node, name: str, step: Step) -> tuple[str, Member]:
    """Who signs after a step (a fingerprint), and this node's public part then.

    The other two steps change neither, nor what a TVS shows.
    """
    if step is Step.SWITCH:
        certificate = read_certificate(waiting_identity_file(node.state, name, "next"))
    elif step is Step.REPLACE:
        certificate = _NOT_MADE_YET
    else:
        return fingerprint(_signer(node)), node.own
    signer = certificate if name == node.list_signer else _signer(node)
    own = replace(node.own, certificates={**node.own.certificates, name: certificate})
    return fingerprint(signer), own
