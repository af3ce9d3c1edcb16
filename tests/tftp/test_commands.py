"""``trustlab tftp get`` and ``put`` against the service."""

import json
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from functools import partial

import pytest
import trio

from tests import daemons
from tests.tftp.conftest import serving
from tftp.uploads import Uploads


async def trustlab(*arguments, cwd):
    command = partial(daemons.trustlab, "tftp", *map(str, arguments), cwd=cwd)
    return await trio.to_thread.run_sync(command)


async def test_get_and_put(folder, tmp_path):
    async with serving(folder, uploads=Uploads(tmp_path, max_bytes=20_000)) as service:
        at = f"{service.host}:{service.port}"
        asked = ("--blksize", 1024, "--windowsize", 4, "--json")
        got = await trustlab("get", at, "config", "here", *asked, cwd=tmp_path)
        assert got.returncode == 0
        answer = json.loads(got.stdout)
        assert (answer["file"], answer["bytes"]) == ("config", 10_240)
        assert (tmp_path / "here").read_bytes() == (folder / "config").read_bytes()
        put = await trustlab("put", at, "here", "there", cwd=tmp_path)
        assert put.returncode == 0
        assert (tmp_path / "there").read_bytes() == (folder / "config").read_bytes()
        for arguments, code, words in (
            (("get", at, "missing"), 1, "ERROR 1"),
            (("put", at, "here", "there"), 1, "ERROR 6"),
            (("get", at, "config", "--blksize", 7), 2, "between 8 and 65464"),
            (("get", "host:x", "config"), 2, "HOST"),
        ):
            ran = await trustlab(*arguments, cwd=tmp_path)
            assert ran.returncode == code
            assert words in ran.stderr


def on_a_terminal(*arguments):
    """Run the command with a terminal for its messages; answers its exit code and what it shows."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "lab", "tftp", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100", "NO_COLOR": "1"},
    ) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # the other end is closed and everything was read
            while part := os.read(ours, 65_536):
                shown += part
        os.close(ours)
        return process.wait(10), re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())


@pytest.mark.parametrize("way", ["get", "put"])
async def test_a_terminal_shows_how_far_it_is(folder, tmp_path, way):
    name = "[bold]ring {0}"  # rich and str.format would make something of it
    (folder / name).write_bytes(bytes(300_000))
    place = tmp_path / "uploads"
    place.mkdir()
    file, target, stored = {
        "get": (name, (tmp_path / "got",), tmp_path / "got"),
        "put": (folder / name, (), place / name),
    }[way]
    async with serving(folder, uploads=Uploads(place, max_bytes=400_000)) as service:
        at = f"{service.host}:{service.port}"
        code, shown = await trio.to_thread.run_sync(on_a_terminal, way, at, file, *target)
    assert code == 0
    assert stored.read_bytes() == bytes(300_000)
    bars = [line for line in re.split(r"[\r\n]+", shown) if "\u2501" in line]
    assert bars[-1].startswith(f"{name} ")
    assert "300.0/300.0 kB" in bars[-1]
