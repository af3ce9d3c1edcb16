"""``trustlab preflight``: would the phones follow, before a single one is reset."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import trio
from cyclopts import Parameter
from rich.table import Table

from conf.files import write_whole
from lab.cli import terminal
from lab.cli.arguments import Flag, Positive
from lab.cli.passwords import Passwords
from lab.endpoint import UsageError
from lab.phone.models import model as model_named
from lab.phone.state import DEFAULT_MAC, DEFAULT_MODEL, parse_mac
from lab.preflight.bundles import read_bundles
from lab.preflight.examination import Preflight, examine
from lab.preflight.findings import Result
from lab.preflight.places import parse_place
from lab.preflight.report import as_html, as_values
from lab.preflight.simulation import Simulation, simulate
from lab.text import OCTETS, clean


def preflight(
    *,
    source: str,
    destination: str,
    mac: str = DEFAULT_MAC,
    model: Annotated[Sequence[str], Parameter(negative="")] = (DEFAULT_MODEL,),
    simulate_phones: Annotated[int, Parameter(name="--simulate")] = 0,
    timeout_seconds: Positive = 5.0,
    password_file: Path | None = None,
    html: Path | None = None,
    octets: Annotated[bool, Parameter(name="--bytes", negative="")] = False,
    json: Flag = False,
) -> int:
    """Would the phones of the source follow to the destination? Asked before any is reset.

    Both places are written tftp=HOST[:PORT],tvs=HOST[:PORT],list=FILE,bundles=DIR,state=DIR, any of
    them, repeated where there are several. Exit code 0: they will follow; 1: they will not; 3: it
    could not be told. Servers are asked what a phone would ask, from this machine.

    Parameters
    ----------
    source:
        Where the phones are now.
    destination:
        Where they are to go; every TFTP node of it, since each signs its own ITL.
    mac:
        A phone whose configuration is looked at.
    model:
        A phone model, four digits; repeatable.
    simulate_phones:
        Move so many emulated phones, of the first --model, to the first tftp= of the destination,
        and count.
    timeout_seconds:
        How long to wait while nothing comes, for each file, and for each TVS server. Assumed, as
        for phone boot.
    password_file:
        Passwords to try on bundles, one a line.
    html:
        Write one self-contained page there, to hand on.
    octets:
        Put the octets of every file looked at into the JSON, as base64.
    json:
        Print one object.
    """
    if simulate_phones < 0:
        raise UsageError("--simulate must be zero or more")
    places = parse_place(source), parse_place(destination)
    models = [model_named(name) for name in model]
    passwords = Passwords(password_file).tried
    bundles = [read_bundles(place.bundles, passwords) for place in places]
    mac = parse_mac(mac)
    if simulate_phones and not places[1].tftp:
        raise UsageError("--simulate moves phones to a server: give --destination a tftp=")
    if simulate_phones and not (places[0].tftp or places[0].tvs):
        raise UsageError("--simulate lets phones ask a TVS that runs: give --source a tvs=")

    async def run() -> tuple[Preflight, Simulation | None]:
        found = await examine(
            *places,
            models=models,
            mac=mac,
            timeout_seconds=timeout_seconds,
            bundles=(bundles[0], bundles[1]),
        )
        if not simulate_phones:
            return found, None
        return found, await simulate(
            found.source,
            places[1].tftp[0],
            count=simulate_phones,
            model=models[0],
            mac=mac,
            timeout_seconds=timeout_seconds,
        )

    found, simulation = trio.run(run)
    if html is not None:
        write_whole(html, as_html(found, simulation).encode("utf-8", OCTETS), mode=0o644)
    if json:
        terminal.emit(as_values(found, simulation, octets=octets))
    else:
        _show(found, simulation)
    return found.exit_code


_ORDER = (Result.FAIL, Result.UNKNOWN, Result.WARN, Result.PASS)


def _show(found: Preflight, simulation: Simulation | None) -> None:
    table = Table(title=f"Would the phones follow? They {found.verdict}.")
    for heading in ("verdict", "check", "what was found", "what to do"):
        table.add_column(heading, overflow="fold")
    for finding in sorted(found.findings, key=lambda one: _ORDER.index(one.result)):
        cells = (str(finding.result), finding.check, finding.text, finding.remedy)
        table.add_row(*map(clean, cells))
    terminal.console.print(table)
    if simulation is not None:
        terminal.console.print(
            f"{simulation.followed} of {simulation.phones} emulated phones followed"
            f" to {simulation.server}"
        )
