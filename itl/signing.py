"""Whether a document is what its signer signed, by whose key, and everything else noticed.

The verdict is about structure and signature only:

* ``valid``: the signature verifies with the signer's key.
* ``invalid``: header (and records) can be read, the signature does not verify, or there is none, or
  it names a digest or algorithm that signatures are not made with.
* ``unknown``: no readable certificate or key of the signer is at hand. A list usually holds its own
  signer's.
* ``malformed``: no header, or no record of a list, can be found.

A finding (an expired certificate, a weak digest, a group length that lies, ...) never changes it.
A list that verifies with its own record shows that it is whole, not that it is to be trusted:
whoever wants to know the latter gives the certificate that is trusted as ``signer``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from itl.certificates import CertificateError, describe, key_of, same_serial
from itl.container import container_name
from itl.document import (
    DIGESTS,
    RSA_PKCS1,
    Header,
    digest_holds,
    signature_holds,
    signed_digest,
)
from itl.errors import FormatError
from itl.findings import Finding, date_findings, header_findings, list_findings
from itl.roles import Role, role_name
from itl.signedfile import Kind, SignedFile, parse_signed_file, recognise
from itl.trustlist import TrustList, parse_trust_list

_MAX_CANDIDATES = 32  # keys tried: a list made of look-alikes of its signer must not take minutes


class Verdict(StrEnum):
    """What :func:`verify` found."""

    VALID = "valid"
    INVALID = "invalid"
    MALFORMED = "malformed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class SignerInfo:
    """The signer that a header names, and where its key was found.

    ``record`` counts from 1 and is None for a certificate that came from elsewhere; ``certificate``
    is DER, None where none was at hand or the record holds only a key.
    """

    subject: str
    issuer: str
    serial: bytes
    record: int | None = None
    certificate: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Verification:
    """The verdict on one document, its signer (None without a header), and what was noticed."""

    verdict: Verdict
    signer: SignerInfo | None
    findings: tuple[Finding, ...]
    document: TrustList | SignedFile | None = field(default=None, repr=False)


@dataclass(frozen=True)
class _Candidate:
    """A key that may be the signer's; ``exact`` when serial number and issuer are the header's."""

    exact: bool
    certificate: bytes | None
    key_octets: bytes
    record: int | None = None
    role: int | None = None


def verify_data(
    data: bytes,
    certificates: Iterable[bytes] = (),
    *,
    signer: bytes | None = None,
    now: datetime | None = None,
    lists_only: bool = False,
) -> Verification:
    """Verify a whole file of any kind; see :func:`verify` for the arguments.

    ``lists_only``: anything that is no trust list is malformed. No octets of ``data`` make it
    raise; a certificate given that cannot be read does (CertificateError).
    """
    kind = recognise(data)
    if kind in _NO_HEADER and not data.startswith(_FIRST_OCTETS):
        return Verification(Verdict.MALFORMED, None, (_no_header(data, kind),))
    try:
        if kind is Kind.TRUST_LIST or lists_only:
            document: TrustList | SignedFile = parse_trust_list(data)
        else:
            document = parse_signed_file(data)
    except FormatError as error:
        what = f"no list but a file of the kind {kind.value}: " if kind in _OTHER_FILES else ""
        return Verification(Verdict.MALFORMED, None, (Finding("malformed", f"{what}{error}"),))
    return verify(document, certificates, signer=signer, now=now)


def verify(
    document: TrustList | SignedFile,
    certificates: Iterable[bytes] = (),
    *,
    signer: bytes | None = None,
    now: datetime | None = None,
) -> Verification:
    """Verify the signature over the octets received.

    ``certificates`` (DER) are looked through for the one the header names by serial number and
    issuer; only where none is, a list's own records are, SAST first. With ``signer`` (DER) that
    certificate alone is used, whatever the header names. ``now`` (aware) adds findings on
    certificates out of date.
    """
    header = document.header
    records = document if isinstance(document, TrustList) else None
    found = header_findings(header)
    named = SignerInfo(header.signer_name, header.signer_issuer, header.signer_serial)
    if signer is not None:
        candidates = [_given(header, signer)]
        if not candidates[0].exact:
            text = f"the header names {_name(named)}, not the certificate given"
            found.append(Finding("signer-mismatch", text))
    else:
        candidates = _candidates(header, certificates, records)
    verdict, used = _decide(document, candidates, found, forced=signer is not None)
    if records is not None:
        found += list_findings(records, now)
    if used is not None:
        named = SignerInfo(named.subject, named.issuer, named.serial, used.record, used.certificate)
        found += _signer_findings(used, now)
    elif verdict is Verdict.UNKNOWN:
        found.append(Finding("unknown-signer", f"no certificate at hand for {_name(named)}"))
    return Verification(verdict, named, tuple(found), document)


def signed_by(
    document: TrustList | SignedFile, certificate: bytes | None, key_octets: bytes = b""
) -> bool:
    """Whether ``document`` was signed with the RSA key of ``certificate`` (DER).

    Where that is missing or cannot be read, with the one in ``key_octets`` (element 7 of a record).
    """
    try:
        key = key_of(certificate, key_octets)
    except CertificateError:
        return False
    return isinstance(key, RSAPublicKey) and signature_holds(document.raw, document.header, key)


def _decide(
    document: TrustList | SignedFile,
    candidates: list[_Candidate],
    found: list[Finding],
    *,
    forced: bool,
) -> tuple[Verdict, _Candidate | None]:
    """Which candidate's key verifies; adds to ``found`` why none does."""
    header = document.header
    refusal = _cannot_verify(header)
    if refusal is not None:
        found.append(refusal)
        return Verdict.INVALID, None
    digest = signed_digest(document.raw, header) or b""
    tried = []
    for candidate in candidates[:_MAX_CANDIDATES]:
        try:
            key = key_of(candidate.certificate, candidate.key_octets)
        except CertificateError as error:
            found.append(Finding("signer-key", f"signer's key: {error}"))
            if _is_readable(candidate.certificate):  # then the key is of a kind that cannot sign
                tried.append(candidate)
            continue
        tried.append(candidate)
        if not isinstance(key, RSAPublicKey):
            found.append(Finding("signer-key", "the signer has an EC key; lists are signed by RSA"))
        elif digest_holds(digest, header, key):
            return Verdict.VALID, candidate
    named = [candidate for candidate in tried if candidate.exact or forced]
    if not named:
        return Verdict.UNKNOWN, None
    text = "the signature does not verify with the signer's key: the octets or the key are others"
    found.append(Finding("bad-signature", text))
    return Verdict.INVALID, named[0]


