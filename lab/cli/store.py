"""``trustlab store``: the trust stores of a node."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from conf import ConfError
from conf.settings import load_settings
from itl.certificates import load_certificates
from itl.roles import CERTIFICATE_TYPES, TRUST_STORES
from lab.cli import terminal
from lab.cli.receipts import add as add_row
from lab.cli.receipts import table
from tvs.answers import AnswerPolicy
from tvs.changes import Change, new_receipt
from tvs.receipts import entry_json
from tvs.snapshot import entry_of
from tvs.store import STORE_FILE, TrustStore

app = App(name="store", help="The trust stores of a node.")

Flag = Annotated[bool, Parameter(negative="")]


@app.command
def add(
    certificate: Path,
    *,
    store: Annotated[list[str], Parameter(negative="")],
    type: str | None = None,  # noqa: A002 - the option's name
    json: Flag = False,
) -> int:
    """Put the certificates of a PEM or DER file into trust stores.

    Parameters
    ----------
    certificate:
        The file.
    store:
        CallManager-trust, Phone-SAST-trust, …; may be repeated.
    type:
        CallManager, CAPF, …: decides on the roles TVS answers with.
    json:
        Print one JSON object for each certificate.
    """
    for name in store:
        if name not in TRUST_STORES:
            raise ConfError(f"--store {name}: known are {', '.join(TRUST_STORES)}")
    if type is not None and type not in CERTIFICATE_TYPES:
        raise ConfError(f"--type {type}: known are {', '.join(CERTIFICATE_TYPES)}")
    ders = load_certificates(certificate.read_bytes())
    with _open() as opened:
        changes = []
        for der in dict.fromkeys(ders):
            entry = entry_of(der, type=type, stores=store, source=f"added from {certificate.name}")
            before = opened.find(entry.sha256)
            if before is not None:
                stores = before.stores | entry.stores
                entry = replace(before, stores=stores, type=type or before.type)
            changes.append(Change(entry, before, file=certificate.name))
        receipt = new_receipt("add", str(certificate))
        opened.apply(changes, receipt)
    for change in changes:
        if json:
            terminal.emit(entry_json(change.after, AnswerPolicy()))
        else:
            shown = ", ".join(sorted(change.after.stores))
            terminal.say(f"{change.after.sha256} {change.after.subject}: {shown}")
    return 0


@app.command(name="list")
def list_command(*, json: Flag = False) -> int:
    """List the certificates of the trust stores.

    Parameters
    ----------
    json:
        Print one JSON object for each certificate.
    """
    policy = AnswerPolicy()
    with _open() as opened:
        entries = opened.entries()
    if json:
        for entry in entries:
            terminal.emit(entry_json(entry, policy))
        return 0
    rows = table("", "type", "subject", "stores", "expires", "sha256")
    for entry in entries:
        expiry = f"{entry.not_after:%Y-%m-%d}"
        stores = ", ".join(sorted(entry.stores))
        add_row(rows, entry.type or "?", entry.subject, stores, expiry, entry.sha256[:16])
    terminal.console.print(rows)
    return 0


def _open() -> closing[TrustStore]:
    state = terminal.state_dir()
    load_settings(state)
    return closing(TrustStore.open(state / STORE_FILE))
