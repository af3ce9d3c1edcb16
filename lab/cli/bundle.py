"""``trustlab bundle``: bulk certificate management over a shared directory."""

import json as json_text
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from conf import ConfError
from conf.identity import load_node
from conf.settings import load_settings
from itl.roles import TRUST_STORES
from lab.cli import terminal
from lab.cli.confirmation import confirm_signers
from lab.cli.passwords import Passwords
from lab.cli.receipts import show_files, show_receipt, show_receipts, warn
from tvs.answers import AnswerPolicy
from tvs.bulk import carry_out, export, own_of, write_consolidated
from tvs.bundles import (
    BundleError,
    BundleFile,
    Consolidation,
    consolidate,
    read_directory,
    with_type,
)
from tvs.changes import UnknownReceiptError, new_receipt
from tvs.exchange import Exchange, open_exchange
from tvs.foreign import ForeignReader
from tvs.labels import EXCHANGED_TYPES
from tvs.planning import Plan, missing, plan_import
from tvs.receipts import file_json, item_json, plan_json
from tvs.store import STORE_FILE, TrustStore

EXIT_USAGE = 2
EXIT_UNKNOWN = 3
ALL = "All"

app = App(name="bundle", help="Exchange certificates between clusters through a shared directory.")

Flag = Annotated[bool, Parameter(negative="")]
Types = Annotated[list[str] | None, Parameter(name="--type", negative="")]


@app.command(name="export")
def export_command(
    where: str,
    *,
    types: Types = None,
    password_file: Path | None = None,
    legacy: Flag = False,
    json: Flag = False,
) -> int:
    """Put the certificates of all nodes of this cluster there, one PKCS12 a node and type.

    Parameters
    ----------
    where:
        A folder.
    types:
        All (the default), or tomcat, CallManager, CAPF, ITLRecovery or an ECDSA kind; repeatable.
    password_file:
        A file whose first line locks the bundles; else TRUSTLAB_BUNDLE_PASSWORD, else "trustlab".
    legacy:
        Encrypt with 3DES and SHA-1, which is all that old releases read.
    json:
        Print one JSON object.
    """
    node = load_node(terminal.state_dir())
    wanted = _types(types)
    passwords = Passwords(password_file)
    exchange = open_exchange(where)
    present = _read(exchange, passwords) if exchange.exists() else []
    done = export(
        node,
        exchange,
        present,
        types=wanted,
        password=passwords.written,
        encryption="legacy" if legacy else "modern",
    )
    for name in done.rivals:
        terminal.say(f"{name} also claims to be of this cluster: an older export, or a stranger's?")
    if json:
        terminal.emit(
            {
                "where": exchange.where,
                **{
                    key: [
                        {"file": name, "cluster": label.cluster, "node": label.node}
                        | {"type": label.type, "certificates": 1}
                        for name, label in files
                    ]
                    for key, files in (("written", done.written), ("unchanged", done.unchanged))
                },
                "rivals": list(done.rivals),
            }
        )
        return 0
    show_files(exchange.where, _read(exchange, passwords), datetime.now(UTC))
    terminal.say(f"{len(done.written)} files written, {len(done.unchanged)} left as they were")
    return 0


@app.command(name="list")
def list_command(where: str, *, password_file: Path | None = None, json: Flag = False) -> int:
    """Show what lies there: file, cluster, node, type, certificates, expiry.

    Parameters
    ----------
    where:
        A folder, or one file.
    password_file:
        Passwords to try, one a line.
    json:
        Print one JSON object for each file.
    """
    exchange = open_exchange(where)
    files, now = _read(exchange, Passwords(password_file)), datetime.now(UTC)
    if json:
        for file in files:
            terminal.emit(file_json(file, now))
    else:
        show_files(exchange.where, files, now)
    for text in missing(files, EXCHANGED_TYPES):
        terminal.say(f"MISSING: {text}")
    return EXIT_UNKNOWN if any(file.problem for file in files) else 0


