"""The man pages, from the command line's own definition and the annotated defaults.

``python docs/manpages.py`` writes ``docs/man``; a test compares, so that what is installed is true.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from conf.settings import default_text  # noqa: E402  the project's, whose place was just found
from lab.cli.main import app  # noqa: E402  the same

_ITEM = re.compile(r"\* `([^`]+)`(?:: (.*))?")
_STATE = "* `--state PATH`"  # every command has it; it is said once
_MARKS = re.compile(r"\*\*(\[required\])\*\*|\*(\[[^*]+\])\*|`([^`]+)`")


def command_line() -> str:
    """trustlab(1)."""
    markdown = app.generate_docs(output_format="markdown", heading_level=1)
    introduction = markdown.partition("## Table of Contents")[0].splitlines()[-2]
    commands = markdown[markdown.index("\n## trustlab ") :]
    return "\n".join(
        [
            *_head("trustlab", 1, "trust plane of Cisco IP phones"),
            ".SH SYNOPSIS",
            r"\fBtrustlab\fR [\fB\-\-state\fR \fIDIR\fR] \fICOMMAND\fR [\fIOPTIONS\fR]",
            ".SH DESCRIPTION",
            _text(introduction),
            ".PP",
            _text("Every command takes `--state DIR`: the folder of the node, var unless given."),
            *_body(commands),
            *_tail("trustlab.toml(5)"),
        ]
    )


def settings() -> str:
    """trustlab.toml(5)."""
    return "\n".join(
        [
            *_head("trustlab.toml", 5, "settings of a trustlab node"),
            ".SH DESCRIPTION",
            _text(
                "DIR/trustlab.toml holds what differs from the defaults below. Above it go "
                "variables of the environment (TRUSTLAB_SET_TVS__PORT=2446), above those the "
                "command line. "
                "`trustlab config check` prints what is in force and where each value came from."
            ),
            ".SH DEFAULTS",
            ".nf",
            *map(_text, default_text().splitlines()),
            ".fi",
            *_tail("trustlab(1)"),
        ]
    )


def pages() -> dict[str, str]:
    """Each page by its file name."""
    return {"trustlab.1": command_line(), "trustlab.toml.5": settings()}


def _head(name: str, section: int, what: str) -> list[str]:
    return [f'.TH {name.upper()} {section} "" trustlab', ".SH NAME", f"{name} \\- {what}"]


def _tail(other: str) -> list[str]:
    name, section = other[:-3], other[-3:]
    return [".SH SEE ALSO", f"\\fB{name}\\fR{section}", ""]


def _body(markdown: str) -> Iterator[str]:
    """Roff of the markdown that the command line's definition writes, breaks not repeated."""
    before = ""
    for line in _lines(markdown.replace(" *[default: False]*", "")):
        if line != before or line != ".PP":
            yield line
        before = line


def _lines(markdown: str) -> Iterator[str]:
    literal = False
    for line in markdown.splitlines():
        item = None if line.startswith(_STATE) else _ITEM.match(line)
        if line.startswith("```"):
            literal = not literal
            yield ".PP"
        elif literal:
            yield rf"\fB{_text(line)}\fR"
        elif line.startswith("#"):
            level, _, title = line.partition(" ")
            yield f'.{"SH" if len(level) == len("##") else "SS"} "{_text(title)}"'
        elif item:
            yield from (".TP", rf"\fB{_text(item[1])}\fR", _text(item[2] or ""))
        elif line.startswith(("**", _STATE)):  # the heading of a list speaks for itself
            continue
        else:
            yield _text(line.strip()) if line.strip() else ".PP"


def _text(line: str) -> str:
    plain = _MARKS.sub(lambda found: found[1] or found[2] or found[3], line)
    escaped = plain.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped[:1] in {".", "'"} else escaped


def main() -> int:
    """Enter from the shell."""
    folder = HERE / "man"
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
