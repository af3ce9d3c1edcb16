"""What tests of bundles have in hand: clusters, results of commands, certificates in text form."""

import json
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from itl.certificates import describe


def pem_of(identity) -> bytes:
    key = identity.private_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return key + to_pem(identity.chain[0])


def to_pem(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class Clusters:
    a: Path
    b: Path
    shared: Path


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> list[dict]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def one(self) -> dict:
        (value,) = self.json
        return value


def stored(trustlab, state: Path) -> dict[str, dict]:
    """What ``store list --json`` says, by fingerprint."""
    return {entry["sha256"]: entry for entry in trustlab(state, "store", "list", "--json").json}


def certificates_of(state: Path) -> dict[str, str]:
    """Identity name and host of each certificate of the cluster, by fingerprint."""
    found = {}
    for record in sorted((state / "cluster").glob("*.json")):
        value = json.loads(record.read_bytes())
        for name, encoded in value["certificates"].items():
            der = b64decode(encoded)
            found.setdefault(describe(der).sha256, f"{name} of {value['host']}")
    return found
