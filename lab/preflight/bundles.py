"""The certificates of bundles not yet imported, as an import would put them into trust stores."""

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from conf.settings import default_text
from tvs.bundles import read_directory
from tvs.exchange import Folder
from tvs.foreign import ForeignReader
from tvs.snapshot import Entry, entry_of


def bundled_certificates(folders: Sequence[Path], passwords: Sequence[str]) -> list[Entry]:
    """Everything in ``folders`` that an import with the default mapping would take.

    ``passwords`` are tried on locked files. Raises
    :class:`~tvs.exchange.ExchangeError`; files that cannot be opened give nothing.
    """
    mapping = tomllib.loads(default_text())["bundles"]["stores"]
    if not folders:
        return []
    with ForeignReader() as reader:
        return [entry for folder in folders for entry in _read(folder, reader, passwords, mapping)]


def _read(
    folder: Path, reader: ForeignReader, passwords: Sequence[str], mapping: dict[str, list[str]]
) -> Iterator[Entry]:
    for file in read_directory(Folder(folder), reader, passwords):
        for item in file.items:
            if item.type is not None and item.type in mapping:
                yield entry_of(
                    item.certificate.der,
                    type=item.type,
                    stores=mapping[item.type],
                    source=f"{folder}/{item.file}",
                )
