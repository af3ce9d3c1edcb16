"""``trustlab store``: the trust stores of a node."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from ssl import DER_cert_to_PEM_cert
from typing import Annotated

from cyclopts import App, Parameter

from conf import ConfError
from conf.files import write_whole
from conf.settings import load_settings
from itl.certificates import describe, load_certificates
from itl.roles import CERTIFICATE_TYPES, TRUST_STORES, role_name
from lab import exits
from lab.cli import terminal
from lab.cli.arguments import STANDARD_OUTPUT, Flag, OutputFile
from lab.cli.passwords import Passwords
from lab.cli.receipts import add as add_row
from lab.cli.receipts import common_name, note, print_line, table
from lab.cli.selection import EVERYTHING, NotHeldError, Selection, held
from lab.policy import answer_policy
from lab.text import clean
from tvs.answers import AnswerPolicy
from tvs.bundles import encode
from tvs.changes import Change, new_receipt
from tvs.receipts import entry_json, event_json
from tvs.snapshot import Entry, entry_of
from tvs.store import STORE_FILE, TrustStore

WARN_DAYS = 60

app = App(name="store", help="The trust stores of a node.")

TypeName = Annotated[str | None, Parameter(name="--type", negative="")]
Stores = Annotated[tuple[str, ...], Parameter(name="--store", negative="")]


@app.command
def add(
    certificate: Path,
    *,
    stores: Stores,
    type_name: TypeName = None,
    json: Flag = False,
) -> int:
    """Put the certificates of a PEM or DER file into trust stores.

    Parameters
    ----------
    certificate:
        The file.
    stores:
        CallManager-trust, Phone-SAST-trust, …; may be repeated.
    type_name:
        CallManager, CAPF, …: decides on the roles that TVS answers with.
    json:
        Print one JSON object for each certificate.
    """
    _check(stores)
    if type_name is not None and type_name not in CERTIFICATE_TYPES:
        raise ConfError(f"--type {type_name}: known are {', '.join(CERTIFICATE_TYPES)}")
    ders = load_certificates(certificate.read_bytes())
    name = clean(certificate.name)
    with _opened() as (opened, policy):
        changes = []
        for der in dict.fromkeys(ders):
            entry = entry_of(der, type=type_name, stores=stores, source=f"added from {name}")
            before = opened.find(entry.sha256)
            if before is not None:
                known = before.stores | entry.stores
                entry = replace(entry, stores=known, type=type_name or before.type)
            changes.append(Change(entry, before, file=name))
        opened.apply(changes, new_receipt("add", clean(str(certificate))))
    for change in changes:
        if json:
            terminal.emit(entry_json(change.after, policy))
        else:
            shown = ", ".join(sorted(change.after.stores))
            note(f"{change.after.sha256} {change.after.subject}: {shown}")
    return 0


@app.command(name="list")
def list_command(*, json: Flag = False, selection: Selection = EVERYTHING) -> int:
    """List the certificates of the trust stores.

    Parameters
    ----------
    json:
        Print one JSON object for each certificate.
    """
    with _opened() as (opened, policy):
        _show(selection.of(opened, policy), opened, policy, json=json)
    return 0


@app.command
def find(text: str, *, json: Flag = False, selection: Selection = EVERYTHING) -> int:
    """List the certificates with a text in subject, issuer, serial number, fingerprint or source.

    Parameters
    ----------
    text:
        Any part of a name or source, in any case; a whole serial number; the beginning of a
        fingerprint. Colons in numbers are passed over.
    json:
        Print one JSON object for each certificate.
    """
    wanted = text.lower()
    digits = wanted.replace(":", "")
    with _opened() as (opened, policy):
        found = [
            entry
            for entry in selection.of(opened, policy)
            if wanted in f"{entry.subject}\n{entry.issuer}\n{entry.source}".lower()
            or (digits and (digits == entry.serial.hex() or entry.sha256.startswith(digits)))
        ]
        _show(found, opened, policy, json=json)
    return 0 if found else exits.NO


@app.command
def show(fingerprint: str, *, json: Flag = False) -> int:
    """Show one certificate and its whole history, also of one that was removed.

    Parameters
    ----------
    fingerprint:
        The beginning of its SHA-256.
    json:
        Print one JSON object.
    """
    with _opened() as (opened, policy):
        entry = held(opened, fingerprint)
        history = opened.history(entry.sha256)
    events = [event_json(event) for event in history]
    if json:
        terminal.emit({**entry_json(entry, policy), "history": events})
        return 0
    roles = " ".join(role_name(role) for role in policy.roles_of(entry))
    shown = {**entry_json(entry, policy), "stores": ", ".join(sorted(entry.stores)), "roles": roles}
    for key, value in shown.items():
        print_line(f"{key:10} {'' if value is None else value}")
    print_line("history")
    for event in history:
        what = f"{event.what} {event.store or f'{event.type_before} → {event.type_after}'}"
        origin = f" from {event.file}" if event.file else ""
        place = f" ({event.cluster}/{event.node})" if event.node else ""
        print_line(f"  {event.time} {event.actor}: {what}{origin}{place}; receipt {event.receipt}")
    return 0


@app.command
def remove(fingerprint: str, *, stores: Stores = (), json: Flag = False) -> int:
    """Take a certificate out of trust stores; its history stays.

    Parameters
    ----------
    fingerprint:
        The beginning of its SHA-256.
    stores:
        Out of these alone; out of all when none is given.
    json:
        Print one JSON object.
    """
    _check(stores)
    with _opened() as (opened, _):
        entry = held(opened, fingerprint)
        leaving = entry.stores & frozenset(stores or entry.stores)
        if not leaving:
            raise NotHeldError(f"{entry.sha256} is not in {', '.join(stores) or 'any store'}")
        receipt = new_receipt("remove", "command line")
        after = replace(entry, stores=entry.stores - leaving)
        opened.apply([Change(after, entry)], receipt)
    if json:
        terminal.emit({"receipt": receipt.id, "sha256": entry.sha256, "left": sorted(leaving)})
    else:
        terminal.say(f"{entry.sha256} left {', '.join(sorted(leaving))}; receipt {receipt.id}")
    return 0


@app.command
def verify(certificate: Path | None = None, *, json: Flag = False) -> int:
    """Check a certificate against the store, or the store itself.

    Parameters
    ----------
    certificate:
        A PEM or DER file: are its octets in the store, and what would phones be told? Without it,
        SQLite's own check is run, and every certificate compared with its fingerprint and columns.
    json:
        Print one JSON object for each certificate, or for the store.
    """
    with _opened() as (opened, policy):
        if certificate is None:
            return _verify_store(opened, json=json)
        found = [
            (der, opened.find(sha256(der).hexdigest()))
            for der in load_certificates(certificate.read_bytes())
        ]
    for der, entry in found:
        subject = describe(der).subject
        if json:
            held_as = entry_json(entry, policy) if entry else None
            terminal.emit({"subject": subject, "trusted": entry is not None, "entry": held_as})
        elif entry is None:
            note(f"{subject}: not in the store")
        else:
            roles = " ".join(role_name(role) for role in policy.roles_of(entry))
            note(f"{subject}: in {', '.join(sorted(entry.stores))}; roles {roles}")
    return 0 if all(entry for _, entry in found) else exits.NO


def _verify_store(opened: TrustStore, *, json: bool) -> int:
    damage, count = opened.damage(), len(opened.entries())
    if json:
        terminal.emit({"certificates": count, "damage": damage})
    for text in damage:
        terminal.say(f"damage: {text}")
    if not damage:
        terminal.say(f"{count} certificates, no damage")
    return exits.NO if damage else 0


@app.command
def export(
    file: OutputFile,
    *,
    pkcs12: Flag = False,
    password_file: Path | None = None,
    selection: Selection = EVERYTHING,
) -> int:
    """Write certificates of the store into one file, PEM unless told otherwise.

    Parameters
    ----------
    file:
        Where to; replaced whole. A single dash is standard output.
    pkcs12:
        Write a PKCS12 that OpenSSL and Java read.
    password_file:
        Its first line locks the PKCS12; else TRUSTLAB_BUNDLE_PASSWORD, else "trustlab".
    """
    with _opened() as (opened, policy):
        entries = selection.of(opened, policy)
    if not entries:
        raise NotHeldError("no such certificate in the store; nothing was written")
    if pkcs12:
        content = [(entry.der, None) for entry in entries]
        data = encode(content, Passwords(password_file).written, "modern")
    else:
        data = "".join(DER_cert_to_PEM_cert(entry.der) for entry in entries).encode()
    if file == STANDARD_OUTPUT:
        sys.stdout.buffer.write(data)
    else:
        write_whole(file, data, mode=0o644)
    terminal.say(f"{len(entries)} certificates written")
    return 0


@contextmanager
def _opened() -> Iterator[tuple[TrustStore, AnswerPolicy]]:
    state = terminal.state_dir()
    policy = answer_policy(load_settings(state).tvs.answers)
    with closing(TrustStore.open(state / STORE_FILE)) as opened:
        yield opened, policy


def _check(stores: Sequence[str]) -> None:
    for name in stores:
        if name not in TRUST_STORES:
            raise ConfError(f"--store {name}: known are {', '.join(TRUST_STORES)}")


def _show(
    entries: Sequence[Entry], opened: TrustStore, policy: AnswerPolicy, *, json: bool
) -> None:
    now = datetime.now(UTC)
    origins = opened.origins()
    if json:
        for entry in entries:
            cluster, node = origins[entry.sha256]
            terminal.emit({**entry_json(entry, policy), "cluster": cluster, "node": node})
        return
    rows = table("", "type", "common name", "stores", "roles", "from", "expires", "sha256")
    for entry in entries:
        cluster, node = origins[entry.sha256]
        add_row(
            rows,
            entry.type or "?",
            common_name(entry.subject),
            ", ".join(sorted(entry.stores)),
            " ".join(role_name(role) for role in policy.roles_of(entry)),
            f"{cluster}/{node}" if node else entry.source,
            f"{entry.not_after:%Y-%m-%d}",
            entry.sha256[:16],
        )
    terminal.console.print(rows)
    for entry in entries:
        days = (entry.not_after - now).days
        if days < WARN_DAYS:
            when = "has expired" if entry.not_after < now else f"expires in {days} days"
            note(f"{entry.sha256[:16]} {common_name(entry.subject)} {when}")
