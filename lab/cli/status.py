"""`trustlab status` tells whether the daemon of this node is well."""

import trio

from conf import ConfError
from conf.addresses import address_text
from conf.node import load_node
from conf.running import is_running, read_record
from lab import exits
from lab.cli import terminal
from lab.cli.arguments import Flag
from lab.health import examine
from lab.text import clean


def status(*, json: Flag = False) -> int:
    """Ask the running daemon what a phone would ask, and say whether it is well.

    Exit code 0: it is. 1: it is not, or does not run.

    Parameters
    ----------
    json:
        Print one JSON object.
    """
    state = terminal.state_dir()
    record = read_record(state)
    if record is None or not is_running(state):
        return _unwell(f"no daemon runs on {state}", json=json)
    try:
        node = load_node(state)
    except ConfError as error:  # the daemon may go on all the same, but nobody can compare
        return _unwell(str(error), json=json)
    findings = trio.run(examine, node, record)
    well = all(finding.ok for finding in findings)
    if json:
        found = {"well": well, "pid": record.pid, "kept": record.kept, "findings": findings}
        terminal.emit(found)
    else:
        for finding in findings:
            word = "ok" if finding.ok else "NOT OK"
            terminal.console.print(
                f"{finding.service:5} {address_text(*finding.place):22} {word:7} "
                f"{clean(finding.found)} ({finding.milliseconds:g} ms)",
                soft_wrap=True,
            )
        if record.kept is not None:
            kept = f"what is on disk is not in force, and what was there before is: {record.kept}"
            terminal.console.print(clean(kept), soft_wrap=True)
        terminal.console.print(f"pid {record.pid}: {'well' if well else 'unwell'}")
    return 0 if well else exits.NO  # the two codes a container's HEALTHCHECK knows


def _unwell(why: str, *, json: bool) -> int:
    if json:
        terminal.emit({"well": False, "pid": None, "findings": [], "why": why})
    else:
        terminal.say(f"trustlab: {why}")
    return exits.NO
