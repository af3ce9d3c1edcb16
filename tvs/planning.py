"""What an import would do with each certificate of a directory: decided in full before anything is.

The mapping from type to stores is Cisco's for bulk certificate management (document 215539). What
is planned is pure; :meth:`tvs.store.TrustStore.apply` does it in one transaction.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from itl.roles import PHONE_SAST_TRUST, SIGNS_FILES, Role
from tvs.answers import AnswerPolicy
from tvs.bundles import BundleFile, Item, stale
from tvs.changes import Change
from tvs.labels import Label
from tvs.snapshot import Entry, entry_of

_SIGNING = SIGNS_FILES | {Role.SAST}
_MUST_CONTRIBUTE = ("CallManager", "ITLRecovery")

# What the roles of usecallmanagernz' tvsd mean in trust stores. Assumed: tvsd has no stores.
_STORE_OF_ROLE = {
    "SAST": "Phone-SAST-trust",
    "CCM": "CallManager-trust",
    "CCM+TFTP": "CallManager-trust",
    "TFTP": "CallManager-trust",
    "CAPF": "CAPF-trust",
    "APP-SERVER": "tomcat-trust",
    "TVS": "TVS-trust",
}
_TYPE_OF_ROLES = {
    frozenset({"CAPF"}): "CAPF",
    frozenset({"APP-SERVER"}): "tomcat",
    frozenset({"TVS"}): "TVS",
}


class State(StrEnum):
    """What becomes of a certificate."""

    NEW = "new"
    PRESENT = "already there"
    REPLACED = "replaced"  # it is known as another type, which changes
    SKIPPED = "skipped"
    REFUSED = "refused"


@dataclass(frozen=True)
class Line:
    """One certificate of one file: what becomes of it, and why.

    ``stores`` are those it is to be in, ``entering`` those it is not in yet.
    """

    item: Item
    state: State
    reason: str
    stores: frozenset[str] = frozenset()
    entering: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Plan:
    """The whole of an import. ``signers``: certificates that would newly sign what phones trust."""

    lines: tuple[Line, ...]
    changes: tuple[Change, ...]
    signers: tuple[Change, ...]
    missing: tuple[str, ...]
    problems: tuple[BundleFile, ...]

    @property
    def refused(self) -> tuple[Line, ...]:
        """The certificates that stand in the way."""
        return tuple(line for line in self.lines if line.state is State.REFUSED)

    @property
    def is_refused(self) -> bool:
        """Whether something stands in the way: one such, and nothing is imported."""
        return bool(self.problems or self.refused)


@dataclass(frozen=True)
class Own:
    """The importing cluster: its label's name and id, and its certificates by fingerprint."""

    cluster: str
    cluster_id: str
    certificates: Mapping[str, str]


def plan_import(
    files: Sequence[BundleFile],
    *,
    own: Own,
    stores: Mapping[str, Sequence[str]],
    types: Sequence[str],
    present: Mapping[str, Entry],
    policy: AnswerPolicy,
) -> Plan:
    """Decide on every certificate of ``files``.

    ``stores`` is the mapping from type to stores, ``types`` are those asked for, ``present`` what
    the trust store holds by fingerprint.
    """
    outdated = stale(files)
    after: dict[str, Change] = {}
    lines: dict[tuple[str, str, str | None], Line] = {}
    for item in (item for file in files for item in file.items):
        group = "/".join(item.label.group) if item.label and item.label.nodes else ""
        key = (item.sha256, group, item.type)
        if key in lines:
            continue
        if (item.file, item.sha256) in outdated:
            old = "left over in a consolidated file; its node's own file no longer holds it"
            lines[key] = Line(item, State.SKIPPED, old)
            continue
        lines[key] = _excluded(item, own, stores, types) or _placed(
            item, _target(item, stores), after, present, policy
        )
    changes = tuple(change for change in after.values() if change.after != change.before)
    return Plan(
        lines=tuple(lines.values()),
        changes=changes,
        signers=tuple(change for change in changes if _becomes_signer(change, policy)),
        missing=missing(files, types),
        problems=tuple(file for file in files if file.problem is not None),
    )


def _excluded(
    item: Item, own: Own, stores: Mapping[str, Sequence[str]], types: Sequence[str]
) -> Line | None:
    """The line of a certificate that is not imported; None for one that is."""
    if (reason := _own(item, own)) is not None:
        return Line(item, State.SKIPPED, reason)
    if item.roles is not None:
        unknown = sorted(set(item.roles) - set(_STORE_OF_ROLE))
        return Line(item, State.REFUSED, f"unknown role {unknown[0]!r}") if unknown else None
    if item.type is None:
        return Line(item, State.REFUSED, "nothing in it tells its type: say it with --type")
    if item.type not in types:
        return Line(item, State.SKIPPED, f"type {item.type} was not asked for")
    if not stores.get(item.type):
        return Line(item, State.SKIPPED, f"the mapping names no store for {item.type}")
    return None


