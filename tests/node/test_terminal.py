"""What is printed is safe for a terminal, for readers of lines, and in any locale."""

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from lab.cli import terminal
from lab.cli.main import GROUPS
from tests.daemons import PROGRAM, trustlab


@pytest.mark.parametrize("character", ["\x1b", "\x7f", "\x9b", "\u202e", "\u2028", "\u2029"])
def test_json_is_one_line_whatever_a_file_says(
    character: str, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.emit({"subject": f"CN=a{character}b"})
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 1
    assert character not in printed
    assert json.loads(printed) == {"subject": f"CN=a{character}b"}


def test_a_locale_without_the_character_gets_its_escape(tmp_path: Path) -> None:
    missing = tmp_path / "größe.tlv"
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    shown = subprocess.run(
        [*PROGRAM, "itl", "verify", str(missing), "--json"],
        capture_output=True,
        env=environment,
        check=False,
        timeout=30,
    )
    assert shown.returncode == 3
    assert json.loads(shown.stdout)["file"] == str(missing)
    plain = subprocess.run(
        [sys.executable, "-m", "lab", "itl", "verify", str(missing)],
        capture_output=True,
        env=environment,
        check=False,
        timeout=30,
    )
    assert plain.returncode == 3
    assert b"Traceback" not in plain.stderr


@pytest.mark.parametrize(
    "arguments", [["config", "default"], ["scenario", "list"], ["tvs", "verify", "--help"]]
)
def test_a_pipe_that_nobody_reads_is_neither_yes_nor_no(arguments: list[str]) -> None:
    with subprocess.Popen(
        [*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.close()  # as in `| head`
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (3, "")


def test_the_overview_has_a_line_for_every_command() -> None:
    shown = trustlab("--help").stdout
    for name in GROUPS:
        assert re.search(rf"│ {name} +[A-Z]", shown), name


def test_the_version_is_that_of_the_distribution() -> None:
    shown = subprocess.run([*PROGRAM, "--version"], capture_output=True, check=True, timeout=30)
    assert shown.stdout.decode().strip() == metadata.version("trustlab")
