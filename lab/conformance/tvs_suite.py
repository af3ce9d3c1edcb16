"""The TVS suite: all its checks, and a certificate that no server can know."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from lab.conformance import tvs_answers, tvs_connections, tvs_hostile, tvs_tls

CHECKS = (*tvs_tls.CHECKS, *tvs_answers.CHECKS, *tvs_connections.CHECKS, *tvs_hostile.CHECKS)


def stranger() -> bytes:
    """A certificate (DER) made a moment ago: nobody trusts it yet."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        (
            x509.NameAttribute(NameOID.COMMON_NAME, "conformance.invalid"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "trustlab"),
        )
    )
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, SHA256())
    )
    return made.public_bytes(Encoding.DER)
