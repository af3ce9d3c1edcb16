"""The value with which lists and files are signed."""

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey


@dataclass(frozen=True)
class Signer:
    """A certificate (DER octets) and its RSA private key, which never shows in a representation."""

    certificate: bytes
    private_key: RSAPrivateKey = field(repr=False)
