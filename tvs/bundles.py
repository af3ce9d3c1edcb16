"""Bundles: what lies in the shared directory, and what export and consolidate write there.

Each certificate is known by its octets; a label (:mod:`tvs.labels`) says which cluster, node and
type it belongs to. The order of everything is that of file names and of certificates in them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    KeySerializationEncryption,
    PrivateFormat,
    pkcs12,
)

from conf.identity import odd_serials
from itl.certificates import Certificate, CertificateError, describe
from tvs import TvsError
from tvs.exchange import Exchange, TooLargeError
from tvs.foreign import MAX_FILE_BYTES, ForeignReader
from tvs.labels import Label, consolidated_name, label_without_origin, parse_label, type_of_subject
from tvs.material import Found, Material

DEFAULT_PASSWORD = "trustlab"  # noqa: S105 - documented: it guards public certificates from nobody

Encryption = Literal["modern", "legacy"]


class BundleError(TvsError):
    """A bundle, or a directory of them, with which the command cannot do what it was asked."""


@dataclass(frozen=True)
class Item:
    """One certificate of one file.

    ``type_from`` says how its type is known: "label", "subject", "roles" (a tvsd database),
    "--type", or None where the type is not.
    """

    file: str
    place: str | None
    certificate: Certificate
    label: Label | None
    type: str | None
    type_from: str | None
    roles: tuple[str, ...] | None = None

    @property
    def sha256(self) -> str:
        """The fingerprint of the certificate, lower-case hex."""
        return self.certificate.sha256

    @property
    def cluster(self) -> str | None:
        """The cluster that the label claims."""
        return self.label.cluster if self.label and self.label.nodes else None

    @property
    def node(self) -> str | None:
        """The node that the label claims."""
        return self.label.node if self.label and self.label.nodes else None


@dataclass(frozen=True)
class BundleFile:
    """One file of the directory; ``kind`` is None where it is something else than certificates."""

    name: str
    kind: str | None
    items: tuple[Item, ...] = ()
    problem: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def consolidated(self) -> bool:
        """Whether it is one that a consolidation wrote."""
        return any(item.label is not None and item.label.consolidated for item in self.items)


def read_directory(
    exchange: Exchange,
    reader: ForeignReader,
    passwords: Sequence[str],
    *,
    ask: Callable[[str], str | None] = lambda _: None,
    wanted: Callable[[str], bool] = lambda _: True,
) -> list[BundleFile]:
    """Everything in the directory whose name is ``wanted``.

    ``ask`` is given the name of a file that none of the ``passwords`` opens, until it answers one
    that does, or None. Raises :class:`~tvs.exchange.ExchangeError`.
    """
    known = list(passwords)
    files = []
    for name in filter(wanted, exchange.names()):
        try:
            data = exchange.read(name, MAX_FILE_BYTES)
        except TooLargeError:
            problem = f"more than {MAX_FILE_BYTES} octets; not opened"
            files.append(BundleFile(name, "file", problem=problem))
            continue
        material = reader.read(data, known)
        while material.locked and (password := ask(name)) is not None:
            known.insert(0, password)
            material = reader.read(data, known)
        files.append(_bundle_file(name, material))
    return files


def _bundle_file(name: str, material: Material) -> BundleFile:
    try:
        items = tuple(_item(name, found) for found in material.certificates)
    except CertificateError as error:
        return BundleFile(name, material.kind, problem=str(error), notes=material.notes)
    return BundleFile(name, material.kind, items, material.problem, material.notes)


def _item(file: str, found: Found) -> Item:
    certificate = describe(found.der)
    label = parse_label(found.name, certificate.sha256)
    type_name, type_from = None, None
    if label is not None:
        type_name, type_from = label.type, "label"
    elif found.roles is not None:
        type_from = "roles"
    elif (by_subject := type_of_subject(certificate.subject)) is not None:
        type_name, type_from = by_subject, "subject"
    return Item(file, found.place, certificate, label, type_name, type_from, found.roles)


def with_type(files: Iterable[BundleFile], type_name: str) -> list[BundleFile]:
    """The files, with ``type_name`` given to every certificate whose type nothing tells."""
    return [
        replace(
            file,
            items=tuple(
                replace(item, type=type_name, type_from="--type")
                if item.type_from is None
                else item
                for item in file.items
            ),
        )
        for file in files
    ]


def stale(files: Iterable[BundleFile]) -> set[tuple[str, str]]:
    """(file, fingerprint) of what a consolidated file still holds though its node exported anew.

    A node's own file is the truth about that node and type; a consolidated file speaks only for
    nodes that have none.
    """
    own: dict[tuple[str, str, str, str], set[str]] = {}
    collected: list[tuple[Label, Item]] = []
    for item in (item for file in files for item in file.items):
        if item.label is not None and item.label.consolidated:
            collected.append((item.label, item))
        elif item.label is not None:
            own.setdefault(item.label.group, set()).add(item.sha256)
    return {
        (item.file, item.sha256)
        for label, item in collected
        if item.sha256 not in own.get(label.group, {item.sha256})
    }


@dataclass(frozen=True)
class Exported:
    """File names written and left as they were, each with its label.

    ``rivals`` are other files that claim to be of this cluster and one of its nodes.
    """

    written: tuple[tuple[str, Label], ...]
    unchanged: tuple[tuple[str, Label], ...]
    rivals: tuple[str, ...]


@dataclass(frozen=True)
class Consolidation:
    """What a consolidation found and would write.

    ``bundles``: for each file name the items it is to hold. ``duplicates``: certificates that came
    from several files or nodes. ``untyped``: those that nothing assigns to a type. ``problems``:
    files that could not be read.
    """

    bundles: Mapping[str, tuple[Item, ...]]
    unchanged: tuple[str, ...]
    duplicates: tuple[tuple[Item, Item], ...]
    expired: tuple[Item, ...]
    stale: tuple[Item, ...]
    untyped: tuple[Item, ...]
    problems: tuple[BundleFile, ...]

    @property
    def refused(self) -> bool:
        """Whether something stands in the way: then nothing is to be written."""
        return bool(self.untyped or self.problems)


def consolidate(files: Sequence[BundleFile], types: Sequence[str], now: datetime) -> Consolidation:
    """Collect everything of the ``types`` into one bundle a type."""
    outdated = stale(files)
    collected: dict[str, dict[tuple[object, ...], Item]] = {name: {} for name in types}
    seen: dict[tuple[str, str], Item] = {}
    duplicates, old, untyped = [], [], []
    for item in (item for file in files for item in file.items):
        if (item.file, item.sha256) in outdated:
            old.append(item)
        elif item.type is None:
            untyped.append(item)
        elif item.type in collected:
            label = item.label or label_without_origin(item.type)
            collected[item.type].setdefault((item.sha256, label.group), item)
            first = seen.setdefault((item.sha256, item.type), item)
            if first.file != item.file and not label.consolidated:
                duplicates.append((first, item))
    bundles, unchanged = {}, []
    present = {file.name: _written(file) for file in files if file.consolidated}
    for name, found in collected.items():
        items = tuple(_consolidated(item, name) for item in found.values())
        file = consolidated_name(name)
        if items and present.get(file) == _signature(items):
            unchanged.append(file)
        elif items:
            bundles[file] = items
    expired = [
        item
        for found in collected.values()
        for item in found.values()
        if item.certificate.not_after < now
    ]
    return Consolidation(
        bundles=bundles,
        unchanged=tuple(unchanged),
        duplicates=tuple(duplicates),
        expired=tuple(expired),
        stale=tuple(old),
        untyped=tuple(untyped),
        problems=tuple(file for file in files if file.problem),
    )


def _consolidated(item: Item, type_name: str) -> Item:
    label = item.label or label_without_origin(type_name)
    return replace(item, label=replace(label, consolidated=True))


def _signature(items: Iterable[Item]) -> set[tuple[str, Label | None]]:
    return {(item.sha256, item.label) for item in items}


def _written(file: BundleFile) -> set[tuple[str, Label | None]]:
    return _signature(file.items)


def encode(
    items: Iterable[tuple[bytes, Label | None]], password: str, encryption: Encryption
) -> bytes:
    """A PKCS12 with the certificates alone, each marked as trusted, as Java wants it."""
    entries = []
    for der, label in items:
        with odd_serials():
            certificate = x509.load_der_x509_certificate(der)
        sha256 = certificate.fingerprint(hashes.SHA256()).hex()
        name = label.friendly_name(sha256) if label else sha256
        entries.append(pkcs12.PKCS12Certificate(certificate, name.encode()))
    return pkcs12.serialize_java_truststore(entries, _encryption(password, encryption))


def _encryption(password: str, encryption: Encryption) -> KeySerializationEncryption:
    if encryption == "modern":
        return BestAvailableEncryption(password.encode())
    return (
        PrivateFormat.PKCS12.encryption_builder()
        .key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
        .hmac_hash(hashes.SHA1())  # noqa: S303 - all that old releases of CUCM and Java read
        .build(password.encode())
    )
