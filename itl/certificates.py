"""What the formats need of a certificate; its DER octets stay the truth.

Real lists hold expired, SHA-1, RSA-1024, version 1 and serial-zero certificates: nothing here
refuses one that can be decoded. What to think of a certificate is decided by whoever uses it.
"""

import hashlib
import re
import warnings
from base64 import b64decode
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from cryptography.x509.oid import NameOID

from itl.errors import ItlError

_SHORT_NAMES = {
    NameOID.COMMON_NAME: "CN",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.LOCALITY_NAME: "L",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.COUNTRY_NAME: "C",
}
_PEM = re.compile(
    rb"-----BEGIN (X509 |TRUSTED |)CERTIFICATE-----([^-]+)-----END \1CERTIFICATE-----"
)
_CACHED_CERTIFICATES = 2048  # a list has at most some hundred; clusters repeat them in every list


class CertificateError(ItlError):
    """Octets that are no X.509 certificate, or one whose key or names cannot be read."""


@dataclass(frozen=True)
class Certificate:
    """A certificate in the words of trust lists.

    ``subject`` and ``issuer`` are CUCM's text ("CN=…;OU=…;O=…;L=…;ST=…;C=…", that order, missing
    attributes left out); ``subject_in_order`` and ``issuer_in_order`` keep the certificate's own
    order, joined with commas. ``serial`` holds the unsigned octets of the serial number, none for
    zero. ``public_key`` is what element 7 of a record holds: PKCS#1 RSAPublicKey, or the
    uncompressed point of an EC key. ``signature`` is the certificate's signature value.
    """

    der: bytes = field(repr=False)
    subject: str
    issuer: str
    subject_in_order: str = field(repr=False)
    issuer_in_order: str = field(repr=False)
    serial: bytes
    not_before: datetime
    not_after: datetime
    public_key: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    key_type: str
    key_bits: int
    sha1: str
    sha256: str


PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


@lru_cache(maxsize=_CACHED_CERTIFICATES)
def describe(der: bytes) -> Certificate:
    """Read one certificate from its DER octets. Raises :class:`CertificateError`."""
    try:
        with warnings.catch_warnings():
            # cryptography warns of serial numbers below one; real lists hold them.
            warnings.simplefilter("ignore")
            certificate = x509.load_der_x509_certificate(der)
            return _describe(der, certificate)
    except (ValueError, TypeError, OverflowError, x509.InvalidVersion) as error:
        raise CertificateError(f"not a certificate that can be read: {error}") from None


def load_certificates(data: bytes) -> list[bytes]:
    """The DER octets of every certificate in a PEM or DER file, in its order, at least one.

    Other PEM blocks (keys) are passed over. Raises :class:`CertificateError`.
    """
    if b"-----BEGIN" not in data:
        return [describe(data).der]
    try:
        found = [b64decode(b"".join(body.split()), validate=True) for _, body in _PEM.findall(data)]
    except ValueError as error:
        raise CertificateError(f"PEM text that is not base64: {error}") from None
    if not found:
        raise CertificateError("PEM text without a certificate")
    return [describe(der).der for der in found]


def serial_octets(number: int) -> bytes:
    """A serial number as lists and TVS carry it: unsigned, no leading zero octet, empty for 0.

    A negative one, which no certificate should have, as its DER octets.
    """
    if number < 0:
        return number.to_bytes((number + 1).bit_length() // 8 + 1, signed=True)
    return number.to_bytes((number.bit_length() + 7) // 8)


def same_serial(one: bytes, other: bytes) -> bool:
    """Whether two serial numbers are the same number: other tools may write a sign octet."""
    return one.lstrip(b"\0") == other.lstrip(b"\0")


@lru_cache(maxsize=_CACHED_CERTIFICATES)
def verification_key(der: bytes) -> PublicKey:
    """The RSA or EC public key of a certificate. Raises :class:`CertificateError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as in describe
            key = x509.load_der_x509_certificate(der).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise CertificateError(f"no usable public key: {error}") from None
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise CertificateError(f"neither an RSA nor an EC key: {type(key).__name__}")
    return key


def load_rsa_key(octets: bytes) -> PublicKey:
    """The key in element 7 of a record without certificate: PKCS#1 RSAPublicKey."""
    try:
        key = load_der_public_key(octets)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"no usable public key: {error}") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise CertificateError("not an RSA key")
    return key


def key_of(certificate: bytes | None, octets: bytes) -> PublicKey:
    """The key of a record: its certificate's, or where that is missing or broken, element 7's.

    Raises :class:`CertificateError`.
    """
    if certificate is not None:
        try:
            return verification_key(certificate)
        except CertificateError:
            if not octets:
                raise
    return load_rsa_key(octets)


def _describe(der: bytes, certificate: x509.Certificate) -> Certificate:
    key_type, key_bits, key = _key(certificate)
    subject, issuer = _attributes(certificate.subject), _attributes(certificate.issuer)
    return Certificate(
        der=der,
        subject=_cucm_text(subject),
        issuer=_cucm_text(issuer),
        subject_in_order=_text_in_order(subject),
        issuer_in_order=_text_in_order(issuer),
        serial=serial_octets(certificate.serial_number),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        public_key=key,
        signature=certificate.signature,
        key_type=key_type,
        key_bits=key_bits,
        sha1=hashlib.sha1(der, usedforsecurity=False).hexdigest(),
        sha256=hashlib.sha256(der).hexdigest(),
    )


def _key(certificate: x509.Certificate) -> tuple[str, int, bytes]:
    try:
        key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        return "unknown", 0, b""
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA", key.key_size, key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    if isinstance(key, ec.EllipticCurvePublicKey):
        point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return "EC", key.key_size, point
    return type(key).__name__.removesuffix("PublicKey"), 0, b""


def _attributes(name: x509.Name) -> list[tuple[str, str]]:
    return [
        (_SHORT_NAMES[attribute.oid], str(attribute.value))
        for attribute in name
        if attribute.oid in _SHORT_NAMES
    ]


def _cucm_text(attributes: list[tuple[str, str]]) -> str:
    """CUCM's order whatever the certificate's (Cisco documents 118893 and 213407)."""
    return ";".join(
        f"{short}={value}"
        for wanted in _SHORT_NAMES.values()
        for short, value in attributes
        if short == wanted
    )


def _text_in_order(attributes: list[tuple[str, str]]) -> str:
    return ",".join(f"{short}={value}" for short, value in attributes)
