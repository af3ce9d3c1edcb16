"""What is printed is safe for a terminal, for readers of lines, and in any locale."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.cli import terminal
from tests.daemons import PROGRAM


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
