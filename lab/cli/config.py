"""`trustlab config`: the settings in force, where each came from, and the annotated defaults."""

import os
from functools import reduce
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from conf.settings import default_text, load_settings, merge
from lab.cli import terminal

app = App(name="config", help="Show and check the settings of a node.")


@app.command
def check(*, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Check the settings and print each with where its value came from.

    Parameters
    ----------
    json:
        Print one JSON object for each setting.
    """
    state = terminal.state_dir()
    load_settings(state)
    tables, origins = merge(state, {}, os.environ)
    for key, origin in sorted(origins.items()):
        value = reduce(lambda table, name: table[name], key.split("."), tables)
        if json:
            terminal.emit({"key": key, "value": value, "origin": origin})
        else:
            shown = msgspec.json.encode(value).decode()  # which TOML reads too
            terminal.console.print(f"{key} = {shown}  # {origin}", soft_wrap=True)
    return 0


@app.command
def default() -> int:
    """Print every setting with its unit, its default and why."""
    terminal.console.print(default_text(), end="", soft_wrap=True)
    return 0
