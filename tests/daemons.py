"""Real daemons for tests: the program itself, in a process, on ports of the kernel's choice."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.warm import warm

PROGRAM = [sys.executable, "-m", "lab"]
STOP_SECONDS = 10


@dataclass(frozen=True)
class Daemon:
    """A daemon that said it is ready."""

    state: Path
    process: subprocess.Popen[str]
    tvs: tuple[str, int]
    tftp: tuple[str, int]
    http: tuple[str, int] | None = None
    https: tuple[str, int] | None = None

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and answer the exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)

    def events(self) -> list[dict[str, object]]:
        """What it reported so far; a line that is being written is not yet told."""
        *whole, _ = (self.state / "events.jsonl").read_text().split("\n")
        return [json.loads(line) for line in whole]


def trustlab(
    *arguments: str | Path, state: Path | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one command of the program to its end."""
    where = ["--state", str(state)] if state else []
    words = [*where, *map(str, arguments)]
    if PROGRAM[0] == sys.executable:
        return warm().run(words, str(cwd or Path.cwd()))
    return subprocess.run(
        [*PROGRAM, *words], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )


def new_node(state: Path, *arguments: str | Path, host: str = "pub") -> Path:
    """`trustlab init` with the given arguments; answers the node's folder."""
    joins = "--join" in arguments
    cluster = [] if joins else ["--cluster", "alpha"]
    address = [] if "--address" in arguments else ["--address", "127.0.0.1"]
    made = trustlab("init", *cluster, "--node", host, *address, *arguments, state=state)
    assert made.returncode == 0, made.stderr
    return state


@contextmanager
def serving(state: Path, *arguments: str) -> Iterator[Daemon]:
    """`trustlab serve --json` on the node ``state``, ended when the block is left."""
    ports = [
        item
        for name in ("--tvs-port", "--tftp-port")
        if name not in arguments
        for item in (name, "0")
    ]
    log = state.with_name(f"{state.name}.log")  # a pipe that nobody reads would fill up
    with log.open("w") as messages:
        process = subprocess.Popen(
            [*PROGRAM, "--state", str(state), "serve", "--json", *ports, *arguments],
            stdout=subprocess.PIPE,
            stderr=messages,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        ready = json.loads(line)
        assert ready["ready"] is True
        listening = {
            name: tuple(ready[name]) for name in ("tvs", "tftp", "http", "https") if ready.get(name)
        }
        yield Daemon(state, process, **listening)
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
