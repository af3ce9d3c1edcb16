"""`trustlab identity`: a node's certificates and keys, renewed without losing phones."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.table import Table

from conf.identity import WAITING, read_certificate, read_identity, waiting_identity_file
from conf.node import Node, load_node
from conf.renewal import Bridge, Plan, Step, plan
from conf.replacement import carry_out
from itl.certificates import Certificate, describe
from lab import exits
from lab.cli import terminal
from lab.cli.arguments import Flag
from lab.cli.confirmation import UnconfirmedError
from lab.visits import lists_taken

app = App(name="identity", help="The certificates and keys of a node, and how they are renewed.")

_WORDS = {
    Step.REPLACE: "a new key and certificate take the place of the old",
    Step.INTRODUCE: "the new certificate enters the lists, which the old key still signs",
    Step.SWITCH: "the new key signs the lists; the old certificate stays in them",
    Step.RETIRE: "the old certificate leaves the lists",
}


@app.command(name="list")
def list_identities(*, json: Flag = False) -> int:
    """Show the identities of the node and what waits to be renewed.

    Parameters
    ----------
    json:
        Print one JSON object for each certificate.
    """
    node = load_node(terminal.state_dir())
    table = Table("identity", "certificate", "valid until", "days", "SHA-256", box=None)
    for name, place, certificate in _present(node):
        days = (certificate.not_after - datetime.now(UTC)).days
        if json:
            terminal.emit(
                {
                    "identity": name,
                    "place": place,
                    "subject": certificate.subject,
                    "serial": certificate.serial.hex(),
                    "not_after": certificate.not_after,
                    "days": days,
                    "sha256": certificate.sha256,
                    "signs_lists": name == node.list_signer and place == "in force",
                }
            )
        else:
            until = f"{certificate.not_after:%Y-%m-%d}"
            table.add_row(name, place, until, str(days), certificate.sha256[:16] + "…")
    if not json:
        terminal.console.print(table)
        terminal.console.print(f"lists are signed by {node.list_signer}")
    return 0


def _present(node: Node) -> list[tuple[str, str, Certificate]]:
    found = []
    for name, der in node.own.certificates.items():
        found.append((name, "in force", describe(der)))
        for when in WAITING:
            path = waiting_identity_file(node.state, name, when)
            if path.exists():
                found.append((name, when, describe(read_certificate(path))))
    return found


@app.command
def renew(
    name: str,
    *,
    brought: Annotated[Path | None, Parameter(name="--from", negative="")] = None,
    dry_run: Flag = False,
    force: Flag = False,
    yes: Flag = False,
    json: Flag = False,
) -> int:
    """Take the next step of renewing an identity; what phones will do is shown first.

    The key that signs lists is renewed in three steps, with time for phones to boot between them:
    its new certificate enters the lists, then signs them, then the old one leaves. A step that
    would lose phones is refused. A running daemon takes the change up by itself.

    Parameters
    ----------
    name:
        CallManager, TVS, CAPF, tomcat, ITLRecovery or CallManager-ECDSA.
    brought:
        A PEM file with key and certificate made elsewhere, instead of a new self-signed one.
    dry_run:
        Show the plan and change nothing.
    force:
        Take the step although phones would be lost.
    yes:
        Do not ask.
    json:
        Print the plan as one JSON object.
    """
    node = load_node(terminal.state_dir())
    chosen = plan(node, name, lists_taken(node.state))
    identity = read_identity(brought) if brought is not None else None
    if json:
        terminal.emit(_as_json(chosen))
    else:
        _show(node, chosen)
    if not force:
        chosen.check()
    if dry_run:
        return 0
    if not yes:
        _confirm(chosen)
    for untold in carry_out(node, chosen, identity):
        terminal.say(
            f"{untold} cannot be written: the lists there name the old {name} until a daemon of "
            "this node can write there"
        )
    if chosen.lost:
        terminal.say("phones that hold those lists are lost: their ITL has to be deleted by hand")
    terminal.say(f"{name}: {_WORDS[chosen.step]}; done in {node.state}")
    if chosen.later:
        terminal.say(
            f"let every phone boot, then again: trustlab identity renew {name} ({chosen.later[0]})"
        )
    return 0


def _confirm(chosen: Plan) -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        words = "the plan has to be confirmed: --yes; nothing was changed"
        raise UnconfirmedError(words, exits.USAGE)
    terminal.messages.print("Do it? Type yes: ", end="")
    if sys.stdin.readline().strip().lower() != "yes":
        words = f"{chosen.name}: not confirmed; nothing was changed"
        raise UnconfirmedError(words, exits.USAGE)


def _show(node: Node, chosen: Plan) -> None:
    out = terminal.console
    out.print(f"{chosen.name} of {node.host}: {chosen.step}: {_WORDS[chosen.step]}")
    for number, step in enumerate(chosen.later, 1):
        out.print(f"  after that, step {number}: {step}: {_WORDS[step]}")
    if chosen.name != "ITLRecovery":
        out.print("  ITLRecovery is not touched")
    table = Table("list served since", "phones that hold it", "after this step", box=None)
    for some in chosen.holders:
        who = ", ".join(some.phones) or "any (none is known by name)"
        table.add_row(some.anchors.begin, who, some.bridge.value)
    out.print(table)
    if any(some.bridge is Bridge.TVS for some in chosen.holders):
        out.print("TVS has to be within reach of those phones until they have booted")


def _as_json(chosen: Plan) -> Mapping[str, object]:
    return {
        "identity": chosen.name,
        "step": chosen.step,
        "later": chosen.later,
        "loses_phones": bool(chosen.lost),
        "holders": [
            {
                "since": some.anchors.since,
                "phones": some.phones,
                "lost": some.bridge is Bridge.NONE,
                "why": some.bridge,
            }
            for some in chosen.holders
        ],
    }
