"""What `init` and `serve` show: where things are, and what to try next."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from conf.addresses import address_text
from conf.node import Node
from itl.certificates import describe
from lab.cli import terminal
from lab.text import clean

if TYPE_CHECKING:
    from lab.daemon import Running


def program() -> str:
    """How the user can call this program from the shell in the folder they are in."""
    entry = Path(sys.executable).with_name("trustlab")
    found = shutil.which("trustlab")
    if found and entry.exists() and entry.samefile(found):
        return "trustlab"
    here = Path.cwd()
    return shlex.quote(str(entry.relative_to(here) if entry.is_relative_to(here) else entry))


def show_node(node: Node) -> None:
    """Print what a node is and which certificates it has."""
    mode = "secure" if node.secure else "non-secure"
    terminal.console.print(
        f"node {node.host} ({node.address}) of the {mode} cluster {clean(node.cluster)}, "
        f"lists signed by {node.list_signer}, in {node.state}"
    )
    table = Table("certificate", "subject", "valid until", "SHA-256", box=None, pad_edge=False)
    for name, der in node.own.certificates.items():
        certificate = describe(der)
        table.add_row(
            name,
            clean(certificate.subject),
            f"{certificate.not_after:%Y-%m-%d}",
            certificate.sha256[:16] + "…",
        )
    terminal.console.print(table)


def show_running(running: "Running") -> None:
    """Print the table of a daemon that is ready, and three commands that work as printed.

    The commands are left out under a service manager: nobody sits in front of it.
    """
    plane, record = running.plane, running.record
    tvs, tftp = address_text(*record.tvs), address_text(*record.tftp)
    show_node(plane.node)
    table = Table("service", "listens on", "answers from", box=None, pad_edge=False)
    table.add_row("TVS", f"tcp {tvs}", f"{len(plane.snapshot)} certificates")
    table.add_row("TFTP", f"udp {tftp}", str(plane.node.state / "tftp"))
    for name, octets in plane.catalog.lists().items():
        table.add_row("", name, f"{len(octets)} octets, signature verified")
    terminal.console.print()
    terminal.console.print(table)
    if "NOTIFY_SOCKET" in os.environ:
        return
    state = shlex.quote(str(plane.node.state))
    own = shlex.quote(str(plane.node.state / "identities" / "CallManager.pem"))
    macs = plane.settings.phones.macs
    mac = next(iter(macs), "001122334455")
    terminal.console.print("\nto try next, in another terminal:")
    name = program()
    fetch = f"curl -so {state}/ITLFile.tlv tftp://{tftp}/ITLFile.tlv"
    for line in (
        f"{name} phone boot --tftp {tftp} --phone-dir {state}/phone --mac {mac}",
        f"{name} tvs verify {tvs} {own}",
        f"{fetch} && {name} itl show {state}/ITLFile.tlv",
    ):
        terminal.console.print(f"  {line}", soft_wrap=True)
    if not macs:
        text = f"\nphones.macs names no phone: {mac} finds only XMLDefault.cnf.xml, unsigned"
        terminal.console.print(text, soft_wrap=True)
