"""From a question and the trusted certificates to an answer and its reason; pure.

As the real server decides (Cisco documents 213407 and 118699): a query is looked up by serial
number and issuer, a verify must match octet for octet; no chain, no revocation. Everything beyond
that is a setting of :class:`AnswerPolicy`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

import msgspec

from itl.certificates import Certificate, CertificateError, describe
from itl.roles import Role
from tvs.chain import certificate_authority_of
from tvs.messages import MAX_BODY_BYTES, Command, Request, Response, Status
from tvs.snapshot import Entry, Snapshot

MAX_CERTIFICATE_BYTES = MAX_BODY_BYTES - 512
"""What leaves room for status, roles and life in an answer to a query."""
MAX_READ_BYTES = 8192
"""The longest certificate of a stranger that is read: the names in 64 KiB take 0.1 s to read."""

_SIGNERS = (Role.SAST, Role.TFTP)

# Roles by certificate type, which counts wherever the certificate lies, and by trust store, for
# certificates of unknown type. Only {0, 3} of a CallManager certificate was seen in a real answer
# (Cisco document 213407); all else is assumed.
DEFAULT_ROLES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "CallManager": _SIGNERS,
        "CallManager-ECDSA": _SIGNERS,
        "ITLRecovery": _SIGNERS,
        "CAPF": (Role.CAPF,),
        "tomcat": (Role.APP_SERVER,),
        "tomcat-ECDSA": (Role.APP_SERVER,),
        "TVS": (Role.TVS,),
        "TVS-ECDSA": (Role.TVS,),
        "Phone-SAST-trust": _SIGNERS,
        "CallManager-trust": (Role.TFTP,),
        "CAPF-trust": (Role.CAPF,),
        "tomcat-trust": (Role.APP_SERVER,),
        "TVS-trust": (Role.TVS,),
    }
)


@dataclass(frozen=True)
class DeviceOverride:
    """What one device is answered, against the policy: for a lab only.

    ``refuse`` answers status 1 whatever is known; ``roles`` and ``ttl_seconds`` replace those of a
    positive answer (None: as for everybody).
    """

    refuse: bool = False
    roles: tuple[int, ...] | None = None
    ttl_seconds: int | None = None


@dataclass(frozen=True)
class AnswerPolicy:
    """How answers are made.

    ``roles``: role codes by certificate type or trust-store name. ``expired``: "warn" answers as
    the real server seems to, "refuse" answers status 1. ``ca``: "exact" knows only the very
    certificates, "chain" also trusts what a CA in a store has issued (verify only; never as
    SAST; up to MAX_READ_BYTES). ``devices``: overrides by device name ("SEP001122334455" or the
    whole name sent).
    """

    roles: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: DEFAULT_ROLES)
    ttl_seconds: int = 86_400
    expired: Literal["warn", "refuse"] = "warn"
    ca: Literal["exact", "chain"] = "exact"
    devices: Mapping[str, DeviceOverride] = field(default_factory=dict)

    def roles_of(self, entry: Entry) -> tuple[int, ...]:
        """The roles of a certificate: those of its type, else of all stores it lies in; sorted."""
        if entry.type is not None and entry.type in self.roles:
            return self.roles[entry.type]
        return tuple(sorted({role for store in entry.stores for role in self.roles.get(store, ())}))

    def override_for(self, device: str | None) -> DeviceOverride | None:
        """The override for a device by the name it sent, or by the part after its model."""
        if not self.devices or device is None:
            return None
        return self.devices.get(device) or self.devices.get(device.rsplit("-", 1)[-1])


class Cause(StrEnum):
    """Why an answer is as it is, in a name; the words beside it are for people."""

    STORED = "in a store"
    ISSUED = "issued by a trusted CA"
    UNKNOWN = "in no store"
    RENEWED = "renewed after the export"
    OTHER_ISSUER = "serial of another issuer"
    OTHER_OCTETS = "same key, other octets"
    OTHER_KEY = "same serial, other key"
    NO_CERTIFICATE = "not a certificate"
    INCOMPLETE = "incomplete request"
    EXPIRED = "expired"
    TOO_LONG = "too long for an answer"
    OVERRIDE = "override"
    UNKNOWN_COMMAND = "unknown command"


class Answer(msgspec.Struct, frozen=True):
    """What is answered and why.

    ``verdict`` is "trusted", "not trusted" or "unknown command"; ``cause`` names why, ``reason``
    and ``warnings`` are words; ``entry`` is the trusted certificate asked about, or the CA it was
    trusted through.
    """

    response: Response
    verdict: str
    cause: Cause
    reason: str
    entry: Entry | None = None
    warnings: tuple[str, ...] = ()


def answer(request: Request, snapshot: Snapshot, policy: AnswerPolicy, now: datetime) -> Answer:
    """Answer ``request`` from ``snapshot``; ``now`` (aware) decides what has expired."""
    if not request.is_known:
        number = (request.command + 1) & 0xFF  # one octet
        response = Response(number, request.session, Status.NOT_TRUSTED)
        reason = f"command {request.command} is not known; answered by {number}, status 1 (assumed)"
        return Answer(response, "unknown command", Cause.UNKNOWN_COMMAND, reason)
    if request.command == Command.QUERY_REQUEST:
        found = _query(request, snapshot)
    else:
        found = _verify(request, snapshot, policy, now)
    return _ruled(request, found, policy, now)


class _Found(msgspec.Struct, frozen=True):
    """What the look-up says before the policy does."""

    entry: Entry | None
    cause: Cause
    reason: str
    warnings: tuple[str, ...] = ()


def read_asked(der: bytes) -> Certificate:
    """Read the certificate that a request holds or a client shows; it was compared by its octets.

    Raises :class:`~itl.certificates.CertificateError`, also for more than MAX_READ_BYTES.
    """
    if len(der) > MAX_READ_BYTES:
        raise CertificateError(f"{len(der)} octets, of which at most {MAX_READ_BYTES} are read")
    return describe(der)


def _query(request: Request, snapshot: Snapshot) -> _Found:
    if request.serial is None or not request.issuer:  # an empty serial number is zero
        missing = "serial number" if request.serial is None else "issuer"
        return _Found(None, Cause.INCOMPLETE, f"the query names no {missing}")
    found = snapshot.issued(request.issuer, request.serial)
    if not found:
        return _Found(None, *_unknown(snapshot, request.subject, request.issuer, request.serial))
    entry = next((one for one in found if one.subject == request.subject), found[0])
    warnings = []
    if len(found) > 1:
        warnings.append(f"{len(found)} certificates have this issuer and serial number")
    if entry.issuer != request.issuer:
        warnings.append("issuer found by its parts, not by its text")
    if request.subject and entry.subject != request.subject:
        warnings.append(f"its subject is {entry.subject}, not {request.subject}")
    return _Found(entry, Cause.STORED, _where(entry), tuple(warnings))


def _verify(request: Request, snapshot: Snapshot, policy: AnswerPolicy, now: datetime) -> _Found:
    der = request.certificate
    if der is None:
        return _Found(None, Cause.INCOMPLETE, "the request holds no certificate")
    entry = snapshot.same_octets(der)
    if entry:
        return _Found(entry, Cause.STORED, _where(entry))
    try:
        asked = read_asked(der)
    except CertificateError as error:
        words = f"not in any store, and no certificate: {error}"
        return _Found(None, Cause.NO_CERTIFICATE, words)
    cause, reason = _unknown(snapshot, asked.subject, asked.issuer, asked.serial)
    for other in snapshot.issued(asked.issuer, asked.serial):
        if describe(other.der).public_key == asked.public_key:
            cause = Cause.OTHER_OCTETS
            reason = f"same issuer, serial and key as a certificate {_where(other)}, other octets"
        else:
            cause = Cause.OTHER_KEY
            reason = (
                f"same issuer and serial as a certificate {_where(other)}, other key: "
                "the destination renewed it after the export"
            )
    if policy.ca == "exact":
        return _Found(None, cause, reason)
    chain = certificate_authority_of(
        der, asked.issuer, snapshot, now if policy.expired == "refuse" else None
    )
    if chain.anchor is None:
        return _Found(None, cause, f"{reason}; {chain.reason}")
    warnings = (_expired(asked.not_after),) if asked.not_after < now else ()
    return _Found(chain.anchor, Cause.ISSUED, chain.reason, warnings)


def _ruled(request: Request, found: _Found, policy: AnswerPolicy, now: datetime) -> Answer:
    """Apply expiry and the overrides to what was found, and put the answer together."""
    command = request.command + 1
    override = policy.override_for(request.device)
    entry, warnings = found.entry, list(found.warnings)
    cause, refusal = found.cause, None
    if entry and entry.not_after < now:
        expired = _expired(entry.not_after)
        if policy.expired == "refuse":
            cause = Cause.EXPIRED
            refusal = f"{found.reason}, but {expired} and the policy refuses that"
        else:
            warnings.append(expired)
    queried = request.command == Command.QUERY_REQUEST
    if entry and queried and len(entry.der) > MAX_CERTIFICATE_BYTES:
        cause = Cause.TOO_LONG
        refusal = f"{found.reason}, but its {len(entry.der)} octets do not fit into an answer"
    if override and override.refuse:
        cause = Cause.OVERRIDE
        refusal = f"refused by the override for {request.device}; else: {found.reason}"
    if entry is None or refusal:
        response = Response(command, request.session, Status.NOT_TRUSTED)
        reason = refusal or found.reason
        return Answer(response, "not trusted", cause, reason, entry, tuple(warnings))
    roles, ttl_seconds = policy.roles_of(entry), policy.ttl_seconds
    if cause is Cause.ISSUED:
        roles = tuple(role for role in roles if role != Role.SAST)
    if override:
        warnings.append(f"override for {request.device}")
        roles = roles if override.roles is None else override.roles
        ttl_seconds = ttl_seconds if override.ttl_seconds is None else override.ttl_seconds
    if not roles:
        warnings.append("no role is known for it")
    certificate = entry.der if queried else None
    response = Response(
        command, request.session, Status.TRUSTED, certificate, tuple(roles), ttl_seconds
    )
    return Answer(response, "trusted", cause, found.reason, entry, tuple(warnings))


def _where(entry: Entry) -> str:
    """Where the certificate was found, in words."""
    return f"in {', '.join(sorted(entry.stores))}" if entry.stores else f"from {entry.source}"


def _expired(not_after: datetime) -> str:
    return f"expired on {not_after:%Y-%m-%d %H:%M:%S} UTC"


def _unknown(
    snapshot: Snapshot, subject: str | None, issuer: str, serial: bytes
) -> tuple[Cause, str]:
    """Why nothing was found, as far as the snapshot shows it."""
    same_serial = snapshot.with_serial(serial)
    if same_serial:
        return Cause.OTHER_ISSUER, (
            f"not in any store; serial known, but issued by {same_serial[0].issuer}, not {issuer}"
        )
    same_subject = snapshot.with_subject(subject) if subject else []
    if same_subject:
        other = same_subject[0]
        return Cause.RENEWED, (
            "not in any store; issuer and serial unknown; a certificate of the same subject with "
            f"serial {other.serial.hex()} is {_where(other)}: renewed after the export"
        )
    return Cause.UNKNOWN, "not in any store; issuer and serial unknown"
