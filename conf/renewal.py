"""Identities are renewed in an order that keeps phones: what a step would do, checked before it.

A phone follows a new trust list if it holds the signer as a SAST record, or if a TVS whose
certificate it holds vouches for the signer (Cisco documents 116232, 213407). So each step is judged
against what phones may hold: the *anchors* of every list served since the phone last came. They are
kept in ``DIR/identities/history.json``; when which phone came is an argument.

The key that signs lists is renewed in three steps, so that old and new stand in the list side by
side: the new one enters the list beside the old ("introduce"), then signs it ("switch"), then the
old one leaves ("retire"). Any other identity is replaced at once; a CallManager certificate that is
replaced stays in the list until it is retired.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum, unique
from hashlib import sha256
from pathlib import Path

import msgspec

from conf import ConfError
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
from conf.node import Node

HISTORY_FILE = "history.json"
_BEGINNING = datetime.fromtimestamp(0, UTC)


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
    """What a phone holds of a list, as SHA-256 of DER in hex: its signer, SASTs and TVS servers.

    ``since`` is when the list was first served (aware, UTC).
    """

    since: datetime
    signer: str
    sasts: frozenset[str]
    tvs: frozenset[str]

    @property
    def begin(self) -> str:
        """``since`` in words."""
        return f"{self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since > _BEGINNING else "the beginning"

    def follows(self, other: "Anchors") -> "Bridge":
        """How a phone that holds these anchors comes to the list with ``other``."""
        if other.signer in self.sasts:
            return Bridge.SIGNER
        return Bridge.TVS if self.tvs & other.tvs else Bridge.NONE


@unique
class Bridge(StrEnum):
    """What makes a phone believe the next list."""

    SIGNER = "it holds the signer"
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
    """The step that is next for the identity ``name`` of ``node``, and those after it."""
    if not identity_file(node.state, name).exists():
        known = ", ".join((*IDENTITIES, CALLMANAGER_ECDSA))
        raise IdentityError(f"{name}: this node has no such identity; there can be: {known}")
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
    any list ever served may still be held by one.
    """
    step, *later = next_step(node, name)
    past = served(node)
    after = _after(node, name, step, past[-1])
    holders = [_holders(past, position, fetched, after) for position in range(len(past))]
    kept = [some for some in holders if some.phones or some.anchors is past[-1] or not fetched]
    return Plan(name, step, tuple(kept), tuple(later))


def served(node: Node) -> tuple[Anchors, ...]:
    """The anchors of every list served so far, the oldest first, the one now served last."""
    path = _history_file(node.state)
    try:
        past = msgspec.json.decode(read_regular(path), type=tuple[Anchors, ...])
    except FileNotFoundError:
        past = ()
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise IdentityError(f"{path}: not a history of renewals: {error}") from None
    now = anchors(node)
    if past and (past[-1].signer, past[-1].sasts, past[-1].tvs) == (now.signer, now.sasts, now.tvs):
        return past
    if not past:
        now = msgspec.structs.replace(now, since=_BEGINNING)
    return (*past, now)


def keep(node: Node, past: tuple[Anchors, ...]) -> None:
    """Write the history of ``node``: ``past``, and the anchors in force if they are others."""
    write_history(node.state, past)
    write_history(node.state, served(node))


def write_history(state: Path, past: tuple[Anchors, ...]) -> None:
    """Write what the node under ``state`` has served."""
    write_whole(_history_file(state), msgspec.json.format(msgspec.json.encode(past)))


def anchors(node: Node) -> Anchors:
    """What a phone takes from the list that ``node`` serves with the identities on disk."""
    signer = fingerprint(read_certificate(identity_file(node.state, node.list_signer)))
    sasts = {signer, fingerprint(node.own.certificates["CallManager"])}
    if node.secure:
        sasts.add(fingerprint(node.own.certificates["ITLRecovery"]))
    sasts |= {fingerprint(der) for der in node.overlap}
    tvs = {fingerprint(member.certificates["TVS"]) for member in node.members}
    return Anchors(datetime.now(UTC), signer, frozenset(sasts), frozenset(tvs))


def fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate, in hex."""
    return sha256(der).hexdigest()


def _history_file(state: Path) -> Path:
    return identities_folder(state) / HISTORY_FILE


def _holders(
    past: tuple[Anchors, ...], position: int, fetched: Mapping[str, datetime], after: Anchors
) -> Holders:
    begin = past[position].since
    end = past[position + 1].since if position + 1 < len(past) else datetime.max.replace(tzinfo=UTC)
    phones = tuple(sorted(name for name, when in fetched.items() if begin <= when < end))
    return Holders(past[position], phones, past[position].follows(after))


def _after(node: Node, name: str, step: Step, now: Anchors) -> Anchors:
    """The anchors after a step; a key that is not made yet goes by a name no certificate has."""
    new = "new"
    gone = fingerprint(node.own.certificates[name])
    if step is Step.SWITCH:
        waiting = read_certificate(waiting_identity_file(node.state, name, "next"))
        return msgspec.structs.replace(now, signer=fingerprint(waiting))
    if step is Step.RETIRE:
        old = read_certificate(waiting_identity_file(node.state, name, "old"))
        return msgspec.structs.replace(now, sasts=now.sasts - {fingerprint(old)})
    if step is Step.INTRODUCE or name == "CallManager":
        return msgspec.structs.replace(now, sasts=now.sasts | {new})
    return msgspec.structs.replace(
        now,
        sasts=frozenset(new if one == gone else one for one in now.sasts),
        tvs=frozenset(new if one == gone else one for one in now.tvs),
    )
