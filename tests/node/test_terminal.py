"""What the program prints, and to whom."""

import subprocess
from pathlib import Path

import pytest

from tests.daemons import PROGRAM, new_node


@pytest.mark.parametrize("arguments", [["store", "list"], ["store", "list", "--json"]])
def test_nobody_reads_on(tmp_path: Path, arguments: list[str]) -> None:
    state = new_node(tmp_path / "node")
    certificate = state / "identities" / "TVS.pem"
    adding = ["store", "add", certificate, "--store", "TVS-trust", "--type", "TVS"]
    subprocess.run([*PROGRAM, "--state", state, *adding], check=True, capture_output=True)
    with subprocess.Popen(
        [*PROGRAM, "--state", str(state), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()  # as in `| head`
        _, said = process.communicate()
    assert said == ""
    assert process.returncode == 3  # neither yes nor no