def _is_readable(certificate: bytes | None) -> bool:
    try:
        describe(certificate or b"")
    except CertificateError:
        return False
    return True


def _cannot_verify(header: Header) -> Finding | None:
    """Why the header alone shows that no key can verify it."""
    if header.signature_at is None:
        return Finding("no-signature", "the header has no SIGNATURE (12)")
    if header.digest not in DIGESTS.values():
        what = header.digest or "missing"
        return Finding("unknown-digest", f"DIGESTALGORTITHM (8): {what}; known are codes 1 to 3")
    if header.signature_algorithm not in {None, RSA_PKCS1}:
        text = f"SIGNATUREALGORTITHM (10): code {header.signature_algorithm}; only 0 is known"
        return Finding("unknown-algorithm", text)
    return None


def _given(header: Header, der: bytes) -> _Candidate:
    described = describe(der)
    exact = same_serial(described.serial, header.signer_serial) and header.signer_issuer in {
        described.issuer,
        described.issuer_in_order,
    }
    return _Candidate(exact=exact, certificate=der, key_octets=described.public_key)


def _candidates(
    header: Header, certificates: Iterable[bytes], records: TrustList | None
) -> list[_Candidate]:
    """Keys to try, best first: a serial number alone may match where name texts differ."""
    given = [
        _given(header, der)
        for der in certificates
        if same_serial(describe(der).serial, header.signer_serial)
    ]
    if any(candidate.exact for candidate in given) or records is None:
        return sorted(given, key=lambda candidate: not candidate.exact)
    own = sorted(
        _own_candidates(header, records),
        key=lambda candidate: (not candidate.exact, candidate.role != Role.SAST),
    )
    return given + own


def _own_candidates(header: Header, records: TrustList) -> Iterator[_Candidate]:
    for number, record in enumerate(records.records, start=1):
        if same_serial(record.serial, header.signer_serial) and record.has_key:
            yield _Candidate(
                exact=record.issuer == header.signer_issuer,
                certificate=record.certificate,
                key_octets=record.public_key,
                record=number,
                role=record.role,
            )


def _signer_findings(used: _Candidate, now: datetime | None) -> list[Finding]:
    findings = []
    if used.role not in {None, Role.SAST}:
        text = (
            f"record {used.record} holds the signer as {role_name(used.role or 0)}: phones look for"
            " a list's signer among the SAST records"
        )
        findings.append(Finding("signer-not-sast", text))
    if not used.exact and used.record is not None:
        text = f"record {used.record} has the signer's serial number under another issuer text"
        findings.append(Finding("issuer-text", text))
    if used.record is None and used.certificate is not None and now is not None:
        findings += date_findings("the signer's certificate", describe(used.certificate), now)
    return findings


def _name(signer: SignerInfo) -> str:
    return f"{signer.subject or 'a signer without name'}, serial number {signer.serial.hex() or 0}"


_FIRST_OCTETS = (b"\x01\x00", b"\x02\x00")  # of a header: the parser says where it breaks off
_OTHER_FILES = frozenset({Kind.SIGNED_FILE, Kind.ENCRYPTED_FILE})
_NO_HEADER = frozenset({Kind.EMPTY, Kind.UNKNOWN, Kind.FIRMWARE_88XX})


def _no_header(data: bytes, kind: Kind) -> Finding:
    if kind is Kind.FIRMWARE_88XX:
        try:
            name = f" {container_name(data)}"
        except FormatError:
            name = ""
        text = f"a 78xx/88xx firmware container{name}: signed by Cisco in a format of its own"
        return Finding("container-88xx", text)
    if kind is Kind.EMPTY:
        return Finding("empty", "an empty file")
    if not data.strip():
        text = f"{len(data)} blank: what administrators leave to silence a phone, no header"
        return Finding("no-header", text)
    text = f"no header at byte 0: a signed file begins with 01 00 02, this with {data[:3].hex(' ')}"
    return Finding("no-header", text)
