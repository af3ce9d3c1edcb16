"""The identities of a node: certificates and their private keys, in PEM files.

The only place where a private key is read or exported. A node has one certificate and key for each
of CUCM's services (CallManager, TVS, CAPF, tomcat); ITLRecovery exists once in a cluster.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.utils import CryptographyDeprecationWarning

from conf import ConfError
from conf.files import read_regular
from conf.signer import Signer

IDENTITIES = ("CallManager", "TVS", "CAPF", "tomcat", "ITLRecovery")
CALLMANAGER_ECDSA = "CallManager-ECDSA"
TVS, TVS_ECDSA = "TVS", "TVS-ECDSA"  # the second one where tvs.ec_identity is set
# RSA keys that sign lists: their size has a code in a header, and cannot be broken at home. Under
# 752 bits there is no room for a SHA-512 signature either (RFC 8017 section 9.2: 83 + 11 octets).
SIGNING_BITS = (1024, 2048, 4096)
LEAST_RSA_BITS = min(SIGNING_BITS)

Waiting: TypeAlias = Literal["next", "old"]
WAITING: tuple[Waiting, ...] = ("next", "old")

UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)
"""What cryptography raises for keys and certificates that cannot be, or of kinds it lacks."""

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class IdentityError(ConfError):
    """A key or certificate that cannot serve as the identity it is meant for."""


@dataclass(frozen=True)
class TlsIdentity:
    """A certificate chain (DER octets, leaf first) and its private key, for a TLS context."""

    chain: tuple[bytes, ...]
    private_key: PrivateKey = field(repr=False)


def identities_folder(state: Path) -> Path:
    """Where a node's private keys lie."""
    return state / "identities"


def identity_file(state: Path, name: str) -> Path:
    """The PEM file of one identity: private key, certificate, further certificates of its chain."""
    return identities_folder(state) / f"{name}.pem"


def waiting_identity_file(state: Path, name: str, when: Waiting) -> Path:
    """Where an identity waits while it is renewed: the one to come, or the one before."""
    return identities_folder(state) / f"{name}.{when}.pem"


def load_tls_identity(state: Path, name: str) -> TlsIdentity:
    """The identity ``name`` for a TLS context. Raises :class:`IdentityError`."""
    return read_identity(identity_file(state, name))


def load_signer(state: Path, name: str) -> Signer:
    """The identity ``name`` for signing.

    Raises :class:`IdentityError` as :func:`as_signer` does.
    """
    path = identity_file(state, name)
    return as_signer(read_identity(path), path)


def read_signer(certificate: Path, key: Path) -> Signer:
    """A signer from a certificate (PEM or DER) and a private key (PEM) in files of their own.

    Raises :class:`IdentityError` as :func:`as_signer` does, and for files that hold neither.
    """
    octets = _read(certificate)
    load = x509.load_der_x509_certificate
    if b"-----BEGIN" in octets:
        load = x509.load_pem_x509_certificate
    try:
        with odd_serials():
            der = load(octets).public_bytes(serialization.Encoding.DER)
    except UNREADABLE as error:
        raise IdentityError(f"{certificate}: no certificate: {error}") from None
    return as_signer(_matching((der,), _read_key(_read(key), key), certificate), key)


def read_certificate(path: Path) -> bytes:
    """The first certificate (DER) of a PEM file, its key not looked at: checking one is slow.

    Raises :class:`IdentityError`.
    """
    return _read_chain(_read(path), path)[0]


def read_identity(path: Path) -> TlsIdentity:
    """Key and certificates of one PEM file; the key must be that of the first certificate.

    RSA keys have :data:`LEAST_RSA_BITS` at least, EC keys may be of any curve. Raises
    :class:`IdentityError`.
    """
    octets = _read(path)
    key = _read_key(octets, path)
    return _matching(_read_chain(octets, path), key, path)


def _read_chain(octets: bytes, path: Path) -> tuple[bytes, ...]:
    try:
        with odd_serials():
            certificates = x509.load_pem_x509_certificates(octets)
    except UNREADABLE as error:
        raise IdentityError(f"{path}: no certificate: {error}") from None
    return tuple(item.public_bytes(serialization.Encoding.DER) for item in certificates)


def encode_identity(identity: TlsIdentity) -> bytes:
    """The PEM octets of an identity: private key, certificate, further certificates."""
    key = identity.private_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with odd_serials():
        return key + b"".join(
            x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)
            for der in identity.chain
        )


def encode_pkcs12(identity: TlsIdentity, friendly_name: str, password: str) -> bytes:
    """A PKCS12 with the private key and its certificate, encrypted with ``password``."""
    with odd_serials():
        leaf, *others = (x509.load_der_x509_certificate(der) for der in identity.chain)
    return pkcs12.serialize_key_and_certificates(
        friendly_name.encode(),
        identity.private_key,
        leaf,
        others,
        serialization.BestAvailableEncryption(password.encode()),
    )


def _read(path: Path) -> bytes:
    """The octets of a file. Raises :class:`IdentityError`."""
    try:
        return read_regular(path)
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}") from None


@contextmanager
def odd_serials() -> Iterator[None]:
    """Certificates of serial zero and the like are read, as real ones are: no word of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        yield


@lru_cache(maxsize=8)  # checking a key takes 30 ms, and every change on disk reads them again
def _read_key(octets: bytes, path: Path) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(octets, password=None)
    except UNREADABLE as error:
        raise IdentityError(f"{path}: no readable private key in PEM form: {error}") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise IdentityError(f"{path}: the private key is neither RSA nor EC")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < LEAST_RSA_BITS:
        raise IdentityError(
            f"{path}: an RSA-{key.key_size} key, which anybody can break: RSA keys have at least "
            f"{LEAST_RSA_BITS} bits"
        )
    return key


def _matching(chain: tuple[bytes, ...], key: PrivateKey, path: Path) -> TlsIdentity:
    try:
        with odd_serials():
            own = x509.load_der_x509_certificate(chain[0]).public_key()
    except UNREADABLE as error:
        raise IdentityError(f"{path}: the certificate's key cannot be read: {error}") from None
    if own != key.public_key():
        raise IdentityError(f"{path}: the private key is not the one of the certificate")
    return TlsIdentity(chain, key)


def as_signer(identity: TlsIdentity, path: Path) -> Signer:
    """The identity as one that signs.

    Raises :class:`IdentityError`, which names ``path``, unless its key is RSA of SIGNING_BITS.
    """
    key = identity.private_key
    if not isinstance(key, rsa.RSAPrivateKey):
        raise IdentityError(f"{path}: lists and files are signed with RSA keys only, not with EC")
    if key.key_size not in SIGNING_BITS:
        sizes = ", ".join(map(str, SIGNING_BITS))
        raise IdentityError(
            f"{path}: an RSA-{key.key_size} key cannot sign: a list's header can name RSA keys of "
            f"{sizes} bits only"
        )
    return Signer(identity.chain[0], key)
