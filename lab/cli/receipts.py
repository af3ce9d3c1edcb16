"""How bundles and receipts look to people."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from rich.table import Table

from lab.cli import terminal
from lab.text import clean
from tvs.bundles import BundleFile, Consolidation
from tvs.changes import KeptReceipt

_SHOWN_DIGITS = 16


def table(title: str, *columns: str) -> Table:
    """An empty table; fingerprints in it never wrap."""
    made = Table(
        title=one_line(title), title_justify="left", box=None, pad_edge=False, header_style="bold"
    )
    for column in columns:
        made.add_column(column, no_wrap=column in {"sha256", "type", "state"}, overflow="fold")
    return made


def one_line(text: str) -> str:
    """``text`` with line breaks made visible too: what a file says must not look like our lines."""
    return clean(text).replace("\n", "\\x0a")


def add(rows: Table, *cells: object) -> None:
    """Add a row; control characters of what came from files are made visible."""
    rows.add_row(*(one_line("" if cell is None else str(cell)) for cell in cells))


def show_files(where: str, files: Sequence[BundleFile], now: datetime) -> None:
    """Print what lies in a directory: each file, and a row for each certificate in it."""
    rows = table(where, "file: cluster/node", "type", "common name", "expires", "sha256")
    for file in files:
        add(rows, file.name, "" if file.items else (file.kind or "-"), _remark(file))
        for item in file.items:
            certificate = item.certificate
            expiry = f"{certificate.not_after:%Y-%m-%d}"
            if certificate.not_after < now:
                expiry += " EXPIRED"
            origin = f"  {_origin(item.cluster, item.node)}"
            digits = item.sha256[:_SHOWN_DIGITS]
            add(rows, origin, item.type or "?", common_name(certificate.subject), expiry, digits)
    terminal.console.print(rows)


def show_receipt(receipt: Mapping[str, object]) -> None:
    """Print the receipt of an import: two lines a certificate."""
    identity = f"receipt {receipt['receipt']}: " if receipt["receipt"] else ""
    print_line(f"{identity}{receipt['outcome']}, from {receipt['where']}")
    certificates = receipt["certificates"]
    for line in certificates if isinstance(certificates, list) else []:
        origin = _origin(line["cluster"], line["node"])
        name = common_name(line["subject"])
        print_line(f"{line['state']:13} {line['type'] or '?':13} {origin:24} {name}")
        stores = ", ".join(line["stores"])
        if line["roles"]:
            stores += f" (phones are told: {' '.join(role['name'] for role in line['roles'])})"
        expired = f"EXPIRED {line['not_after']}" if line["expired"] else None
        text = "; ".join(part for part in (stores, expired, line["reason"], line["file"]) if part)
        print_line(f"    {line['sha256']}  {text}")


def print_line(text: str) -> None:
    """Print a line of any length, control characters of what came from files made visible."""
    terminal.console.print(one_line(text), soft_wrap=True)


def note(text: str) -> None:
    """Print one line on standard error about what a file says."""
    terminal.say(one_line(text))


def common_name(subject: str) -> str:
    """The part of a subject that people look for; the whole where it has no common name."""
    return next(
        (part.removeprefix("CN=") for part in subject.split(";") if part.startswith("CN=")), subject
    )


def show_consolidation(found: Consolidation) -> None:
    """Say what a consolidation did with what it found."""
    for name, items in found.bundles.items():
        if not found.refused:
            terminal.say(f"written: {name}, {len(items)} certificates")
    for name in found.unchanged:
        terminal.say(f"unchanged: {name}")
    for first, again in found.duplicates:
        note(f"duplicate: {again.file} holds the same certificate as {first.file}")
    for item in found.stale:
        note(f"dropped: {item.certificate.subject} of {item.node}, exported anew since")
    for item in found.expired:
        note(f"EXPIRED: {item.file}: {item.certificate.subject}")


def warn(missing: Sequence[str], files: Sequence[BundleFile]) -> None:
    """Say loudly what is missing or could not be read, and what was passed over."""
    for text in missing:
        note(f"MISSING: {text}; phones cannot follow without it")
    for file in files:
        if file.problem:
            note(f"UNREADABLE: {file.name}: {file.problem}")
        elif file.kind is None:
            note(f"passed over: {file.name} is nothing that holds certificates")


def show_receipts(receipts: Iterable[KeptReceipt]) -> None:
    """Print the receipts of a store's history."""
    rows = table("", "receipt", "time", "what", "where", "by", "taken back by")
    for kept in receipts:
        one = kept.receipt
        add(rows, one.id, one.time, one.action, one.place, one.actor, kept.undone_by)
    terminal.console.print(rows)


def _origin(cluster: str | None, node: str | None) -> str:
    return f"{cluster}/{node}" if node else "?"


def _remark(file: BundleFile) -> str:
    if file.problem:
        return file.problem
    return "; ".join((*(() if file.items else ("no certificates",)), *file.notes))
