"""``trustlab tvs``: ask a TVS, ours or a real one, about certificates."""

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha1, sha256
from pathlib import Path
from typing import Annotated, Literal

import trio
from cyclopts import App, Parameter

from itl.certificates import Certificate, CertificateError, describe, load_certificates
from itl.document import Header, parse_header
from itl.roles import role_name
from itl.signedfile import Kind, recognise
from itl.trustlist import parse_trust_list
from lab import exits
from lab.cli import terminal
from lab.cli.arguments import Flag, Positive
from lab.cli.passwords import Passwords
from lab.cli.receipts import add as add_row
from lab.cli.receipts import table
from lab.endpoint import UsageError, parse_endpoint
from tvs import TvsError
from tvs.client import DEFAULT_DEVICE, DEFAULT_PORT, InquiryError, Reply, query, verify
from tvs.foreign import ForeignReader
from tvs.messages import Status

app = App(name="tvs", help="Ask a TVS, this one or a real CUCM's, about certificates.")


@dataclass(frozen=True)
class Asked:
    """A certificate to ask about, by its names; ``der`` is None where only they are known."""

    subject: str
    issuer: str
    serial: bytes
    der: bytes | None = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Asking:
    """What to ask about besides, and how.

    Parameters
    ----------
    list_file:
        Ask about the signer of this ITL, CTL or signed file.
    bundle:
        Ask about every certificate in this PKCS12, PKCS7, PEM or DER file.
    password_file:
        Passwords of the bundle, one a line.
    device:
        Device name to ask as.
    tls_profile:
        legacy reaches old servers and new ones; modern asks with TLS 1.2 and 1.3 only.
    timeout_seconds:
        For connecting, and again for the answer.
    json:
        Print one JSON object for each certificate asked about.
    """

    list_file: Annotated[Path | None, Parameter(name="--list")] = None
    bundle: Path | None = None
    password_file: Path | None = None
    device: str = DEFAULT_DEVICE
    tls_profile: Literal["legacy", "modern"] = "legacy"
    timeout_seconds: Positive = 5.0
    json: Flag = False


@app.command(name="query")
def query_command(
    host: str,
    *,
    subject: str | None = None,
    issuer: str | None = None,
    serial: str | None = None,
    asking: Asking | None = None,
) -> int:
    """Ask for the certificate that has these names, as a phone does for an unknown list signer.

    Exit code 0: all are trusted; 1: one is not; 3: no answer for one, or a "trusted" of which a
    phone could make nothing.

    Parameters
    ----------
    host:
        HOST or HOST:PORT of the TVS.
    subject:
        Subject as CUCM writes it: "CN=…;OU=…;O=…;L=…;ST=…;C=…".
    issuer:
        Issuer, likewise.
    serial:
        Serial number, hexadecimal.
    """
    asking = asking or Asking()
    about = _from_files(asking)
    if serial is not None and issuer is not None:
        about.append(Asked(subject or "", issuer, _octets(serial)))
    elif serial is not None or issuer is not None or subject is not None:
        raise UsageError("a query needs --issuer and --serial, and has --subject")
    return _ask_all(host, "query", about, asking)


@app.command(name="verify")
def verify_command(
    host: str, certificate: Path | None = None, *, asking: Asking | None = None
) -> int:
    """Ask whether whole certificates are trusted, as a phone does for a TLS server.

    Exit code 0: all are trusted; 1: one is not; 3: no answer for one.

    Parameters
    ----------
    host:
        HOST or HOST:PORT of the TVS.
    certificate:
        PEM or DER file; of several certificates each is asked about.
    """
    asking = asking or Asking()
    about = _from_files(asking)
    if certificate is not None:
        about += [_named(describe(der)) for der in load_certificates(certificate.read_bytes())]
    for asked in about:
        if asked.der is None:
            raise UsageError(
                f"the list holds no certificate of its signer {asked.subject}: it can be queried"
            )
    return _ask_all(host, "verify", about, asking)


def _named(certificate: Certificate) -> Asked:
    return Asked(certificate.subject, certificate.issuer, certificate.serial, certificate.der)


def _octets(serial: str) -> bytes:
    try:
        return bytes.fromhex(serial.replace(":", ""))
    except ValueError:
        raise UsageError(f"--serial {serial}: an even number of hexadecimal digits") from None


def _from_files(asking: Asking) -> list[Asked]:
    """What the list and the bundle hold."""
    about = []
    if asking.list_file is not None:
        about.append(_signer_of(asking.list_file.read_bytes()))
    if asking.bundle is not None:
        passwords = Passwords(asking.password_file).tried
        with ForeignReader() as reader:
            material = reader.read(asking.bundle.read_bytes(), passwords)
        if not material.certificates:
            problem = material.problem or "no certificate in it"
            raise TvsError(f"{asking.bundle}: {problem}")
        about += [_named(describe(found.der)) for found in material.certificates]
    return about


