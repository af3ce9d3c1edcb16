"""The program ``trustlab``: its command groups, and how an error becomes an exit code."""

import io
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from conf import ConfError
from itl import ItlError
from lab import LabError, exits
from lab.cli import terminal
from lab.text import OCTETS
from tftp import TftpError
from tvs import TvsError

GROUPS = {
    "init": "lab.cli.init:init",
    "serve": "lab.cli.serve:serve",
    "status": "lab.cli.status:status",
    "config": "lab.cli.config:app",
    "identity": "lab.cli.identity:app",
    "itl": "lab.cli.itl:itl_app",
    "ctl": "lab.cli.itl:ctl_app",
    "sgn": "lab.cli.itl:sgn_app",
    "tvs": "lab.cli.tvs:app",
    "tftp": "lab.cli.tftp:app",
    "bundle": "lab.cli.bundle:app",
    "store": "lab.cli.store:app",
    "phone": "lab.cli.phone:app",
    "conformance": "lab.cli.conformance:app",
    "scenario": "lab.cli.scenario:app",
    "events": "lab.cli.events:events",
    "preflight": "lab.cli.preflight:preflight",
    "demo": "lab.cli.demo:demo",
    "completion": "lab.cli.completion:completion",
}

app = App(
    name="trustlab",
    help="The trust plane of Cisco IP phones on one lab machine.",
    # looking it up takes a tenth of a short command's time, and few ask
    version=lambda: str(import_module("importlib.metadata").version("trustlab")),
    result_action="return_value",
    console=terminal.help_pages,
)
for name, target in GROUPS.items():
    app.command(target, name=name)


@app.meta.default
def run_in_state(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    state: Path = Path("var"),
) -> object:
    """Run one command of the program.

    Parameters
    ----------
    tokens:
        The command and what it takes.
    state:
        The folder with everything of a node.
    """
    terminal.use_state_dir(state)
    return app(tokens, exit_on_error=False, print_error=False)


def run(arguments: list[str]) -> int:
    """Run the program with ``arguments``; answers its exit code."""
    return guarded(lambda: _call(arguments))


def guarded(action: Callable[[], object]) -> int:
    """Call ``action``; answers its exit code, an error's after one line that says what it is."""
    try:
        result = _with_first_error(action)
    except (CycloptsError, UnicodeEncodeError) as error:
        terminal.say(f"trustlab: {_words(error)}")
        return exits.USAGE
    except (ConfError, ItlError, TvsError, TftpError, LabError) as error:
        terminal.say(f"trustlab: {error}")
        return error.exit_code
    except BrokenPipeError:  # as in `| head`: nobody reads on, which is no news
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to flush
        return exits.UNKNOWN
    except OSError as error:
        named = f"{error.filename}: {error.strerror}" if error.filename else error
        terminal.say(f"trustlab: {named}")
        return exits.UNKNOWN
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    return result if isinstance(result, int) else 0


def _words(error: Exception) -> str:
    if not isinstance(error, UnicodeEncodeError):
        return str(error)
    # neither the store nor JSON can hold such a name
    line = error.object[error.object.rfind("\n", 0, error.start) + 1 :].partition("\n")[0]
    return f"{line}: this text is not UTF-8"


def _call(arguments: list[str]) -> object:
    if not arguments or arguments[0] in {"--help", "-h"}:
        for name in GROUPS:
            _ = app[name]  # the overview has a line of each, so each is read
    return app.meta(arguments, exit_on_error=False, print_error=False)


def _with_first_error(action: Callable[[], object]) -> object:
    """Call ``action``; of several errors of its tasks the first one counts."""
    try:
        return action()
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from group


def main() -> None:
    """Enter from the shell; a locale that lacks a character gets its escape, not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=OCTETS)
    sys.exit(run(sys.argv[1:]))
