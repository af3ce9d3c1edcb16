"""What is told of an answer: plain values in words for the event log, one event an answer."""

import hashlib
import re

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from itl.certificates import CertificateError, describe
from tvs.answers import Answer
from tvs.messages import Command, Request

_SEP = re.compile(r"SEP[0-9A-F]{12}\Z")
_KINDS: dict[int, str] = {Command.VERIFY_REQUEST: "verify", Command.QUERY_REQUEST: "query"}


def device_of(name: str | None) -> str | None:
    """The phone's name ("SEP…") in the device name it sent ("CP-8861-SEP…"); else the name."""
    found = _SEP.search(name) if name else None
    return found.group() if found else name


def session_facts(tls: SSL.Connection) -> dict[str, object]:
    """TLS version and cipher of a connection, and the certificate a client has shown."""
    facts: dict[str, object] = {
        "tls": tls.get_protocol_version_name(),
        "cipher": tls.get_cipher_name(),
    }
    shown = tls.get_peer_certificate(as_cryptography=True)
    if shown is not None:
        facts["client_certificate"] = _described(shown.public_bytes(Encoding.DER))
    return facts


def answer_event(
    request: Request, found: Answer, *, peer: str, milliseconds: float, facts: dict[str, object]
) -> dict[str, object]:
    """The event ``tvs.answer``: who asked what, what was answered, and why."""
    response, entry = found.response, found.entry
    event: dict[str, object] = {
        "event": "tvs.answer",
        "device": device_of(request.device),
        "device_name": request.device,
        "peer": peer,
        "request": _KINDS.get(request.command, f"command {request.command}"),
        "outcome": found.verdict,
        "reason": found.reason,
        "certificate": _asked_about(request, found),
        "stores": sorted(entry.stores) if entry else [],
        "roles": [int(role) for role in response.roles or ()],
        "ttl_seconds": response.ttl_seconds,
        "milliseconds": milliseconds,
        **facts,
    }
    if found.warnings:
        event["warnings"] = found.warnings
    if request.unknown:
        event["unknown_elements"] = [
            {"tag": tag, "length": len(value)} for tag, value in request.unknown
        ]
    if request.body_error:
        event["body_error"] = request.body_error
    return event


def _asked_about(request: Request, found: Answer) -> dict[str, object] | None:
    """The certificate that the question is about, as far as it is known."""
    if request.certificate is not None:
        return _described(request.certificate)
    if found.entry:
        entry = found.entry
        return {
            "subject": entry.subject,
            "issuer": entry.issuer,
            "serial": entry.serial.hex(),
            "sha256": entry.sha256,
        }
    if request.serial is None:
        return None
    return {
        "subject": request.subject,
        "issuer": request.issuer,
        "serial": request.serial.hex(),
        "sha256": None,
    }


def _described(der: bytes) -> dict[str, object]:
    try:
        certificate = describe(der)
    except CertificateError:
        return {
            "subject": None,
            "issuer": None,
            "serial": None,
            "sha256": hashlib.sha256(der).hexdigest(),
        }
    return {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial": certificate.serial.hex(),
        "sha256": certificate.sha256,
    }