def _signer_of(data: bytes) -> Asked:
    header = parse_header(data)
    der = _signers_octets(data, header)
    return Asked(header.signer_name, header.signer_issuer, header.signer_serial, der)


def _signers_octets(data: bytes, header: Header) -> bytes | None:
    """The signer's certificate, where the file is a list that holds it."""
    if recognise(data) is not Kind.TRUST_LIST:
        return None
    for record in parse_trust_list(data).records:
        if (record.serial, record.issuer) == (header.signer_serial, header.signer_issuer):
            return record.certificate
    return None


def _ask_all(
    host: str, how: Literal["query", "verify"], about: Iterable[Asked], asking: Asking
) -> int:
    address, port = parse_endpoint(host, DEFAULT_PORT)
    about = list(about)
    if not about:
        raise UsageError(f"nothing to {how}: names, a certificate, --list or --bundle")
    codes = []
    for asked in about:
        try:
            reply = trio.run(_ask, address, port, how, asked, asking)
        except TvsError as error:
            terminal.say(f"trustlab: {error}")
            codes.append(exits.UNKNOWN)
            if isinstance(error, InquiryError) and len(codes) == 1:
                break  # nobody is there: the others would wait in vain
            continue
        words = _wrong_with(asked, how, reply)
        if asking.json:
            terminal.emit({**reply_json(asked, reply), "wrong": words})
        else:
            _show(host, asked, reply)
            if words:
                terminal.say(f"trustlab: {words}")
        told = 0 if reply.status == Status.TRUSTED else exits.NO
        codes.append(exits.UNKNOWN if words else told)
    return max(codes)


async def _ask(
    address: str, port: int, how: Literal["query", "verify"], asked: Asked, asking: Asking
) -> Reply:
    if how == "verify":
        return await verify(
            address,
            port,
            certificate=asked.der or b"",
            device=asking.device,
            timeout_seconds=asking.timeout_seconds,
            tls_profile=asking.tls_profile,
        )
    return await query(
        address,
        port,
        subject=asked.subject,
        issuer=asked.issuer,
        serial=asked.serial,
        device=asking.device,
        timeout_seconds=asking.timeout_seconds,
        tls_profile=asking.tls_profile,
    )


def _wrong_with(asked: Asked, how: Literal["query", "verify"], reply: Reply) -> str | None:
    """Why a phone could make nothing of a "trusted", in words; None where it could."""
    if how == "verify" or reply.status != Status.TRUSTED:
        return None
    if reply.certificate is None:
        return "the answer says trusted and holds no certificate"
    try:
        got = describe(reply.certificate)
    except CertificateError as error:
        return f"the answer's certificate: {error}"
    if got.serial.lstrip(b"\0") != asked.serial.lstrip(b"\0"):
        return f"the answer's certificate is another one: {got.subject}, serial {got.serial.hex()}"
    return None


def reply_json(asked: Asked, reply: Reply) -> dict[str, object]:
    """The answer as plain values."""
    return {
        "asked": {
            "subject": asked.subject,
            "issuer": asked.issuer,
            "serial": asked.serial.hex(),
        },
        "status": reply.status,
        "roles": [{"code": role, "name": role_name(role)} for role in reply.roles],
        "ttl": reply.ttl,
        "certificate": reply.certificate and _certificate_json(reply.certificate),
        "server_certificate": _certificate_json(reply.server_certificate),
        "tls": reply.tls,
        "cipher": reply.cipher,
    }


def _certificate_json(der: bytes) -> dict[str, object]:
    return {
        "length": len(der),
        "sha1": sha1(der, usedforsecurity=False).hexdigest(),
        "sha256": sha256(der).hexdigest(),
        "der_base64": b64encode(der).decode(),
    }


def _show(host: str, asked: Asked, reply: Reply) -> None:
    trusted = reply.status == Status.TRUSTED
    rows = table("", "", "")
    rows.show_header = False
    add_row(rows, "asked about", asked.subject or "(no subject)")
    add_row(rows, "issuer, serial", f"{asked.issuer}, {asked.serial.hex()}")
    add_row(rows, "answer", "trusted" if trusted else f"not trusted (status {reply.status})")
    if trusted:
        add_row(rows, "roles", ", ".join(role_name(role) for role in reply.roles) or "none")
        add_row(rows, "life", "not told" if reply.ttl is None else f"{reply.ttl} s")
    if reply.certificate:
        add_row(rows, "certificate", f"{len(reply.certificate)} octets")
        add_row(rows, "sha256", sha256(reply.certificate).hexdigest())
    add_row(rows, "TVS", f"{host}, {reply.tls} {reply.cipher}")
    add_row(rows, "shows", _subject_of(reply.server_certificate))
    add_row(rows, "sha256", sha256(reply.server_certificate).hexdigest())
    terminal.console.print(rows)


def _subject_of(der: bytes) -> str:
    try:
        return describe(der).subject
    except CertificateError as error:
        return str(error)
