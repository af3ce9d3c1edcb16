"""How the documents are built: sphinx, with the command line and the settings as they are."""

import re
import sys
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from conf.settings import default_text  # noqa: E402  the project's, whose place was just found
from lab.cli.main import app  # noqa: E402  the same

project = "trustlab"
author = "the trustlab maintainers"
try:
    release = version_of("trustlab")
except PackageNotFoundError:
    release = "unreleased"
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = "trustlab"


def _write(name: str, text: str) -> None:
    path = HERE / "reference" / name
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _command_line() -> str:
    """The page of the command line, from its own definition, without links within the page."""
    text = app.generate_docs(output_format="markdown", heading_level=1)
    before, _, commands = text.partition("## Table of Contents")
    commands = commands[commands.index("\n**Commands**") :]
    commands = re.sub(r"\[(`[^`]+`)\]\(#[^)]*\)", r"\1", commands)
    every = "Every command takes `--state DIR`: the folder of the node, `var` unless given.\n"
    return f"{before}{every}{commands}"


def _settings() -> str:
    return f"""\
# Settings

`DIR/trustlab.toml` holds what differs from these defaults. Above it go environment variables
(`TRUSTLAB_SET_TVS__PORT=2446`), above those the command line. `trustlab config check` prints what
is in force and where each value came from; unknown keys, wrong types and contradictions are errors
that name file, line and key. A running daemon reads the file again on SIGHUP, and says of what has
changed which settings wait for a restart.

```toml
{default_text()}```
"""


_write("command-line.md", _command_line())
_write("settings.md", _settings())
