"""Clusters made of a few keys, and the lists they sign."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from conf.signer import Signer
from itl.roles import Role
from itl.signedfile import sign_file
from itl.trustlist import CTL_FILENAME, ITL_FILENAME, RecordSpec, build_trust_list

NOW = datetime(2026, 3, 1, tzinfo=UTC)
STAMP = int(NOW.timestamp())
LONG_AGO = NOW - timedelta(days=1)
FAR_AWAY = datetime(2099, 1, 1, tzinfo=UTC)


def self_signed(common_name, key, *, serial, not_after=FAR_AWAY) -> Signer:
    """A certificate as CUCM makes them for itself."""
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "AU"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Lab"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(NOW - timedelta(days=1000))
        .not_valid_after(not_after)
        .sign(key, hashes.SHA256())
    )
    return Signer(certificate.public_bytes(Encoding.DER), key)


@dataclass(frozen=True)
class Cluster:
    """One node's identities and the lists it would serve."""

    recovery: Signer
    callmanager: Signer
    tvs: Signer
    capf: Signer
    secure: bool = False
    peers: tuple["Cluster", ...] = field(default=())

    def itl(self, *, signer=None, digest="sha1", records=None, timestamp=STAMP, also=()) -> bytes:
        signer = signer or self.recovery
        role = Role.CCM_TFTP if self.secure else Role.TFTP
        records = records or [
            (Role.SAST, signer),
            (Role.SAST, self.callmanager),
            (role, self.callmanager),
            *[(Role.TVS, node.tvs) for node in (self, *self.peers)],
            (Role.CAPF, self.capf),
            *[(Role.SAST, holder) for holder in also],
        ]
        return listing(ITL_FILENAME, records, signer, digest, timestamp)

    def ctl(self, *, signer=None, digest="sha1", records=None, timestamp=STAMP) -> bytes:
        signer = signer or self.recovery
        records = records or [
            (Role.SAST, signer),
            *[(Role.CCM_TFTP, node.callmanager) for node in (self, *self.peers)],
            (Role.CAPF, self.capf),
            (Role.SAST, self.recovery),
        ]
        return listing(CTL_FILENAME, records, signer, digest, timestamp)

    def rollback_itl(self) -> bytes:
        """With "Prepare Cluster for Rollback to pre 8.0": TVS and TFTP without certificates."""
        records = [(Role.SAST, self.recovery), (Role.TFTP, None), (Role.TVS, None)]
        return self.itl(records=[*records, (Role.CAPF, self.capf)])


def listing(filename, records, signer, digest="sha1", timestamp=STAMP, style="cucm") -> bytes:
    """A list of (role, holder) or (role, holder, host) records; a holder may be None."""
    return build_trust_list(
        [
            RecordSpec(
                role=int(role),
                certificate=None if holder is None else holder.certificate,
                dns_name=host[0] if host else "node",
                address="192.0.2.1",
            )
            for role, holder, *host in records
        ],
        signer=signer,
        filename=filename,
        timestamp=timestamp,
        digest=digest,
        style=style,
    )


def signed(name, signer, payload=b"<device/>", digest="sha1") -> bytes:
    return sign_file(payload, name=name, signer=signer, timestamp=STAMP, digest=digest)
