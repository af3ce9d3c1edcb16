"""Two lists side by side: what trust comes and goes, and what a phone makes of the change.

How a phone decides stands in :mod:`itl.acceptance`.
"""

from collections import defaultdict, deque
from dataclasses import dataclass
from enum import StrEnum

from itl.acceptance import Acceptance, acceptance
from itl.document import WRITTEN_DIGESTS
from itl.limits import load_guards
from itl.signing import SignerInfo, Verdict, verify
from itl.trustlist import CTL_FILENAME, ITL_FILENAME, Record, TrustList


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


_REACTIONS = {
    Acceptance.ROLLED_BACK: (
        Reaction.ACCEPTS,
        "the list held has no TFTP and no TVS certificate: any new one is accepted (assumed)",
    ),
    Acceptance.SIGNER_HELD: (Reaction.ACCEPTS, "the list held has the signer {name}"),
    Acceptance.OTHER_KEY: (
        Reaction.REFUSES,
        "the list held has {name} with a key that did not sign this list",
    ),
    Acceptance.IS_TVS: (Reaction.REFUSES, "TVS is never asked about itself: {name}"),
    Acceptance.NO_TVS: (Reaction.REFUSES, "the list held has no TVS to ask about {signer}"),
    Acceptance.ASKS_TVS: (Reaction.NEEDS_TVS, "TVS must vouch for {signer}"),
}
_BY_THE_ITL = (Reaction.NEEDS_TVS, "TVS, by the phone's ITL, must vouch for {signer}")


def react(held: TrustList, offered: TrustList) -> tuple[Reaction, str]:
    """What a phone does with the list offered, and why."""
    if held.raw == offered.raw:
        return Reaction.UNCHANGED, "the same octets"
    header = offered.header
    if header.filename not in {ITL_FILENAME, CTL_FILENAME}:
        return Reaction.REFUSES, f"its header names {header.filename!r}, which no phone asks for"
    if header.digest not in WRITTEN_DIGESTS:
        digest = header.digest or "missing"
        return Reaction.REFUSES, f"the digest is {digest}, which no phone is known to verify"
    too_much = load_guards(offered)
    if too_much:
        return Reaction.REFUSES, too_much[0].text
    if held.kind == "CTL":
        found = acceptance(offered, ctl=held)
        reaction, text = _BY_THE_ITL if found is Acceptance.NO_TVS else _REACTIONS[found]
    else:
        reaction, text = _REACTIONS[acceptance(offered, itl=held)]
    if reaction is not Reaction.ACCEPTS and verify(offered).verdict is Verdict.INVALID:
        return Reaction.REFUSES, "it has no signature that verifies with the signer's own record"
    serial = f"serial number {header.signer_serial.hex()}"
    signer = f"{header.signer_name}, {serial}, issuer {header.signer_issuer}"
    return reaction, text.format(name=header.signer_name, signer=signer)


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
