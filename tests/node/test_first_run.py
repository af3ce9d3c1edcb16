"""`make run` in a terminal: a node is made, the daemon serves, Ctrl-C is a clean end."""

import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.first_run import main

END_SECONDS = 3
PATIENCE_SECONDS = 30


def read_until(terminal: int, wanted: str) -> str:
    text = ""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while wanted not in text and time.monotonic() < deadline:
        try:
            text += os.read(terminal, 65536).decode(errors="replace")
        except OSError:  # a terminal that nobody has open any more
            break
    return text


@pytest.mark.parametrize("allowed", [True, False])
def test_ctrl_c_in_a_terminal_ends_with_zero(tmp_path: Path, allowed: bool) -> None:
    """Started by a parent in the same process group, as make is, which must not be interrupted."""
    ports = {"TRUSTLAB_SET_TVS__PORT": "0", "TRUSTLAB_SET_TFTP__PORT": "0" if allowed else "69"}
    drop = ["setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"]
    if allowed or os.geteuid() != 0:
        drop = []
    own, other = pty.openpty()
    command = " ".join([*drop, sys.executable, "-m", "lab.first_run"])
    with subprocess.Popen(
        ["sh", "-c", f"{command}; echo ended with $?"],
        stdin=other,
        stdout=other,
        stderr=other,
        cwd=tmp_path,
        env=os.environ | ports | {"PYTHONPATH": str(Path(__file__).parents[2])},
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # noqa: PLW1509
    ) as process:
        os.close(other)
        text = read_until(own, "--mac 00005E005301")
        assert "ITLFile.tlv" in text
        assert 'macs = ["00005E005301"]' in (tmp_path / "var" / "trustlab.toml").read_text()
        if not allowed:
            assert re.search(r"^TFTP port 69 is not allowed.*\n.*sysctl", text, re.MULTILINE)
            assert "udp 127.0.0.1:6969" in text
        begin = time.monotonic()
        os.write(own, b"\x03")
        assert "ended with 0" in read_until(own, "ended with")
        assert time.monotonic() - begin < END_SECONDS
        process.wait(10)
    os.close(own)


def test_a_folder_that_can_hold_no_node_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main() == 3
    words = capsys.readouterr().err
    assert words.startswith("trustlab: ")
    assert words.endswith(": No such file or directory\n")
