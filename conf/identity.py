"""The node's identities: created, brought along, shared in a cluster, loaded.

The only place where a private key is read or exported. A node has one certificate and key for each
of CUCM's services (CallManager, TVS, CAPF, tomcat); ITLRecovery exists once in a cluster.
"""

import os
import stat
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.utils import CryptographyDeprecationWarning

from conf import ConfError
from conf.files import write_whole
from conf.settings import load_settings
from conf.signer import Signer

IDENTITIES = ("CallManager", "TVS", "CAPF", "tomcat", "ITLRecovery")
CALLMANAGER_ECDSA = "CallManager-ECDSA"
TVS, TVS_ECDSA = "TVS", "TVS-ECDSA"  # the second one where tvs.ec_identity is set
SIGNING_BITS = (512, 1024, 2048, 4096)  # the sizes that have a code in a list's header

Waiting: TypeAlias = Literal["next", "old"]
WAITING: tuple[Waiting, ...] = ("next", "old")

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class IdentityError(ConfError):
    """A key or certificate that cannot serve as the identity it is meant for."""


@dataclass(frozen=True)
class TlsIdentity:
    """A certificate chain (DER octets, leaf first) and its private key, for a TLS context."""

    chain: tuple[bytes, ...]
    private_key: PrivateKey = field(repr=False)


@dataclass(frozen=True)
class Member:
    """The public part of one node of a cluster.

    ``certificates`` are DER octets by identity name; ``order`` is the place in the phones'
    CallManager group; ``state`` is the node's folder on this machine.
    """

    host: str
    address: str
    tvs_port: int
    order: int
    state: Path
    certificates: Mapping[str, bytes]


@dataclass(frozen=True)
class Node:
    """This node and its cluster; ``members`` in CallManager-group order, this node included.

    ``overlap`` are certificates (DER) of signers that stand in the lists beside those in force
    while an identity is renewed: the next, or the one before.
    """

    state: Path
    cluster: str
    host: str
    address: str
    secure: bool
    list_signer: str
    members: tuple[Member, ...]
    overlap: tuple[bytes, ...] = ()

    @property
    def own(self) -> Member:
        """This node's public part."""
        return next(member for member in self.members if member.host == self.host)


class _MemberRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``DIR/cluster/HOST.json`` holds."""

    host: str
    address: str
    tvs_port: int
    order: int
    state: str
    certificates: dict[str, bytes]


def cluster_folder(state: Path) -> Path:
    """Where the records of a cluster's nodes lie."""
    return state / "cluster"


def identities_folder(state: Path) -> Path:
    """Where a node's private keys lie."""
    return state / "identities"


def identity_file(state: Path, name: str) -> Path:
    """The PEM file of one identity: private key, certificate, further certificates of its chain."""
    return identities_folder(state) / f"{name}.pem"


def waiting_identity_file(state: Path, name: str, when: Waiting) -> Path:
    """Where an identity waits while it is renewed: the one to come, or the one before."""
    return identities_folder(state) / f"{name}.{when}.pem"


def load_node(state: Path) -> Node:
    """Read the node under ``state`` and the records of its cluster.

    Raises :class:`~conf.settings.SettingsError` or :class:`IdentityError` naming the file.
    """
    settings = load_settings(state).node
    members = sorted(
        (_read_member(path) for path in cluster_folder(state).glob("*.json")),
        key=lambda member: (member.order, member.host),
    )
    if settings.host not in {member.host for member in members}:
        raise IdentityError(f"{cluster_folder(state)}: no record of this node, {settings.host}")
    return Node(
        state=state,
        cluster=settings.cluster,
        host=settings.host,
        address=settings.address,
        secure=settings.secure,
        list_signer=settings.list_signer,
        members=tuple(members),
        overlap=_overlap(state, settings.list_signer),
    )


def _overlap(state: Path, list_signer: str) -> tuple[bytes, ...]:
    names = dict.fromkeys(("CallManager", list_signer))
    paths = [waiting_identity_file(state, name, when) for name in names for when in WAITING]
    return tuple(read_certificate(path) for path in paths if path.exists())


def write_member(folder_of: Path, member: Member) -> None:
    """Put the record of ``member`` into the cluster folder of the node at ``folder_of``."""
    record = _MemberRecord(
        host=member.host,
        address=member.address,
        tvs_port=member.tvs_port,
        order=member.order,
        state=str(member.state.absolute()),
        certificates=dict(member.certificates),
    )
    path = cluster_folder(folder_of) / f"{member.host}.json"
    encoded = msgspec.json.format(msgspec.json.encode(record))
    if not path.exists() or path.read_bytes() != encoded:
        write_whole(path, encoded)


def publish(node: Node, member: Member) -> tuple[Path, ...]:
    """Put ``member`` into the folders of every node of the cluster on this machine.

    Answers the folders that could not be written; the own one must be, else OSError.
    """
    write_member(node.state, member)
    missed = []
    for other in node.members:
        if other.host != node.host:
            try:
                write_member(other.state, member)
            except OSError:
                missed.append(other.state)
    return tuple(missed)