@app.command(name="consolidate")
def consolidate_command(
    where: str,
    *,
    types: Types = None,
    password_file: Path | None = None,
    legacy: Flag = False,
    json: Flag = False,
) -> int:
    """Collect what all clusters put there into one file a type; to be done on one cluster only.

    Parameters
    ----------
    where:
        A folder.
    types:
        As for export. Given once, it is also the type of certificates that say nothing of theirs.
    password_file:
        Passwords to try, one a line; the first one locks what is written.
    legacy:
        Encrypt with 3DES and SHA-1.
    json:
        Print one JSON object.
    """
    exchange, passwords, now = open_exchange(where), Passwords(password_file), datetime.now(UTC)
    files = _typed(_read(exchange, passwords), types)
    found = consolidate(files, _types(types), now)
    refused = [file for file in files if file.problem] or found.untyped
    if not refused:
        encryption: Literal["legacy", "modern"] = "legacy" if legacy else "modern"
        write_consolidated(found, exchange, password=passwords.written, encryption=encryption)
    absent = missing(files, _types(types))
    if json:
        terminal.emit(_consolidation_json(exchange.where, files, found, absent, now))
    else:
        show_files(exchange.where, files if refused else _read(exchange, passwords), now)
        _tell(found)
    warn({"missing": absent, "unreadable": _problems(files)})
    for item in found.untyped:
        terminal.say(f"REFUSED: {item.file}: {item.certificate.subject}: of what --type is it?")
    if refused:
        terminal.say("nothing was written")
        return EXIT_UNKNOWN if _problems(files) else EXIT_USAGE
    if not found.bundles and not found.unchanged:
        raise BundleError(f"{exchange.where}: no certificates to consolidate")
    return 0


@app.command(name="import")
def import_command(
    where: str,
    *,
    types: Types = None,
    password_file: Path | None = None,
    dry_run: Flag = False,
    yes: Flag = False,
    expect_fingerprints: Path | None = None,
    json: Flag = False,
) -> int:
    """Take the other clusters' certificates into the trust stores, all or nothing.

    Parameters
    ----------
    where:
        A folder, or one file: PKCS12, PEM, DER, P7B, zip, or the database of the open tvsd.
    types:
        Only these. Given once, it is also the type of certificates that say nothing of theirs.
    password_file:
        Passwords to try, one a line.
    dry_run:
        Print the plan and change nothing.
    yes:
        Accept the signers that phones would newly trust without asking.
    expect_fingerprints:
        A file with the SHA-256 of every signer that may newly be trusted, one a line.
    json:
        Print the receipt as one JSON object.
    """
    state = terminal.state_dir()
    node, stores = load_node(state), _mapping(state)
    exchange, now, policy = open_exchange(where), datetime.now(UTC), AnswerPolicy()
    files = _typed(_read(exchange, Passwords(password_file)), types)
    with closing(TrustStore.open(state / STORE_FILE)) as store:
        present = {entry.sha256: entry for entry in store.entries()}
        plan = plan_import(
            files,
            own=own_of(node),
            stores=stores,
            types=_types(types),
            present=present,
            policy=policy,
        )
        outcome = _outcome(plan, dry_run=dry_run)
        body = {
            "receipt": None,
            "outcome": outcome or "imported",
            "time": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "where": exchange.where,
            "confirmed_by": None,
            **plan_json(plan, present, policy, now),
        }
        if outcome is None:
            warn(body)
            confirmed_by = confirm_signers(plan.signers, yes=yes, expected=expect_fingerprints)
            body = carry_out(
                plan,
                store,
                present,
                policy,
                where=exchange.where,
                confirmed_by=confirmed_by,
                now=now,
            )
        else:
            warn(body)
    for file in files:
        if file.kind is None:
            terminal.say(f"{file.name}: passed over, no certificates in it")
    if json:
        terminal.emit(body)
    else:
        show_receipt(body)
    return _import_exit(plan, exchange.where, outcome)


@app.command
def undo(receipt: str, *, json: Flag = False) -> int:
    """Take back what a receipt says, as far as it still stands.

    Parameters
    ----------
    receipt:
        Its id, as `bundle receipts` lists it.
    json:
        Print one JSON object.
    """
    state = terminal.state_dir()
    load_settings(state)
    own = new_receipt(datetime.now(UTC), "undo", receipt)
    with closing(TrustStore.open(state / STORE_FILE)) as store:
        done = store.undo(receipt, own)
    result = {
        "receipt": own.id,
        "outcome": "taken back",
        "undone": receipt,
        "taken_back": [{"sha256": sha256, "what": what} for sha256, what in done.taken_back],
        "left_alone": [
            {"sha256": sha256, "what": what, "reason": reason}
            for sha256, what, reason in done.left_alone
        ],
    }
    if json:
        terminal.emit(result)
        return 0
    for sha256, what in done.taken_back:
        terminal.say(f"taken back: {what} {sha256}")
    for sha256, what, reason in done.left_alone:
        terminal.say(f"left alone: {what} {sha256}: {reason}")
    return 0


