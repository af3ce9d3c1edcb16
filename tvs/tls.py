"""The TLS of TVS, on pyOpenSSL: its OpenSSL is the same on every machine.

Two profiles. ``modern``: TLS 1.2 and 1.3, forward secrecy, AEAD ciphers. ``legacy``: down to TLS
1.0, RSA key exchange and AES-CBC-SHA (a real phone was seen with AES256-SHA, Cisco document
213407), RSA-1024 keys and SHA-1 signatures: OpenSSL's security level 0.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Literal, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL, crypto

from conf.identity import odd_serials
from itl.certificates import CertificateError, describe
from tvs import TvsError

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
Profile: TypeAlias = Literal["modern", "legacy"]
ClientProfile: TypeAlias = Literal["modern", "legacy", "tls1.0"]

# AES-128 first: as strong as any key here, and with it all hashing is SHA-256, the fastest one
_CIPHERS = {
    "modern": b"ECDHE+AESGCM+AES128:ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK:@SECLEVEL=2",
    "legacy": b"ECDHE+AESGCM+AES128:ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:RSA+AESGCM:RSA+AES"
    b":!aNULL:!PSK:@SECLEVEL=0",
}
_MINIMUM = {"modern": SSL.TLS1_2_VERSION, "legacy": SSL.TLS1_VERSION}
_RELEASE_BUFFERS = 0x10  # SSL_MODE_RELEASE_BUFFERS: an idle connection keeps no record buffers
_WARN_BEFORE = timedelta(days=30)
MAX_ASIDES = 64


class TlsError(TvsError):
    """Keys and certificates that cannot serve TLS; the text says which and why."""

    exit_code = 2


def server_context(
    identities: Sequence[tuple[Sequence[bytes], PrivateKey]],
    *,
    profile: Profile = "modern",
    request_client_certificate: bool = False,
) -> SSL.Context:
    """Make the context a TVS serves with.

    ``identities`` are pairs of a chain (DER octets, leaf first) and its private key, at most one
    for each kind of key. No session is resumed, renegotiation is refused. With
    ``request_client_certificate`` a client may show its certificate; whatever it shows is taken,
    nothing is required. Raises :class:`TlsError`.
    """
    context = _context(SSL.TLS_SERVER_METHOD, profile)
    context.set_options(
        SSL.OP_CIPHER_SERVER_PREFERENCE
        | SSL.OP_NO_COMPRESSION
        | SSL.OP_NO_RENEGOTIATION
        | SSL.OP_NO_TICKET
        | SSL.OP_IGNORE_UNEXPECTED_EOF
    )
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(_RELEASE_BUFFERS)
    if request_client_certificate:
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    if not identities:
        raise TlsError("no identity to serve TLS with")
    for chain, key in identities:
        _use(context, chain, key, profile)
    return context


def client_context(profile: ClientProfile = "legacy") -> SSL.Context:
    """Make the context a phone asks with: any certificate is taken, the phone compares it.

    "tls1.0" is the legacy profile without anything newer, as 7900 phones speak it.
    """
    context = _context(SSL.TLS_CLIENT_METHOD, "modern" if profile == "modern" else "legacy")
    if profile == "tls1.0":
        context.set_max_proto_version(SSL.TLS1_VERSION)
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_IGNORE_UNEXPECTED_EOF)
    context.set_verify(SSL.VERIFY_NONE)
    return context


def shown_certificate(tls: SSL.Connection) -> bytes | None:
    """The certificate (DER) that the peer has shown, or None.

    It may be one that only OpenSSL can read.
    """
    shown = tls.get_peer_certificate()
    return None if shown is None else crypto.dump_certificate(crypto.FILETYPE_ASN1, shown)


def bound_asides(tls: SSL.Connection) -> None:
    """End the reading of ``tls``, whose handshake is over, after MAX_ASIDES asides of its peer.

    An aside is a message of TLS besides data, in or out: a key update, our own that one asks for, a
    renegotiation refused, an alert. OpenSSL takes any number of them inside one read, and nobody
    else is served meanwhile.
    """
    tls.set_app_data(0)
    tls.set_info_callback(_count_aside)


def has_too_many_asides(tls: SSL.Connection) -> bool:
    """Whether the reading of ``tls`` was ended for its asides."""
    return int(tls.get_app_data()) > MAX_ASIDES


def _count_aside(tls: SSL.Connection, where: int, _result: int) -> None:
    if where & SSL.SSL_CB_LOOP:  # a step inside a message: its end is told too
        return
    count = tls.get_app_data() + 1
    tls.set_app_data(count)
    if count > MAX_ASIDES:
        tls.set_shutdown(SSL.RECEIVED_SHUTDOWN)  # the only way out of a read from within


def identity_warnings(certificate: bytes, now: datetime) -> list[str]:
    """What is wrong with a server certificate (DER) that can still be served, in words.

    ``now`` is aware. Raises :class:`itl.certificates.CertificateError`.
    """
    found = describe(certificate)
    if found.not_after < now:
        return [f"the certificate {found.subject} expired on {found.not_after:%Y-%m-%d}"]
    if found.not_after - now < _WARN_BEFORE:
        return [f"the certificate {found.subject} expires on {found.not_after:%Y-%m-%d}"]
    if found.not_before > now:
        return [f"the certificate {found.subject} is not valid before {found.not_before:%Y-%m-%d}"]
    return []


def _context(method: int, profile: Profile) -> SSL.Context:
    context = SSL.Context(method)
    context.set_min_proto_version(_MINIMUM[profile])
    # before any key: above level 0 an RSA-1024 or SHA-1 identity is refused while it is loaded
    context.set_cipher_list(_CIPHERS[profile])
    return context


def _use(context: SSL.Context, chain: Sequence[bytes], key: PrivateKey, profile: Profile) -> None:
    if not chain:
        raise TlsError("an identity without certificate")
    try:
        leaf = describe(chain[0])
    except CertificateError as error:
        raise TlsError(f"the TLS certificate cannot be read: {error}") from None
    steps: list[tuple[str, Callable[[], None]]] = [
        ("the certificate", partial(context.use_certificate, _certificate(chain[0]))),
        ("the private key", partial(context.use_privatekey, key)),
        ("the private key", context.check_privatekey),
        *(
            ("the chain", partial(context.add_extra_chain_cert, _certificate(der)))
            for der in chain[1:]
        ),
    ]
    for what, step in steps:
        try:
            step()
        except (SSL.Error, crypto.Error) as error:
            reason = openssl_reason(error)
            if profile == "modern" and "too small" in reason:
                reason += " (the legacy profile takes it)"
            raise TlsError(f"{what} of {leaf.subject} cannot serve TLS: {reason}") from None


def _certificate(der: bytes) -> x509.Certificate:
    with odd_serials():
        return x509.load_der_x509_certificate(der)


def openssl_reason(error: Exception) -> str:
    """The words of the innermost error of an OpenSSL error queue."""
    stack = error.args[0] if error.args else ""
    if isinstance(stack, list | tuple) and stack:
        return str(stack[-1][-1])
    return str(error) or type(error).__name__
