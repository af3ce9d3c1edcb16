"""The whole pre-flight: gather, rehearse, probe, check."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lab.phone.models import Model
from lab.phone.trust import Held
from lab.preflight.bundles import Bundles
from lab.preflight.findings import Finding, Result
from lab.preflight.list_checks import (
    check_anchor,
    check_duplicates,
    check_fitness,
    check_lists,
    check_rollback,
    check_stale_ctl,
)
from lab.preflight.places import Place, Side, gather
from lab.preflight.probe import Probe, probe, signers
from lab.preflight.rehearsal import Move, held_by, rehearse
from lab.preflight.trust_checks import (
    check_imports,
    check_known,
    check_moves,
    check_nodes,
    check_tls,
    check_tvs,
    check_tvs_list,
    check_way_back,
)


@dataclass(frozen=True)
class Preflight:
    """The result: both sides as they were found, the rehearsed moves, and the findings."""

    source: Side
    destination: Side
    moves: tuple[Move, ...]
    findings: tuple[Finding, ...]
    made: datetime

    @property
    def follows(self) -> bool | None:
        """Whether every model would follow to every node; None if that could not be told."""
        told = [move.follows for move in self.moves]
        if False in told:
            return False
        return None if None in told or not told else True

    @property
    def exit_code(self) -> int:
        """0 will follow, 1 will not, 3 could not tell."""
        return {True: 0, False: 1, None: 3}[self.follows]

    @property
    def verdict(self) -> str:
        """The answer in words."""
        words = {True: "will follow", False: "will not follow", None: str(Result.UNKNOWN)}
        return words[self.follows]


async def examine(
    source_place: Place,
    destination_place: Place,
    *,
    models: Sequence[Model],
    mac: str,
    timeout_seconds: float,
    bundles: tuple[Sequence[Bundles], Sequence[Bundles]] = ((), ()),
) -> Preflight:
    """Look at both places and answer whether the phones of the first would follow to the second.

    ``mac`` is a phone whose configuration is looked at; ``timeout_seconds`` is for each file and
    each TVS server; ``bundles`` are those not yet imported on either side.
    """
    now = datetime.now(UTC)
    source, destination = [
        await gather(label, place, mac=mac, timeout_seconds=timeout_seconds, bundles=folders)
        for label, place, folders in (
            ("source", source_place, bundles[0]),
            ("destination", destination_place, bundles[1]),
        )
    ]
    moves = tuple(
        [
            await rehearse(holder, node, model, source, mac, timeout_seconds=timeout_seconds)
            for holder in source.nodes
            for node in destination.nodes
            for model in models
        ]
    )
    held = [held_by(node, models[0]) for node in source.nodes]
    findings = [
        *_list_findings(source, held, destination, models, now),
        *await _trust_findings(source, held, destination, models, timeout_seconds),
        *check_moves(moves),
    ]
    return Preflight(source, destination, moves, tuple(findings), now)


def _list_findings(
    source: Side, held: Sequence[Held], destination: Side, models: Sequence[Model], now: datetime
) -> list[Finding]:
    return [
        *check_lists(source, needed=False),
        *check_rollback(source),
        *check_stale_ctl(source),
        *check_tvs_list(source),
        *check_imports(source),
        *check_imports(destination),
        *check_lists(destination, needed=True),
        *check_fitness(destination, models, now),
        *check_rollback(destination),
        *check_stale_ctl(destination),
        *check_nodes(destination),
        *check_anchor(held, destination),
        *check_duplicates([source, destination]),
    ]


async def _trust_findings(
    source: Side,
    held: Sequence[Held],
    destination: Side,
    models: Sequence[Model],
    timeout_seconds: float,
) -> list[Finding]:
    wanted, own = signers(destination.lists()), signers(source.lists())
    probes = await probe(source, wanted, timeout_seconds=timeout_seconds)
    back = await probe(destination, own, timeout_seconds=timeout_seconds)
    old: list[Probe] = []
    if any(model.old_tls for model in models):
        old = await probe(source, [], timeout_seconds=timeout_seconds, tls_profile="tls1.0")
    return [
        *check_tvs(held, probes),
        *check_tls(models, probes, old),
        *check_known(held, wanted, probes),
        *check_way_back(own, back),
    ]