def _read_member(path: Path) -> Member:
    try:
        record = msgspec.json.decode(path.read_bytes(), type=_MemberRecord)
    except (msgspec.MsgspecError, OSError) as error:
        raise IdentityError(f"{path}: not a node's record: {error}") from None
    for name, der in record.certificates.items():
        try:
            x509.load_der_x509_certificate(der)
        except ValueError as error:
            raise IdentityError(f"{path}: certificate {name}: {error}") from None
    return Member(
        host=record.host,
        address=record.address,
        tvs_port=record.tvs_port,
        order=record.order,
        state=Path(record.state),
        certificates=MappingProxyType(record.certificates),
    )


def load_tls_identity(state: Path, name: str) -> TlsIdentity:
    """The identity ``name`` for a TLS context. Raises :class:`IdentityError`."""
    return read_identity(identity_file(state, name))


def load_signer(state: Path, name: str) -> Signer:
    """The identity ``name`` for signing. Raises :class:`IdentityError` unless it is RSA."""
    path = identity_file(state, name)
    return as_signer(read_identity(path), path)


def read_signer(certificate: Path, key: Path) -> Signer:
    """A signer from a certificate (PEM or DER) and a private key (PEM) in files of their own."""
    octets = _read(certificate)
    load = x509.load_der_x509_certificate
    if b"-----BEGIN" in octets:
        load = x509.load_pem_x509_certificate
    try:
        with _odd_serials():
            der = load(octets).public_bytes(serialization.Encoding.DER)
    except ValueError as error:
        raise IdentityError(f"{certificate}: no certificate: {error}") from None
    return as_signer(_matching((der,), _read_key(_read(key), key), certificate), key)


def read_certificate(path: Path) -> bytes:
    """The first certificate (DER) of a PEM file, its key not looked at: checking one is slow."""
    return _read_chain(_read(path), path)[0]


def read_identity(path: Path) -> TlsIdentity:
    """Key and certificates of one PEM file; the key must be that of the first certificate."""
    octets = _read(path)
    key = _read_key(octets, path)
    return _matching(_read_chain(octets, path), key, path)


def _read_chain(octets: bytes, path: Path) -> tuple[bytes, ...]:
    try:
        with _odd_serials():
            certificates = x509.load_pem_x509_certificates(octets)
    except ValueError as error:
        raise IdentityError(f"{path}: no certificate: {error}") from None
    return tuple(item.public_bytes(serialization.Encoding.DER) for item in certificates)


def encode_identity(identity: TlsIdentity) -> bytes:
    """The PEM octets of an identity: private key, certificate, further certificates."""
    key = identity.private_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return key + b"".join(
        x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)
        for der in identity.chain
    )


def encode_pkcs12(identity: TlsIdentity, friendly_name: str, password: str) -> bytes:
    """A PKCS12 with the private key and its certificate, encrypted with ``password``."""
    leaf, *others = (x509.load_der_x509_certificate(der) for der in identity.chain)
    return pkcs12.serialize_key_and_certificates(
        friendly_name.encode(),
        identity.private_key,
        leaf,
        others,
        serialization.BestAvailableEncryption(password.encode()),
    )


def _read(path: Path) -> bytes:
    """The octets of a file; a pipe or a device is none: it could keep us waiting for ever."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise IdentityError(f"{path}: is no regular file")
            return file.read()
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}") from None


@contextmanager
def _odd_serials() -> Iterator[None]:
    """Certificates of serial zero and the like are read, as real ones are: no word of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        yield


@lru_cache(maxsize=8)  # checking a key takes 30 ms, and every change on disk reads them again
def _read_key(octets: bytes, path: Path) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(octets, password=None)
    except (ValueError, TypeError) as error:
        raise IdentityError(f"{path}: no readable private key in PEM form: {error}") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise IdentityError(f"{path}: the private key is neither RSA nor EC")
    return key


def _matching(chain: tuple[bytes, ...], key: PrivateKey, path: Path) -> TlsIdentity:
    with _odd_serials():
        own = x509.load_der_x509_certificate(chain[0]).public_key()
    if own != key.public_key():
        raise IdentityError(f"{path}: the private key is not the one of the certificate")
    return TlsIdentity(chain, key)


def as_signer(identity: TlsIdentity, path: Path) -> Signer:
    """The identity as one that signs; ``path`` is named in the :class:`IdentityError` else."""
    key = identity.private_key
    if not isinstance(key, rsa.RSAPrivateKey):
        raise IdentityError(f"{path}: lists and files are signed with RSA keys only")
    if key.key_size not in SIGNING_BITS:
        raise IdentityError(
            f"{path}: an RSA-{key.key_size} key cannot sign: no code for it is known in a header"
        )
    return Signer(identity.chain[0], key)
