"""Two lists side by side: what trust comes and goes, and what a phone makes of the change.

How a phone decides: Security Guide for Cisco Unified CM, chapter Default Security Setup, and the
console log of a migrating 8861 in Cisco document 213407.
"""

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
    before, after = _by_trust(held), _by_trust(offered)
    gone = [record for key, record in before.items() if key not in after]
    come = [record for key, record in after.items() if key not in before]
    changed = []
    for old in list(gone):
        new = next((one for one in come if _replaces(one, old)), None)
        if new is not None:
            changed.append(Change(old, new))
            gone.remove(old)
            come.remove(new)
    reaction, reason = react(held, offered)
    vouched = verify(offered).signer if reaction is Reaction.NEEDS_TVS else None
    return Comparison(tuple(gone), tuple(come), tuple(changed), reaction, reason, vouched)


def react(held: TrustList, offered: TrustList) -> tuple[Reaction, str]:
    """What a phone does with the list offered, and why."""
    if held.raw == offered.raw:
        return Reaction.UNCHANGED, "the same octets"
    too_much = size_guards(len(offered.raw), _certificates(offered))
    if too_much:
        return Reaction.REFUSES, too_much[0].text
    if verify(offered).verdict is Verdict.INVALID:
        return Reaction.REFUSES, "its signature does not verify with the signer's own record"
    if held.kind == "ITL" and not any(
        record.certificate and record.role in _ROLLBACK_ROLES for record in held.records
    ):
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


_ROLLBACK_ROLES = frozenset({Role.TFTP, Role.CCM_TFTP, Role.TVS})


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


def _by_trust(document: TrustList) -> dict[tuple[int, bytes], Record]:
    """Records by role and certificate; those without certificate by all they say."""
    return {
        (record.role, record.certificate or record.encode()): record for record in document.records
    }


def _replaces(new: Record, old: Record) -> bool:
    return new.role == old.role and new.subject == old.subject and new.dns_name == old.dns_name


def _certificates(document: TrustList) -> int:
    return sum(record.certificate is not None for record in document.records)
