"""The certificates of bundles not yet imported, as an import would put them into trust stores."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from conf.settings import default_text, load_settings
from tvs.bundles import read_directory
from tvs.exchange import Folder
from tvs.foreign import ForeignReader
from tvs.snapshot import Entry, entry_of


def bundled_certificates(
    folders: Sequence[Path], passwords: Sequence[str], states: Sequence[Path] = ()
) -> list[Entry]:
    """Everything in ``folders`` that an import would take, into the first of ``states`` if any.

    Its mapping from types to stores counts, else the default one. ``passwords`` are tried on locked
    files. Raises :class:`~tvs.exchange.ExchangeError` and :class:`~conf.settings.SettingsError`;
    files that cannot be opened give nothing.
    """
    if not folders:
        return []
    mapping = load_settings(states[0]).bundles.stores if states else _default_mapping()
    with ForeignReader() as reader:
        return [entry for folder in folders for entry in _read(folder, reader, passwords, mapping)]


def _default_mapping() -> Mapping[str, Sequence[str]]:
    mapping: dict[str, list[str]] = tomllib.loads(default_text())["bundles"]["stores"]
    return mapping


def _read(
    folder: Path,
    reader: ForeignReader,
    passwords: Sequence[str],
    mapping: Mapping[str, Sequence[str]],
) -> Iterator[Entry]:
    for file in read_directory(Folder(folder), reader, passwords):
        for item in file.items:
            if item.type is not None and mapping.get(item.type):
                yield entry_of(
                    item.certificate.der,
                    type=item.type,
                    stores=mapping[item.type],
                    source=f"{folder}/{item.file}",
                )
