"""The demo, as a user starts it: whole, and interrupted."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = [sys.executable, "-m", "lab"]
SECONDS = 60
README = Path(__file__).parents[2] / "README.md"


def start(tmp_path, *arguments) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        start_new_session=True,
    )


def daemons_of(folder) -> list[str]:
    """Command lines of live processes that name ``folder``."""
    listed = subprocess.run(
        ["ps", "-eo", "args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [line for line in listed if str(folder) in line]


def is_shown_in_the_readme(said: str) -> bool:
    """Whether README.md prints these lines; numbers differ, and … stands for what is left out."""
    text = README.read_text(encoding="utf-8")
    (block,) = re.findall(r"(?ms)^```console\n\$ make demo\n(.*?)^```$", text)
    pairs = zip(block.splitlines(), said.splitlines(), strict=True)
    return all(
        re.sub(r"\d+", "#", line).startswith(re.sub(r"\d+", "#", shown.partition("…")[0]))
        for shown, line in pairs
    )


@pytest.mark.timeout(120)
def test_both_migrations_end_as_they_must_and_leave_nothing(tmp_path):
    plain, secure = start(tmp_path), start(tmp_path, "--secure", "--json")
    shown, said = plain.communicate(timeout=SECONDS)
    told, problems = secure.communicate(timeout=SECONDS)
    assert (plain.returncode, secure.returncode) == (0, 0), said + problems
    assert "Migration of a phone between non-secure clusters" in shown
    assert said.count("ok   ") == len(said.splitlines()) == 16
    assert is_shown_in_the_readme(said)
    steps = json.loads(told)["steps"]
    assert all(step["ok"] for step in steps)
    assert {"name", "expected", "happened", "ok"} <= steps[0].keys()
    names = [step["name"] for step in steps]
    refused = steps[names.index("moved before the exchange")]
    assert "Trust List update failed" in refused["happened"]
    ninth = steps[names.index("9 verifies the ITL with the new CTL")]
    assert "TVS asked 1 time" in ninth["happened"]
    assert names.index("import on dst-pub") < names.index("8 installs the destination's CTL")
    assert list(tmp_path.iterdir()) == []
    assert daemons_of(tmp_path) == []


def test_interrupted_it_leaves_nothing(tmp_path):
    run = start(tmp_path)
    assert run.stderr is not None
    assert run.stderr.readline().startswith("ok   boot at the source")
    os.kill(run.pid, signal.SIGINT)
    run.communicate(timeout=SECONDS)
    assert run.returncode == 130
    assert list(tmp_path.iterdir()) == []
    assert daemons_of(tmp_path) == []


def test_interrupted_again_and_again_with_its_daemons_it_leaves_nothing(tmp_path):
    run = start(tmp_path)
    assert run.stderr is not None
    assert run.stderr.readline().startswith("ok   boot at the source")
    while run.poll() is None:  # an impatient user
        os.killpg(run.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(0.1)
    _, said = run.communicate(timeout=SECONDS)
    assert run.returncode in {130, -signal.SIGINT}, said  # a shell calls both 130
    # The last signal may meet the interpreter on its way out, where nothing of ours runs any more.
    assert "/lab/" not in said
    assert list(tmp_path.iterdir()) == []
    assert daemons_of(tmp_path) == []


def test_a_machine_it_cannot_play_on_is_told_in_one_line(tmp_path):
    told = subprocess.run(
        [*PROGRAM, "demo"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env=os.environ | {"TMPDIR": str(tmp_path), "TRUSTLAB_SET_TVS__PROFILE": '"ancient"'},
    )
    assert told.returncode in {2, 3}
    assert told.stderr.startswith("trustlab: ")
    assert "tvs.profile" in told.stderr
    assert "Traceback" not in told.stderr
    assert list(tmp_path.iterdir()) == []
