"""What phones do with lists that can be written but do harm: the guards of a build.

Sources: Security Guide for Cisco Unified CM, chapters Default Security Setup (39 certificates,
64 kB) and Phone Security (digests of the 7900, 8900 and 9900 phones).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from itl.certificates import describe
from itl.errors import BuildError
from itl.roles import Role
from itl.trustlist import RecordSpec, TrustList

MAX_LIST_OCTETS = 64 * 1024
MAX_CERTIFICATES = 39
USUAL_SASTS = 2

SHA1_ONLY = ("7900", "8900", "9900")
SHA1_ONLY_IN_WORDS = f"{', '.join(SHA1_ONLY[:-1])} and {SHA1_ONLY[-1]}"
PHONE_FAMILIES = ("6900", "7800", "7900", "8800", "8900", "9900")


@dataclass(frozen=True)
class Guard:
    """Something a phone would not like; ``fatal`` where phones would refuse the list."""

    code: str
    text: str
    fatal: bool


def size_guards(length: int, certificates: int) -> list[Guard]:
    """What a list's length in octets and its number of certificates mean for a phone."""
    guards = []
    if length > MAX_LIST_OCTETS:
        text = (
            f"{length} octets: phones do not load a list over {MAX_LIST_OCTETS} and do not register"
        )
        guards.append(Guard("list-too-long", text, fatal=True))
    if certificates > MAX_CERTIFICATES:
        text = (
            f"{certificates} certificates: with more than {MAX_CERTIFICATES} phones fail to load"
            " the list and do not register"
        )
        guards.append(Guard("too-many-certificates", text, fatal=True))
    return guards


def load_guards(document: TrustList) -> list[Guard]:
    """What keeps phones from loading a list."""
    return size_guards(len(document.raw), document.certificate_count)


def sast_guard(sasts: int) -> list[Guard]:
    """More SAST records than the two (signer and recovery) that open tools allow."""
    if sasts <= USUAL_SASTS:
        return []
    text = (
        f"{sasts} SAST records: CUCM writes such lists, open tools hold {USUAL_SASTS} for the most"
    )
    return [Guard("many-sasts", text, fatal=False)]


def digest_guard(digest: str, families: Sequence[str]) -> list[Guard]:
    """Whether the phones can check ``digest``; no ``families`` means that any may come.

    Raises :class:`~itl.errors.BuildError` for a family that is not in :data:`PHONE_FAMILIES`.
    """
    for family in families:
        if family not in PHONE_FAMILIES:
            raise BuildError(f"phone family {family!r}: use one of {', '.join(PHONE_FAMILIES)}")
    if digest == "sha1":
        return []
    chosen = [family for family in families if family in SHA1_ONLY]
    if families and not chosen:
        return []
    text = (
        f"{digest}: {SHA1_ONLY_IN_WORDS} phones verify SHA-1 only; they refuse the list and do not"
        " register"
    )
    return [Guard("digest", text, fatal=bool(chosen))]


def signer_guards(records: Sequence[RecordSpec], signer: bytes, now: datetime) -> list[Guard]:
    """Is the signer (DER) a SAST of its own list, and in date at ``now`` (aware)."""
    guards = []
    roles = {spec.role for spec in records if spec.certificate == signer}
    if Role.SAST not in roles:
        text = (
            "the signer is no SAST of the list: a phone that installs it refuses every later list"
            " of the same signer, and needs TVS for each"
        )
        guards.append(Guard("signer-not-sast", text, fatal=True))
    described = describe(signer)
    if now > described.not_after:
        text = (
            f"the signer expired on {described.not_after:%Y-%m-%d}: what phones make of it depends"
            " on the model (assumed)"
        )
        guards.append(Guard("signer-expired", text, fatal=False))
    if now < described.not_before:
        text = f"the signer is not valid before {described.not_before:%Y-%m-%d}"
        guards.append(Guard("signer-not-yet-valid", text, fatal=False))
    return guards


def check_build(
    records: Sequence[RecordSpec],
    built: bytes,
    *,
    signer: bytes,
    digest: str,
    now: datetime,
    families: Sequence[str] = (),
) -> list[Guard]:
    """Everything a phone would not like about a list that was built; empty when nothing is wrong.

    ``signer`` is DER, ``now`` aware, ``families`` the phones meant (:data:`PHONE_FAMILIES`).
    """
    sasts = sum(spec.role == Role.SAST for spec in records)
    certificates = sum(spec.certificate is not None for spec in records)
    return [
        *size_guards(len(built), certificates),
        *signer_guards(records, signer, now),
        *digest_guard(digest, families),
        *sast_guard(sasts),
    ]
