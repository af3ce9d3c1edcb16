"""What an import of bundles that lie in folders would do, decided as the import itself decides."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conf.node import load_node
from conf.settings import default_text, load_settings
from lab.policy import stores_by_type
from tvs.answers import AnswerPolicy
from tvs.bulk import own_of
from tvs.bundles import BundleFile, read_directory
from tvs.exchange import Folder
from tvs.foreign import ForeignReader
from tvs.labels import EXCHANGED_TYPES
from tvs.planning import Own, Plan, plan_import
from tvs.snapshot import Entry

_NOBODY = Own("", "", {})


@dataclass(frozen=True)
class Bundles:
    """What lies in one folder."""

    where: str
    files: Sequence[BundleFile]


@dataclass(frozen=True)
class Import:
    """What an import of one folder would do."""

    where: str
    plan: Plan

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why nothing of it would be imported; empty if it would."""
        return (
            *(f"{file.name}: {file.problem}" for file in self.plan.problems),
            *(
                f"{line.item.file}: {line.item.certificate.subject}: {line.reason}"
                for line in self.plan.refused
            ),
        )


def read_bundles(folders: Iterable[Path], passwords: Sequence[str]) -> list[Bundles]:
    """Everything in ``folders``; ``passwords`` are tried on locked files.

    Raises :class:`~tvs.exchange.ExchangeError`.
    """
    with ForeignReader() as reader:
        return [
            Bundles(str(folder), read_directory(Folder(folder), reader, passwords))
            for folder in folders
        ]


def plan_imports(
    bundles: Iterable[Bundles], state: Path | None, known: Iterable[Entry], policy: AnswerPolicy
) -> tuple[list[Import], list[Entry]]:
    """What importing one after another would do, and all that would be known afterwards.

    They go into the node ``state``, by its mapping from types to stores; without one, by the
    default mapping. ``known`` is what is known before. Raises :class:`~conf.ConfError`.
    """
    own = _NOBODY if state is None else own_of(load_node(state))
    stores = _default_stores() if state is None else stores_by_type(load_settings(state).bundles)
    present = {entry.sha256: entry for entry in known}
    imports = []
    for each in bundles:
        plan = plan_import(
            each.files,
            own=own,
            stores=stores,
            types=EXCHANGED_TYPES,
            present=present,
            policy=policy,
        )
        imports.append(Import(each.where, plan))
        if not plan.is_refused:
            present |= {change.after.sha256: change.after for change in plan.changes}
    return imports, list(present.values())


def _default_stores() -> Mapping[str, Sequence[str]]:
    stores: dict[str, list[str]] = tomllib.loads(default_text())["bundles"]["stores"]
    return stores
