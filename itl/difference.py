"""Two lists side by side: what trust comes and goes, and what a phone makes of the change.

How a phone decides: Security Guide for Cisco Unified CM, chapter Default Security Setup, and the
console log of a migrating 8861 in Cisco document 213407.
"""

from collections import defaultdict, deque
from dataclasses import dataclass
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from itl.certificates import CertificateError, key_of
from itl.document import signature_holds
from itl.limits import size_guards
from itl.roles import Role
from itl.signing import SignerInfo, Verdict, verify
from itl.trustlist import Record, TrustList


class Reaction(StrEnum):
    """What a phone that holds the first list does when it is offered the second."""

    UNCHANGED = "unchanged"
    ACCEPTS = "accepts"
    NEEDS_TVS = "needs-tvs"
    REFUSES = "refuses"


@dataclass(frozen=True)
class Change:
    """The same role and subject with another certificate: renewed, or someone else's."""

    before: Record
    after: Record


@dataclass(frozen=True)
class Comparison:
    """``gone``, ``come`` and ``changed`` records, and the phone's reaction with its reason.

    ``vouched`` is the signer that TVS must vouch for, where it is needed.
    """

    gone: tuple[Record, ...]
    come: tuple[Record, ...]
    changed: tuple[Change, ...]
    reaction: Reaction
    reason: str
    vouched: SignerInfo | None = None

    @property
    def same_trust(self) -> bool:
        """Whether both lists hold the same certificates in the same roles."""
        return not (self.gone or self.come or self.changed)


def compare(held: TrustList, offered: TrustList) -> Comparison:
    """What changes for a phone that holds one list and is offered the other."""
    before = {record.trust: record for record in held.records}
    after = {record.trust: record for record in offered.records}
    gone = [record for key, record in before.items() if key not in after]
    come = [record for key, record in after.items() if key not in before]
    changed = _changes(gone, come)
    replaced = {change.before.offset for change in changed}
    replacing = {change.after.offset for change in changed}
    gone = [record for record in gone if record.offset not in replaced]
    come = [record for record in come if record.offset not in replacing]
    reaction, reason = react(held, offered)
    vouched = verify(offered).signer if reaction is Reaction.NEEDS_TVS else None
    return Comparison(tuple(gone), tuple(come), changed, reaction, reason, vouched)


def react(held: TrustList, offered: TrustList) -> tuple[Reaction, str]:
    """What a phone does with the list offered, and why."""
    if held.raw == offered.raw:
        return Reaction.UNCHANGED, "the same octets"
    too_much = size_guards(len(offered.raw), offered.certificate_count)
    if too_much:
        return Reaction.REFUSES, too_much[0].text
    if verify(offered).verdict is Verdict.INVALID:
        return Reaction.REFUSES, "it has no signature that verifies with the signer's own record"
    if held.kind == "ITL" and held.is_emptied:
        text = (
            "the list held has no TFTP and no TVS certificate (prepared for rollback): any new one"
        )
        return Reaction.ACCEPTS, f"{text} is accepted (assumed)"
    signers = [
        record
        for record in held.records
        if record.role == Role.SAST and record.is_named_by(offered.header)
    ]
    if signers:
        return _judge(signers, offered)
    return _without_signer(held, offered)


def _judge(signers: list[Record], offered: TrustList) -> tuple[Reaction, str]:
    header = offered.header
    if any(_verifies(record, offered) for record in signers):
        return Reaction.ACCEPTS, f"the list held has the signer {header.signer_name} as SAST"
    text = f"the list held has {header.signer_name} as SAST with a key that did not sign this list"
    return Reaction.REFUSES, text


def _without_signer(held: TrustList, offered: TrustList) -> tuple[Reaction, str]:
    header = offered.header
    wanted = (
        f"{header.signer_name}, serial number {header.signer_serial.hex()}, issuer"
        f" {header.signer_issuer}"
    )
    if held.kind == "CTL":
        return Reaction.NEEDS_TVS, f"TVS, by the phone's ITL, must vouch for {wanted}"
    if any(record.role == Role.TVS and record.certificate for record in held.records):
        return Reaction.NEEDS_TVS, f"TVS must vouch for {wanted}"
    return Reaction.REFUSES, f"the list held has no TVS to ask about {wanted}"


def _verifies(record: Record, offered: TrustList) -> bool:
    try:
        key = key_of(record.certificate, record.public_key)
    except CertificateError:
        return False
    return isinstance(key, RSAPublicKey) and signature_holds(offered.raw, offered.header, key)


def _changes(gone: list[Record], come: list[Record]) -> tuple[Change, ...]:
    """Each record that goes with the first one left that comes in its role, name and host."""
    successors = defaultdict[tuple[int, str, str], deque[Record]](deque)
    for record in come:
        successors[record.role, record.subject, record.dns_name].append(record)
    changes = []
    for record in gone:
        left = successors[record.role, record.subject, record.dns_name]
        if left:
            changes.append(Change(record, left.popleft()))
    return tuple(changes)
