"""Bulk certificate management: own certificates into bundles, bundles into the trust store."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from conf.identity import encode_pkcs12, load_tls_identity
from conf.node import Node
from itl.certificates import describe
from tvs.answers import AnswerPolicy
from tvs.bundles import BundleFile, Consolidation, Encryption, Exported, encode
from tvs.changes import new_receipt
from tvs.exchange import Exchange
from tvs.labels import Label, cluster_id
from tvs.planning import Own, Plan
from tvs.receipts import JsonObject, plan_json
from tvs.snapshot import Entry
from tvs.store import TrustStore

IMPORTED = "imported"
NOTHING = "nothing to do"
PLANNED = "planned"
REFUSED = "refused"


def own_of(node: Node) -> Own:
    """What an import must not take for another cluster's."""
    certificates = {
        describe(der).sha256: f"{name} of {member.host}"
        for member in reversed(node.members)  # what all share is called after the first
        for name, der in member.certificates.items()
    }
    for der in node.overlap:
        certificates.setdefault(describe(der).sha256, "a signer being renewed")
    return Own(node.cluster, _cluster_id(node), certificates)


def own_labels(node: Node, types: Sequence[str]) -> list[tuple[Label, bytes]]:
    """Every certificate (DER octets) of every node of the cluster, of the ``types`` asked for."""
    identity = _cluster_id(node)
    return [
        (Label(node.cluster, identity, member.host, name, len(node.members)), der)
        for member in node.members
        for name, der in member.certificates.items()
        if name in types
    ]


def export(
    node: Node,
    exchange: Exchange,
    present: Sequence[BundleFile],
    *,
    types: Sequence[str],
    password: str,
    encryption: Encryption,
) -> Exported:
    """Write one PKCS12 for each node of the cluster and type; public parts only.

    A file of the ``present`` ones that holds the same already is left untouched.
    """
    there = {file.name: {(item.sha256, item.label) for item in file.items} for file in present}
    written, unchanged = [], []
    labels = own_labels(node, types)
    for label, der in labels:
        if there.get(label.file_name) == {(describe(der).sha256, label)}:
            unchanged.append((label.file_name, label))
            continue
        exchange.write(label.file_name, encode([(der, label)], password, encryption))
        written.append((label.file_name, label))
    ours = {(label.cluster.lower(), label.node.lower()) for label, _ in labels}
    names = {label.file_name for label, _ in own_labels(node, list(node.own.certificates))}
    rivals = [
        file.name
        for file in present
        if file.name not in names
        and any(
            item.label
            and not item.label.consolidated
            and (item.label.cluster.lower(), item.label.node.lower()) in ours
            for item in file.items
        )
    ]
    return Exported(tuple(written), tuple(unchanged), tuple(rivals))


def export_keys(
    node: Node, exchange: Exchange, *, types: Sequence[str], password: str
) -> tuple[str, ...]:
    """Write this node's own certificates with their private keys; answers the file names."""
    names = []
    for label, der in own_labels(node, types):
        if label.node == node.host:
            friendly_name = label.friendly_name(describe(der).sha256)
            identity = load_tls_identity(node.state, label.type)
            data = encode_pkcs12(identity, friendly_name, password)
            exchange.write(label.key_file_name, data, private=True)
            names.append(label.key_file_name)
    return tuple(names)


def write_consolidated(
    consolidation: Consolidation, exchange: Exchange, *, password: str, encryption: Encryption
) -> None:
    """Write the bundles of a consolidation into the directory."""
    for name, items in consolidation.bundles.items():
        content = [(item.certificate.der, item.label) for item in items]
        exchange.write(name, encode(content, password, encryption))


def draft(
    plan: Plan,
    present: Mapping[str, Entry],
    policy: AnswerPolicy,
    *,
    where: str,
    dry_run: bool,
    now: datetime,
) -> JsonObject:
    """The receipt of an import before it is done; its outcome says whether it is to be."""
    if plan.is_refused:
        outcome = REFUSED
    elif dry_run:
        outcome = PLANNED
    else:
        outcome = IMPORTED if plan.changes else NOTHING
    return {
        "receipt": None,
        "outcome": outcome,
        "time": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "where": where,
        "confirmed_by": None,
        **plan_json(plan, present, policy, now),
    }


def carry_out(
    plan: Plan, store: TrustStore, body: JsonObject, *, confirmed_by: str | None
) -> JsonObject:
    """Do what ``plan`` says, in one transaction; answers the receipt, which the store keeps.

    ``body`` is the drafted receipt, ``confirmed_by`` what confirmed the new signers.
    """
    receipt = new_receipt("import", str(body["where"]))
    body = {**body, "receipt": receipt.id, "time": receipt.time, "confirmed_by": confirmed_by}
    store.apply(plan.changes, replace(receipt, body=json.dumps(body)))
    return body


def _cluster_id(node: Node) -> str:
    return cluster_id(describe(node.own.certificates["ITLRecovery"]).sha256)
