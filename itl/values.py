"""Documents and verdicts as plain JSON values, each under the name and version of its schema."""

import hashlib
from datetime import UTC, datetime

from itl.difference import Comparison
from itl.document import Header
from itl.layout import RecordTag
from itl.roles import role_name
from itl.signedfile import SignedFile, recognise
from itl.signing import SignerInfo, Verification, verify
from itl.trustlist import Record, TrustList

LIST_SCHEMA = "trustlab.trust-list/1"
COMPARISON_SCHEMA = "trustlab.list-difference/1"
FILE_SCHEMA = "trustlab.signed-file/1"


def document_value(document: TrustList | SignedFile) -> dict[str, object]:
    """A list or signed file: header fields and ``records``; a payload by length and digest.

    A signed file has no records.

    Lengths are octets, serial numbers lower-case hex, ``timestamp`` RFC 3339 in UTC.
    """
    raw = document.raw
    value: dict[str, object] = {
        "schema": LIST_SCHEMA if isinstance(document, TrustList) else FILE_SCHEMA,
        "kind": document.kind if isinstance(document, TrustList) else recognise(raw).value,
        "length": len(raw),
        "md5": hashlib.md5(raw, usedforsecurity=False).hexdigest(),
        "sha1": hashlib.sha1(raw, usedforsecurity=False).hexdigest(),
        "sha256": hashlib.sha256(raw).hexdigest(),
        **_header_value(document.header),
        "verdict": verify(document).verdict,
    }
    if isinstance(document, TrustList):
        value["records"] = [_record_value(record) for record in document.records]
    else:
        value["records"] = []
        value["payload_length"] = len(document.payload)
        value["payload_sha256"] = hashlib.sha256(document.payload).hexdigest()
    return value


def verification_value(verification: Verification) -> dict[str, object]:
    """``verdict``, ``signer`` (null where no header was found) and ``findings``."""
    signer = verification.signer
    return {
        "verdict": verification.verdict,
        "signer": None if signer is None else _signer_value(signer),
        "findings": [
            {"code": finding.code, "text": finding.text} for finding in verification.findings
        ],
    }


def comparison_value(comparison: Comparison) -> dict[str, object]:
    """What comes, goes and changes between two lists, and the phone's reaction."""
    return {
        "schema": COMPARISON_SCHEMA,
        "same_trust": comparison.same_trust,
        "gone": [_record_value(record) for record in comparison.gone],
        "come": [_record_value(record) for record in comparison.come],
        "changed": [
            {"before": _record_value(change.before), "after": _record_value(change.after)}
            for change in comparison.changed
        ],
        "phone": {
            "reaction": comparison.reaction,
            "reason": comparison.reason,
            "tvs": None if comparison.vouched is None else _signer_value(comparison.vouched),
        },
    }


def certificate_value(der: bytes | None) -> dict[str, object] | None:
    """Length and digests of a certificate, whether it can be decoded or not; null for none."""
    if der is None:
        return None
    return {
        "length": len(der),
        "sha1": hashlib.sha1(der, usedforsecurity=False).hexdigest(),
        "sha256": hashlib.sha256(der).hexdigest(),
    }


def _signer_value(signer: SignerInfo) -> dict[str, object]:
    used = signer.certificate
    return {
        "subject": signer.subject,
        "issuer": signer.issuer,
        "serial": signer.serial.hex(),
        "record": signer.record,
        "certificate": certificate_value(used),
    }


def _header_value(header: Header) -> dict[str, object]:
    version = header.signer_version
    when = header.timestamp
    return {
        "version": "{}.{}".format(*header.version),
        "header_length": header.header_length,
        "signer_version": None if version is None else "{}.{}".format(*version),
        "signer_name": header.signer_name,
        "signer_serial": header.signer_serial.hex(),
        "signer_issuer": header.signer_issuer,
        "digest": header.digest or None,
        "signature_algorithm": header.signature_algorithm,
        "modulus_bits": header.modulus_bits,
        "signature_length": len(header.signature) if header.signature_at is not None else None,
        "filename": header.filename,
        "timestamp": None if when is None else f"{datetime.fromtimestamp(when, UTC):%FT%TZ}",
    }


def _record_value(record: Record) -> dict[str, object]:
    def shown(tag: int, value: object) -> object:
        return value if tag in record.places else None

    return {
        "offset": record.offset,
        "length": record.length,
        "role": {"code": record.role, "name": role_name(record.role)},
        "subject": shown(RecordTag.SUBJECT_NAME, record.subject),
        "issuer": shown(RecordTag.ISSUER_NAME, record.issuer),
        "serial": shown(RecordTag.SERIAL_NUMBER, record.serial.hex()),
        "dns_name": shown(RecordTag.DNS_NAME, record.dns_name),
        "address": record.address,
        "public_key_length": shown(RecordTag.PUBLIC_KEY, len(record.public_key)),
        "signature_length": shown(RecordTag.SIGNATURE, len(record.signature)),
        "certificate": certificate_value(record.certificate),
    }
