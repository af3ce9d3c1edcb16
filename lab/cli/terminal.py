"""What commands print and where: JSON and tables to standard output, messages to standard error."""

import json
import os
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path

from rich.console import Console

from lab.text import clean, json_text

# Closed ones, as after `>&-`, are None; in this order each gets the descriptor that is free.
for _name, _mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
    if getattr(sys, _name) is None:
        setattr(sys, _name, Path(os.devnull).open(_mode))  # noqa: SIM115 - to the program's end

if not os.environ.get("COLUMNS", "").strip("0"):
    os.environ.pop("COLUMNS", None)  # 0 says that nobody knows; rich would print nothing
# A pipe has no width: what reads it wants one row on one line.
_WIDTH = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 240


class _Console(Console):
    """Tells the caller when nobody reads any more; rich would end with 1, which is "no" here."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


console = _Console(highlight=False, markup=False, emoji=False, width=_WIDTH)
help_pages = _Console()
messages = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)

_state: ContextVar[Path] = ContextVar("state", default=Path("var"))


def state_dir() -> Path:
    """The folder of the node this command works on (``--state``)."""
    return _state.get()


def use_state_dir(path: Path) -> None:
    """Make ``path`` the folder that :func:`state_dir` answers."""
    _state.set(path)


def emit(value: object) -> None:
    """Print one JSON value on one line of standard output."""
    text = json_text(value)
    if sys.stdout.encoding.lower() not in {"utf-8", "utf8"}:
        text = json.dumps(json.loads(text), separators=(",", ":"))
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Print a message on standard error, control characters made visible."""
    messages.print(clean(text))


def plain(value: Mapping[str, object]) -> str:
    """Key=value text of a mapping, for people who read a log."""
    return " ".join(f"{key}={clean(str(item))}" for key, item in value.items() if item is not None)