def _own(item: Item, own: Own) -> str | None:
    """Why a certificate counts as the importing cluster's own."""
    if item.sha256 in own.certificates:
        return f"own certificate: {own.certificates[item.sha256]}"
    cluster = (own.cluster.lower(), own.cluster_id)
    if item.label and (item.label.cluster.lower(), item.label.cluster_id) == cluster:
        return "labelled as this cluster's own, but none of its present certificates"
    return None


def _target(item: Item, stores: Mapping[str, Sequence[str]]) -> tuple[str | None, frozenset[str]]:
    """The type and stores that an import means a certificate to have."""
    if item.roles is None:
        return item.type, frozenset(stores[item.type or ""])
    names = frozenset(item.roles)
    type_name = _TYPE_OF_ROLES.get(names)
    if "SAST" in names and names & {"CCM", "CCM+TFTP", "TFTP"}:
        type_name = "CallManager"
    return type_name, frozenset(_STORE_OF_ROLE[name] for name in names)


def _placed(
    item: Item,
    target: tuple[str | None, frozenset[str]],
    after: dict[str, Change],
    present: Mapping[str, Entry],
    policy: AnswerPolicy,
) -> Line:
    type_name, wanted = target
    earlier = after.get(item.sha256)
    known = earlier.after if earlier else present.get(item.sha256)
    source = item.file if item.cluster is None else f"{item.file} ({item.cluster}/{item.node})"
    if known is None:
        entry = entry_of(item.certificate.der, type=type_name, stores=wanted, source=source)
        after[item.sha256] = Change(entry, None, item.file, item.cluster, item.node)
        return Line(item, State.NEW, "", wanted, wanted)
    entering = wanted - known.stores
    kept = _stronger(known.type, type_name, policy)
    entry = replace(known, type=kept, stores=known.stores | wanted)
    if entering and not earlier:
        entry = replace(entry, source=source)
    if earlier:
        after[item.sha256] = replace(earlier, after=entry)
    else:
        after[item.sha256] = Change(entry, known, item.file, item.cluster, item.node)
    reason = "" if kept == type_name else f"stays known as {kept}"
    if kept != known.type:
        state, reason = State.REPLACED, f"was known as {known.type or 'no type'}, now as {kept}"
    elif entering:
        state = State.NEW
    else:
        state = State.PRESENT
        if earlier:
            reason = f"the same as from {earlier.node or earlier.file}"
    return Line(item, state, reason, wanted, entering)


def _stronger(known: str | None, found: str | None, policy: AnswerPolicy) -> str | None:
    """The type of a certificate met under two: one that signs prevails, then the one known."""
    if known is None or found is None:
        return known or found
    signs = [bool(_SIGNING & set(policy.roles.get(name, ()))) for name in (known, found)]
    return found if signs == [False, True] else known


def _becomes_signer(change: Change, policy: AnswerPolicy) -> bool:
    """Whether phones would newly be told that this certificate signs lists or configurations."""
    before = set(policy.roles_of(change.before)) if change.before else set()
    gained = set(policy.roles_of(change.after)) - before
    return PHONE_SAST_TRUST in change.entering or bool(gained & _SIGNING)


def missing(files: Iterable[BundleFile], types: Sequence[str]) -> tuple[str, ...]:
    """In words, the signers that a node ought to have contributed but did not.

    Without its CallManager certificate, or its cluster's ITLRecovery, phones cannot follow to a
    node. Only labelled files tell which nodes there are.
    """
    outdated = stale(files := list(files))
    nodes: dict[tuple[str, str], dict[str, set[str]]] = {}
    names: dict[tuple[str, str], Label] = {}
    for item in (item for file in files for item in file.items):
        if item.label and item.label.nodes and (item.file, item.sha256) not in outdated:
            cluster, cluster_id, node, type_name = item.label.group
            key = (cluster, cluster_id)
            nodes.setdefault(key, {}).setdefault(node, set()).add(type_name)
            if key not in names or names[key].nodes < item.label.nodes:
                names[key] = item.label
    wanted = [name for name in _MUST_CONTRIBUTE if name in types]
    return tuple(
        text for key, by_node in nodes.items() for text in _missing_of(names[key], by_node, wanted)
    )


def _missing_of(label: Label, by_node: Mapping[str, set[str]], wanted: list[str]) -> Iterator[str]:
    cluster = f"cluster {label.cluster}"
    if len(by_node) < label.nodes and wanted:
        there = ", ".join(sorted(by_node))
        yield f"{cluster} has {label.nodes} nodes; only {there} contributed anything"
    if "CallManager" in wanted:
        for node, contributed in sorted(by_node.items()):
            if "CallManager" not in contributed:
                yield f"{cluster}: node {node} contributed no CallManager certificate"
    if "ITLRecovery" in wanted and not any("ITLRecovery" in there for there in by_node.values()):
        yield f"{cluster} contributed no ITLRecovery certificate"
