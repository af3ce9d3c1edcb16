"""Makes keys, certificates and lists for the tests of the formats and for their vectors."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from conf.signer import Signer
from itl.document import parse_header
from itl.roles import Role
from itl.trustlist import RecordSpec, build_trust_list

OIDS = {
    "CN": NameOID.COMMON_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "L": NameOID.LOCALITY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "C": NameOID.COUNTRY_NAME,
}
STAMP = 1_430_968_247


def is_ed25519(key) -> bool:
    """Such a key signs without naming a digest."""
    return isinstance(key, ed25519.Ed25519PrivateKey)


class Forge(NamedTuple):
    """Makes what tests need; keys are made once a run."""

    key: Callable[[int], rsa.RSAPrivateKey]

    def name(self, text: str) -> x509.Name:
        """A name from "CN=…,O=…", attributes in the order given."""
        pairs = [pair.split("=", 1) for pair in text.split(",")]
        return x509.Name([x509.NameAttribute(OIDS[short], value) for short, value in pairs])

    def certificate(
        self,
        subject: str = "CN=cucm.lab,OU=Voice,O=Lab,L=City,ST=State,C=US",
        *,
        key=None,
        issuer: str | None = None,
        issuer_key=None,
        serial: int = 0x24491F10703FEA9B,
        not_before: datetime = datetime(2020, 1, 1, tzinfo=UTC),
        not_after: datetime = datetime(2040, 1, 1, tzinfo=UTC),
    ) -> bytes:
        key = key or self.key(1024)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name(subject))
            .issuer_name(self.name(issuer or subject))
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(not_before)
            .not_valid_after(not_after)
        )
        signed = builder.sign(issuer_key or key, None if is_ed25519(key) else hashes.SHA256())
        return signed.public_bytes(Encoding.DER)

    def signer(self, bits: int = 1024, **keywords) -> Signer:
        return Signer(self.certificate(key=self.key(bits), **keywords), self.key(bits))

    def ec_key(self) -> ec.EllipticCurvePrivateKey:
        return ec.generate_private_key(ec.SECP256R1())

    def list(self, signer: Signer | None = None, records=None, **keywords) -> bytes:
        """An ITL of three records, signed by its first."""
        signer = signer or self.signer()
        if records is None:
            other = self.certificate("CN=tvs.lab,O=Lab", serial=0x8210)
            records = [
                RecordSpec(Role.SAST, signer.certificate, "cucm.lab", "10.0.0.1"),
                RecordSpec(Role.TFTP, signer.certificate, "cucm.lab", "10.0.0.1"),
                RecordSpec(Role.TVS, other, "tvs.lab", "10.0.0.2"),
            ]
        keywords = {"filename": "ITLFile.tlv", "timestamp": STAMP, **keywords}
        return build_trust_list(records, signer=signer, **keywords)

    def sign_again(self, data: bytes, signer: Signer, algorithm=None) -> bytes:
        """The document with a good signature over its octets as they are now."""
        header = parse_header(data)
        start, end = header.signature_at + 3, header.signature_at + 3 + len(header.signature)
        octets = data[: start - 3] + data[end:]
        algorithm = algorithm or hashes.SHA1()  # noqa: S303 - the digest of real lists
        return data[:start] + signer.private_key.sign(octets, PKCS1v15(), algorithm) + data[end:]
