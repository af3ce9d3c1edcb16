"""What is told of an answer: plain values in words for the event log, one event an answer."""

import hashlib
import re

from OpenSSL import SSL

from itl.certificates import CertificateError
from tvs.answers import Answer, read_asked
from tvs.messages import Command, Request
from tvs.tls import shown_certificate

MAX_TEXT = 500
MAX_UNKNOWN_ELEMENTS = 16
_SEP = re.compile(r"SEP[0-9A-F]{12}\Z")
_KINDS: dict[int, str] = {Command.VERIFY_REQUEST: "verify", Command.QUERY_REQUEST: "query"}


def device_of(name: str | None) -> str | None:
    """The phone's name ("SEP…") in the device name it sent ("CP-8861-SEP…"); else the name."""
    found = _SEP.search(name) if name else None
    return found.group() if found else _short(name)


def session_facts(tls: SSL.Connection) -> dict[str, object]:
    """TLS version and cipher of a connection, and the certificate a client has shown."""
    facts: dict[str, object] = {
        "tls": tls.get_protocol_version_name(),
        "cipher": tls.get_cipher_name(),
    }
    shown = shown_certificate(tls)
    if shown is not None:
        facts["client_certificate"] = _described(shown)
    return facts


def answer_event(
    request: Request, found: Answer, *, peer: str, milliseconds: float, facts: dict[str, object]
) -> dict[str, object]:
    """The event ``tvs.answer``: who asked what, what was answered, and why."""
    response, entry = found.response, found.entry
    event: dict[str, object] = {
        "event": "tvs.answer",
        "device": device_of(request.device),
        "device_name": _short(request.device),
        "peer": peer,
        "request": _KINDS.get(request.command, f"command {request.command}"),
        "outcome": found.verdict,
        "cause": found.cause,
        "reason": _short(found.reason),
        "certificate": _asked_about(request, found),
        "stores": sorted(entry.stores) if entry else [],
        "roles": [int(role) for role in response.roles or ()],
        "ttl_seconds": response.ttl_seconds,
        "milliseconds": milliseconds,
        **facts,
    }
    if found.warnings:
        event["warnings"] = [_short(words) for words in found.warnings]
    if request.unknown:
        event["unknown_elements"] = [
            {"tag": tag, "length": len(value)}
            for tag, value in request.unknown[:MAX_UNKNOWN_ELEMENTS]
        ]
        if len(request.unknown) > MAX_UNKNOWN_ELEMENTS:
            event["more_unknown_elements"] = len(request.unknown) - MAX_UNKNOWN_ELEMENTS
    if request.body_error:
        event["body_error"] = request.body_error
    return event


def _asked_about(request: Request, found: Answer) -> dict[str, object] | None:
    """The certificate that the question is about, as far as it is known."""
    entry = found.entry
    if request.certificate is not None and (entry is None or entry.der != request.certificate):
        return _described(request.certificate)
    if entry:
        return {
            "subject": entry.subject,
            "issuer": entry.issuer,
            "serial": entry.serial.hex(),
            "sha256": entry.sha256,
        }
    if request.serial is None:
        return None
    return {
        "subject": _short(request.subject),
        "issuer": _short(request.issuer),
        "serial": _short(request.serial.hex()),
        "sha256": None,
    }


def _short(text: str | None) -> str | None:
    """``text``, or its beginning: a request of 64 KiB must not make a line of a megabyte."""
    if text is None or len(text) <= MAX_TEXT:
        return text
    return f"{text[:MAX_TEXT]}… ({len(text)} characters)"


def _described(der: bytes) -> dict[str, object]:
    try:
        certificate = read_asked(der)
    except CertificateError:
        return {
            "subject": None,
            "issuer": None,
            "serial": None,
            "sha256": hashlib.sha256(der).hexdigest(),
        }
    return {
        "subject": _short(certificate.subject),
        "issuer": _short(certificate.issuer),
        "serial": _short(certificate.serial.hex()),
        "sha256": certificate.sha256,
    }
