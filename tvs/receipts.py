"""The receipt of an import: each certificate, where it came from, what became of it and why."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime

from itl.roles import role_name
from tvs.answers import AnswerPolicy
from tvs.bundles import BundleFile, Consolidation, Exported, Item
from tvs.changes import Event
from tvs.labels import Label
from tvs.planning import Plan
from tvs.snapshot import Entry

JsonObject = dict[str, object]


def roles_json(roles: tuple[int, ...]) -> list[JsonObject]:
    """Roles as every JSON output has them."""
    return [{"code": int(role), "name": role_name(role)} for role in roles]


def item_json(item: Item, now: datetime) -> JsonObject:
    """One certificate of a bundle."""
    certificate = item.certificate
    return {
        "cluster": item.cluster,
        "node": item.node,
        "type": item.type,
        "type_from": item.type_from,
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial": certificate.serial.hex(),
        "sha256": item.sha256,
        "not_after": _time(certificate.not_after),
        "expired": certificate.not_after < now,
        "place": item.place,
    }


def file_json(file: BundleFile, now: datetime) -> JsonObject:
    """One file of the directory; ``cluster``, ``node``, ``type`` where all in it agree."""
    return {
        "file": file.name,
        "kind": file.kind,
        "consolidated": file.consolidated,
        "cluster": _common({item.cluster for item in file.items}),
        "node": _common({item.node for item in file.items}),
        "type": _common({item.type for item in file.items}),
        "problem": file.problem,
        "notes": list(file.notes),
        "certificates": [item_json(item, now) for item in file.items],
    }


def entry_json(entry: Entry, policy: AnswerPolicy) -> JsonObject:
    """One certificate of the trust store."""
    return {
        "sha256": entry.sha256,
        "subject": entry.subject,
        "issuer": entry.issuer,
        "serial": entry.serial.hex(),
        "not_after": _time(entry.not_after),
        "type": entry.type,
        "stores": sorted(entry.stores),
        "roles": roles_json(policy.roles_of(entry)),
        "source": entry.source,
    }


def export_json(where: str, done: Exported) -> JsonObject:
    """What an export wrote."""

    def files(labels: Sequence[tuple[str, Label]]) -> list[JsonObject]:
        return [
            {"file": name, "cluster": label.cluster, "node": label.node, "type": label.type}
            for name, label in labels
        ]

    return {
        "where": where,
        "written": files(done.written),
        "unchanged": files(done.unchanged),
        "rivals": list(done.rivals),
    }


def consolidation_json(
    where: str, found: Consolidation, missing: Sequence[str], now: datetime
) -> JsonObject:
    """What a consolidation found and wrote."""

    def lines(items: Sequence[Item]) -> list[JsonObject]:
        return [{"file": item.file, **item_json(item, now)} for item in items]

    return {
        "where": where,
        "outcome": "refused" if found.refused else "consolidated",
        "written": [
            {"file": name, "certificates": lines(items)}
            for name, items in found.bundles.items()
            if not found.refused
        ],
        "unchanged": list(found.unchanged),
        "duplicates": [
            {"sha256": again.sha256, "file": again.file, "same_as": first.file}
            for first, again in found.duplicates
        ],
        "expired": lines(found.expired),
        "dropped": lines(found.stale),
        "untyped": lines(found.untyped),
        "unreadable": _unreadable(found.problems),
        "missing": list(missing),
    }


def event_json(event: Event) -> JsonObject:
    """One event of a certificate's history."""
    return asdict(event)


def plan_json(
    plan: Plan, present: Mapping[str, Entry], policy: AnswerPolicy, now: datetime
) -> JsonObject:
    """The part of a receipt that a plan decides."""
    after = {change.after.sha256: change.after for change in plan.changes}
    signers = {change.after.sha256 for change in plan.signers}
    certificates = []
    for line in plan.lines:
        entry = after.get(line.item.sha256) or present.get(line.item.sha256)
        certificates.append(
            {
                "file": line.item.file,
                **item_json(line.item, now),
                "state": line.state.value,
                "reason": line.reason or None,
                "stores": sorted(line.stores),
                "entering": sorted(line.entering),
                "new_signer": line.item.sha256 in signers,
                "roles": roles_json(policy.roles_of(entry)) if entry and line.stores else [],
            }
        )
    return {
        "certificates": certificates,
        "missing": list(plan.missing),
        "unreadable": _unreadable(plan.problems),
    }


def _unreadable(files: Sequence[BundleFile]) -> list[JsonObject]:
    return [{"file": file.name, "kind": file.kind, "reason": file.problem} for file in files]


def _common(values: set[str | None]) -> str | None:
    return next(iter(values)) if len(values) == 1 else None


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
