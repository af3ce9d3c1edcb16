"""What the lists a phone holds say about the signer of a document that it is offered.

A phone looks for the signer that the header names, by issuer and serial number: a SAST for a trust
list, TFTP or CCM+TFTP for any other file. If it holds it, the signature decides, and nobody else is
asked; else its TVS is, for which a list held must name a TVS certificate.

Sources: Cisco documents 213407 (console log of a migrating 8861) and 118699, the Security Guide for
Unified CM, chapter Default Security Setup. Assumed, because nothing public tells: that with a CTL
held the signer of an ITL may also be a CCM+TFTP of it; that an ITL without TVS and TFTP
certificates ("Prepare Cluster for Rollback to pre 8.0") counts as no list for a CTL too.
"""

from collections.abc import Collection, Iterable, Iterator
from enum import Enum, auto

from itl.roles import SIGNS_FILES, Role
from itl.signedfile import SignedFile
from itl.signing import signed_by
from itl.trustlist import Record, TrustList

LIST_SIGNERS = frozenset({int(Role.SAST)})
FILE_SIGNERS = frozenset({int(role) for role in SIGNS_FILES})


class Acceptance(Enum):
    """What becomes of a document, as far as its signer goes."""

    NO_LIST = auto()  # nothing is held: the first list is accepted without proof
    ROLLED_BACK = auto()  # nothing but an emptied ITL is held: any list is accepted
    SIGNER_HELD = auto()  # the signature verifies with a signer held
    OTHER_KEY = auto()  # the signer named is held, but with a key that did not sign this
    IS_TVS = auto()  # the signer is a TVS, about which none is asked
    NO_TVS = auto()  # not held, and no TVS is named to ask
    ASKS_TVS = auto()


def acceptance(
    document: TrustList | SignedFile, *, ctl: TrustList | None = None, itl: TrustList | None = None
) -> Acceptance:
    """What a phone that holds these lists makes of ``document``."""
    held = [each for each in (ctl, itl) if each is not None]
    if isinstance(document, TrustList) and ctl is None and (itl is None or itl.is_emptied):
        return Acceptance.NO_LIST if itl is None else Acceptance.ROLLED_BACK
    header = document.header
    named = [record for record in _signers(document, ctl, held) if record.is_named_by(header)]
    if named:
        holds = any(signed_by(document, each.certificate, each.public_key) for each in named)
        return Acceptance.SIGNER_HELD if holds else Acceptance.OTHER_KEY
    tvs = [record for record in records_with(held, {Role.TVS}) if record.certificate]
    if not tvs:
        return Acceptance.NO_TVS
    is_tvs = any(record.is_named_by(header) for record in tvs)
    return Acceptance.IS_TVS if is_tvs else Acceptance.ASKS_TVS


def records_with(lists: Iterable[TrustList], roles: Collection[int]) -> Iterator[Record]:
    """The records with a key and one of ``roles``, over all ``lists``."""
    for each in lists:
        yield from (record for record in each.records if record.role in roles and record.has_key)


def _signers(
    document: TrustList | SignedFile, ctl: TrustList | None, held: list[TrustList]
) -> Iterator[Record]:
    """The records whose keys may sign ``document``."""
    is_list = isinstance(document, TrustList)
    yield from records_with(held, LIST_SIGNERS if is_list else FILE_SIGNERS)
    if isinstance(document, TrustList) and document.kind == "ITL" and ctl is not None:
        yield from records_with([ctl], {Role.CCM_TFTP})