@app.command
def receipts(receipt: str | None = None, *, json: Flag = False) -> int:
    """List what was done to the trust store, or show one receipt again.

    Parameters
    ----------
    receipt:
        Its id.
    json:
        Print JSON: an object for each receipt, or the one receipt.
    """
    state = terminal.state_dir()
    load_settings(state)
    with closing(TrustStore.open(state / STORE_FILE)) as store:
        kept = [one for one in store.receipts() if receipt in {None, one.receipt.id}]
    if receipt is not None and not kept:
        raise UnknownReceiptError(f"no receipt {receipt} in this store's history")
    if receipt is not None and kept[0].receipt.action == "import":
        body = json_text.loads(kept[0].receipt.body)
        if json:
            terminal.emit(body)
        else:
            show_receipt(body)
    elif json:
        for one in kept:
            fields = ("time", "action", "place", "actor")
            values = {name: getattr(one.receipt, name) for name in fields}
            terminal.emit({"receipt": one.receipt.id, **values, "undone_by": one.undone_by})
    else:
        show_receipts(kept)
    return 0


def _types(given: list[str] | None) -> tuple[str, ...]:
    if given is None or ALL.lower() in {name.lower() for name in given}:
        return EXCHANGED_TYPES
    known = {name.lower(): name for name in EXCHANGED_TYPES}
    for name in given:
        if name.lower() not in known:
            raise ConfError(f"--type {name}: known are {ALL}, {', '.join(EXCHANGED_TYPES)}")
    return tuple(dict.fromkeys(known[name.lower()] for name in given))


def _typed(files: list[BundleFile], given: list[str] | None) -> list[BundleFile]:
    types = _types(given)
    return with_type(files, types[0]) if len(types) == 1 else files


def _mapping(state: Path) -> dict[str, tuple[str, ...]]:
    stores = load_settings(state).bundles.stores
    for type_name, names in stores.items():
        if type_name not in EXCHANGED_TYPES:
            raise ConfError(f"bundles.stores: no type {type_name!r} is exchanged")
        for name in names:
            if name not in TRUST_STORES:
                raise ConfError(f"bundles.stores.{type_name}: no trust store {name!r}")
    return stores


def _read(exchange: Exchange, passwords: Passwords) -> list[BundleFile]:
    with ForeignReader() as reader:
        return read_directory(exchange, reader, passwords.tried, ask=passwords.ask)


def _outcome(plan: Plan, *, dry_run: bool) -> str | None:
    """Why the plan is not carried out; None when it is to be."""
    if plan.problems or plan.refused:
        return "refused"
    if dry_run:
        return "planned"
    return None if plan.changes else "nothing to do"


def _import_exit(plan: Plan, where: str, outcome: str | None) -> int:
    if outcome == "refused":
        terminal.say("nothing was imported: all or nothing")
        return EXIT_UNKNOWN if plan.problems else EXIT_USAGE
    if not plan.lines:
        raise BundleError(f"{where}: no certificates")
    return 0


def _problems(files: list[BundleFile]) -> list[dict[str, object]]:
    return [{"file": file.name, "reason": file.problem} for file in files if file.problem]


def _tell(found: Consolidation) -> None:
    for name in found.bundles:
        terminal.say(f"written: {name}, {len(found.bundles[name])} certificates")
    for name in found.unchanged:
        terminal.say(f"unchanged: {name}")
    for first, again in found.duplicates:
        terminal.say(f"duplicate: {again.file} holds the same certificate as {first.file}")
    for item in found.stale:
        terminal.say(f"dropped: {item.certificate.subject} ({item.node}), exported anew since")
    for item in found.expired:
        terminal.say(f"EXPIRED: {item.file}: {item.certificate.subject}")


def _consolidation_json(
    where: str,
    files: list[BundleFile],
    found: Consolidation,
    absent: tuple[str, ...],
    now: datetime,
) -> dict[str, object]:
    problems = _problems(files)
    refused = bool(problems or found.untyped)
    return {
        "where": where,
        "outcome": "refused" if refused else "consolidated",
        "written": []
        if refused
        else [
            {"file": name, "certificates": [item_json(item, now) for item in items]}
            for name, items in found.bundles.items()
        ],
        "unchanged": list(found.unchanged),
        "duplicates": [
            {"sha256": again.sha256, "file": again.file, "same_as": first.file}
            for first, again in found.duplicates
        ],
        "expired": [{"file": item.file, **item_json(item, now)} for item in found.expired],
        "dropped": [{"file": item.file, **item_json(item, now)} for item in found.stale],
        "untyped": [{"file": item.file, **item_json(item, now)} for item in found.untyped],
        "unreadable": problems,
        "missing": list(absent),
    }
