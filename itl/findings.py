"""What is odd about a document, without a word on whether its signature holds."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from itl.certificates import Certificate, CertificateError, describe
from itl.document import Header, group_errors, leads_out
from itl.elements import header_label, record_label
from itl.layout import HEADER_NAMES, IPV4_OCTETS, PAD, HeaderTag, RecordTag
from itl.limits import SHA1_ONLY_IN_WORDS, load_guards, sast_guard
from itl.roles import Role
from itl.trustlist import Record, TrustList

_EXPECTED = (
    HeaderTag.VERSION,
    HeaderTag.SIGNER_NAME,
    HeaderTag.SERIAL_NUMBER,
    HeaderTag.CA_NAME,
    HeaderTag.FILENAME,
)
_KNOWN_ROLES = frozenset(Role)
_FIRMWARE_SIGNER = ("CN=someSigner;OU=someOrgUnit;O=someOrg", "1234567890abcdef")


@dataclass(frozen=True)
class Finding:
    """Something noticed: ``code`` for programs, stable; ``text`` for people."""

    code: str
    text: str


def header_findings(header: Header) -> list[Finding]:
    """Everything odd about a header."""
    found = []
    tags = {element.tag for element in header.elements}
    for tag, offset, declared, real in group_errors(header):
        text = f"{header_label(tag)} at byte {offset}: length {declared}, its members have {real}"
        found.append(Finding("group-length", text))
    found += [
        Finding("missing-element", f"{header_label(tag)}: missing")
        for tag in _EXPECTED
        if tag not in tags
    ]
    found += [
        Finding("unknown-element", f"{header_label(tag)}: kept, meaning unknown")
        for tag in sorted(tags - HEADER_NAMES.keys() - {PAD})
    ]
    if (header.signer_name, header.signer_serial.hex()) == _FIRMWARE_SIGNER:
        text = (
            "Cisco's placeholder signer: firmware, checked by a key in the phone that is not public"
        )
        found.append(Finding("cisco-firmware", text))
    if header.digest == "sha1":
        text = f"SHA-1: CUCM's default and all that {SHA1_ONLY_IN_WORDS} phones verify, but weak"
        found.append(Finding("weak-digest", text))
    bits = len(header.signature) * 8
    if header.signature_at is not None and header.modulus_code is not None:
        declared_bits = header.modulus_bits or f"code {header.modulus_code}"
        if declared_bits != bits:
            text = f"SIGNATUREMODULUS (11) says {declared_bits}, the signature has {bits} bits"
            found.append(Finding("modulus", text))
    if leads_out(header.filename):
        text = f"FILENAME (14) {header.filename!r} leads out of a TFTP root"
        found.append(Finding("file-name", text))
    return found


def list_findings(document: TrustList, now: datetime | None) -> list[Finding]:
    """Everything odd about a list's records; dates are judged only against a ``now`` (aware)."""
    records = document.records
    trusted = [record.trust for record in records]
    sasts = sum(role == Role.SAST for role, _ in trusted)
    guards = [*load_guards(document), *sast_guard(sasts)]
    found = [Finding(guard.code, guard.text) for guard in guards]
    seen: dict[tuple[int, bytes], int] = {}
    judged: set[bytes] = set()
    for number, (record, trust) in enumerate(zip(records, trusted, strict=True), start=1):
        role, octets = trust
        first = seen.setdefault(trust, number)
        if first != number:
            text = f"record {number}: the same certificate and role as record {first}"
            found.append(Finding("duplicate-record", text))
        found += _record_findings(record, role, number)
        if RecordTag.CERTIFICATE in record.places and octets not in judged:
            judged.add(octets)
            found += _certificate_findings(record, octets, number, now)
    return found


def date_findings(what: str, certificate: Certificate, now: datetime) -> Iterator[Finding]:
    """Whether a certificate is out of date at ``now`` (aware)."""
    if now > certificate.not_after:
        text = f"{what} {certificate.subject} expired on {certificate.not_after:%Y-%m-%d}"
        yield Finding("certificate-expired", text)
    if now < certificate.not_before:
        text = f"{what} {certificate.subject} is not valid before {certificate.not_before:%Y-%m-%d}"
        yield Finding("certificate-not-yet-valid", text)


def _record_findings(record: Record, role: int, number: int) -> Iterator[Finding]:
    for tag in sorted(record.unknown_tags):
        text = f"{record_label(number, tag)}: kept, meaning unknown"
        yield Finding("unknown-element", text)
    address = record.value(RecordTag.IP_ADDRESS)
    if address is not None and len(address) != IPV4_OCTETS:
        label = record_label(number, RecordTag.IP_ADDRESS)
        yield Finding("address", f"{label}: {len(address)} octets; only IPv4 was ever seen")
    if role not in _KNOWN_ROLES:
        yield Finding("unknown-role", f"record {number}: role {role} has no public meaning")


def _certificate_findings(
    record: Record, der: bytes, number: int, now: datetime | None
) -> Iterator[Finding]:
    try:
        certificate = describe(der)
    except CertificateError as error:
        yield Finding("certificate-unreadable", f"record {number}: {error}")
        return
    beside = (
        (RecordTag.SERIAL_NUMBER, certificate.serial),
        (RecordTag.PUBLIC_KEY, certificate.public_key),
        (RecordTag.SIGNATURE, certificate.signature),
    )
    for tag, real in beside:
        written = record.value(tag)
        if written and written != real:
            text = f"{record_label(number, tag)}: not that of the record's certificate"
            yield Finding("record-mismatch", text)
    if now is not None:
        yield from date_findings(f"record {number}:", certificate, now)
