"""``trustlab bundle``: bulk certificate management over a shared directory."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from conf import ConfError
from conf.node import load_node
from conf.settings import load_settings
from lab import exits
from lab.cli import terminal
from lab.cli.arguments import Flag
from lab.cli.carrier import Carrier
from lab.cli.confirmation import confirm_signers
from lab.cli.history import receipts, undo
from lab.cli.receipts import note, show_consolidation, show_files, show_receipt, warn
from lab.policy import answer_policy, stores_by_type
from tvs.bulk import (
    IMPORTED,
    REFUSED,
    carry_out,
    draft,
    export,
    export_keys,
    own_of,
    write_consolidated,
)
from tvs.bundles import (
    DEFAULT_PASSWORD,
    BundleError,
    BundleFile,
    Encryption,
    consolidate,
    with_type,
)
from tvs.labels import EXCHANGED_TYPES
from tvs.planning import missing, plan_import
from tvs.receipts import consolidation_json, export_json, file_json
from tvs.store import STORE_FILE, TrustStore

ALL = "All"

app = App(name="bundle", help="Exchange certificates between clusters through a shared directory.")

Types = Annotated[list[str] | None, Parameter(name="--type", negative="")]
HERE = Carrier()

app.command(undo)
app.command(receipts)


@app.command(name="export")
def export_command(
    where: str,
    *,
    types: Types = None,
    legacy: Flag = False,
    private_keys: Flag = False,
    json: Flag = False,
    carrier: Carrier = HERE,
) -> int:
    """Put the certificates of all nodes of this cluster there, one PKCS12 a node and type.

    Parameters
    ----------
    where:
        A folder, or sftp://USER@HOST[:PORT]/DIRECTORY.
    types:
        All (the default), or tomcat, CallManager, CAPF, ITLRecovery or an ECDSA kind; repeatable.
    legacy:
        Encrypt with 3DES and SHA-1, which is all that old releases read.
    private_keys:
        Also write this node's own private keys, into files of their own; needs a password of yours.
    json:
        Print one JSON object.
    """
    node = load_node(terminal.state_dir())
    wanted, password = _types(types), carrier.passwords.written
    if private_keys and password == DEFAULT_PASSWORD:
        raise ConfError("--private-keys needs a password that is not the documented one")
    with carrier.opened(where) as place:
        present = place.files(ask=False) if place.exchange.exists() else []
        done = export(
            node,
            place.exchange,
            present,
            types=wanted,
            password=password,
            encryption=_encryption(legacy=legacy),
        )
        if private_keys:
            keys = export_keys(node, place.exchange, types=wanted, password=password)
            terminal.say(f"PRIVATE KEYS written: {', '.join(keys)}")
        files = [] if json else place.files(ask=False)
    for name in done.rivals:
        note(f"{name} also claims to be of this cluster: an older export, or a stranger's?")
    if json:
        terminal.emit(export_json(where, done))
        return 0
    show_files(where, files, datetime.now(UTC))
    terminal.say(f"{len(done.written)} files written, {len(done.unchanged)} left as they were")
    return 0


@app.command(name="list")
def list_command(where: str, *, json: Flag = False, carrier: Carrier = HERE) -> int:
    """Show what lies there: file, cluster, node, type, certificates, expiry.

    Parameters
    ----------
    where:
        A folder, one file, or sftp://USER@HOST[:PORT]/DIRECTORY.
    json:
        Print one JSON object for each file.
    """
    with carrier.opened(where) as place:
        files = place.files()
    now = datetime.now(UTC)
    if json:
        for file in files:
            terminal.emit(file_json(file, now))
    else:
        show_files(where, files, now)
    warn(missing(files, EXCHANGED_TYPES), files)
    return exits.UNKNOWN if any(file.problem for file in files) else 0


@app.command(name="consolidate")
def consolidate_command(
    where: str,
    *,
    types: Types = None,
    legacy: Flag = False,
    json: Flag = False,
    carrier: Carrier = HERE,
) -> int:
    """Collect what all clusters put there into one file a type; to be done on one cluster only.

    Parameters
    ----------
    where:
        A folder, or sftp://USER@HOST[:PORT]/DIRECTORY.
    types:
        As for export. Given once, it is also the type of certificates that say nothing of theirs.
    legacy:
        Encrypt with 3DES and SHA-1.
    json:
        Print one JSON object.
    """
    wanted, password, now = _types(types), carrier.passwords.written, datetime.now(UTC)
    with carrier.opened(where) as place:
        files = _typed(place.files(), wanted)
        found = consolidate(files, wanted, now)
        if not found.refused:
            encryption = _encryption(legacy=legacy)
            write_consolidated(found, place.exchange, password=password, encryption=encryption)
        after = files if json or found.refused else place.files()
    absent = missing(files, wanted)
    if json:
        terminal.emit(consolidation_json(where, found, absent, now))
    else:
        show_files(where, after, now)
        show_consolidation(found)
    warn(absent, files)
    for item in found.untyped:
        note(f"REFUSED: {item.file}: {item.certificate.subject}: of what --type is it?")
    if found.refused:
        terminal.say("nothing was written")
        return exits.UNKNOWN if found.problems else exits.USAGE
    if not found.bundles and not found.unchanged:
        raise BundleError(f"{where}: no certificates to consolidate")
    return 0


@app.command(name="import")
def import_command(
    where: str,
    *,
    types: Types = None,
    dry_run: Flag = False,
    yes: Flag = False,
    expect_fingerprints: Path | None = None,
    json: Flag = False,
    carrier: Carrier = HERE,
) -> int:
    """Take the other clusters' certificates into the trust stores, all or nothing.

    Parameters
    ----------
    where:
        A folder, one file, or sftp://USER@HOST[:PORT]/DIRECTORY: PKCS12, PEM, DER, P7B, zip, or the
        database of the open tvsd.
    types:
        Only these. Given once, it is also the type of certificates that say nothing of theirs.
    dry_run:
        Print the plan and change nothing.
    yes:
        Accept the signers that phones would newly trust without asking.
    expect_fingerprints:
        A file with the SHA-256 of every signer that may newly be trusted, one a line.
    json:
        Print the receipt as one JSON object.
    """
    state, wanted = terminal.state_dir(), _types(types)
    node, settings = load_node(state), load_settings(state)
    stores, policy = stores_by_type(settings.bundles), answer_policy(settings.tvs.answers)
    with carrier.opened(where) as place:
        files = _typed(place.files(), wanted)
    with closing(TrustStore.open(state / STORE_FILE)) as store:
        present = {entry.sha256: entry for entry in store.entries()}
        plan = plan_import(
            files, own=own_of(node), stores=stores, types=wanted, present=present, policy=policy
        )
        warn(plan.missing, files)
        receipt = draft(plan, present, policy, where=where, dry_run=dry_run, now=datetime.now(UTC))
        if receipt["outcome"] == IMPORTED:
            confirmed_by = confirm_signers(plan.signers, yes=yes, expected=expect_fingerprints)
            receipt = carry_out(plan, store, receipt, confirmed_by=confirmed_by)
    if json:
        terminal.emit(receipt)
    else:
        show_receipt(receipt)
    if receipt["outcome"] == REFUSED:
        terminal.say("nothing was imported: all or nothing")
        return exits.UNKNOWN if plan.problems else exits.USAGE
    if not plan.lines:
        raise BundleError(f"{where}: no certificates")
    return 0


def _types(given: list[str] | None) -> tuple[str, ...]:
    if given is None or ALL.lower() in {name.lower() for name in given}:
        return EXCHANGED_TYPES
    known = {name.lower(): name for name in EXCHANGED_TYPES}
    for name in given:
        if name.lower() not in known:
            raise ConfError(f"--type {name}: known are {ALL}, {', '.join(EXCHANGED_TYPES)}")
    return tuple(dict.fromkeys(known[name.lower()] for name in given))


def _typed(files: list[BundleFile], types: tuple[str, ...]) -> list[BundleFile]:
    return with_type(files, types[0]) if len(types) == 1 else files


def _encryption(*, legacy: bool) -> Encryption:
    return "legacy" if legacy else "modern"
