"""Keys and self-signed certificates of CUCM's shape, made for an identity of a node."""

import secrets
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from conf.identity import CALLMANAGER_ECDSA, PrivateKey, TlsIdentity

KEY_BITS = 2048
# CUCM's own terms: five years for most certificates, twenty at most for ITLRecovery.
VALID_DAYS = 5 * 365
RECOVERY_VALID_DAYS = 20 * 365
COMMON_NAME_LENGTH = 64  # octets; X.520's upper bound


def make_identity(name: str, host: str) -> TlsIdentity:
    """A new key and self-signed certificate for the identity ``name`` of ``host``."""
    if name == CALLMANAGER_ECDSA:
        return self_signed(name, host, ec.generate_private_key(ec.SECP384R1()))
    return self_signed(
        name, host, rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    )


def common_name(name: str, host: str) -> str:
    """The common name CUCM gives the certificate of an identity on ``host``.

    CallManager, TVS and tomcat carry the host name; CAPF-XXXXXXXX and ITLRECOVERY_host are the
    forms `show ctl` prints in Cisco documents 118893 and 117598.
    """
    if name == "CAPF":
        return f"CAPF-{secrets.token_hex(4)}"
    if name == "ITLRecovery":
        return f"ITLRECOVERY_{host}"[:COMMON_NAME_LENGTH]
    if name == CALLMANAGER_ECDSA:
        return f"{host[: COMMON_NAME_LENGTH - 3]}-EC"
    return host


def self_signed(
    name: str, host: str, key: PrivateKey, *, begin: datetime | None = None
) -> TlsIdentity:
    """A self-signed certificate of CUCM's shape for the identity ``name`` of ``host``.

    ``begin`` is the start of its validity (default: an hour ago, for clocks that differ).
    """
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "Lab"),
            x509.NameAttribute(NameOID.LOCALITY_NAME, "Bench"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "trustlab"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Voice"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name(name, host)),
        ]
    )
    begin = begin or datetime.now(UTC) - timedelta(hours=1)
    days = RECOVERY_VALID_DAYS if name == "ITLRecovery" else VALID_DAYS
    usage = x509.KeyUsage(
        digital_signature=True,
        key_encipherment=isinstance(key, rsa.RSAPrivateKey),
        data_encipherment=isinstance(key, rsa.RSAPrivateKey),
        key_cert_sign=True,
        content_commitment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(usage, critical=False)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return TlsIdentity((certificate.public_bytes(serialization.Encoding.DER),), key)
