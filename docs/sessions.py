"""Runs the terminal sessions of the documents: ``python docs/sessions.py [--write] PAGE...``.

Every block of a page that is marked ``console`` is a session: the lines that begin with ``$`` are
run, in order, in a folder of the page's own; what they print stands below them. Without ``--write``
what is printed is compared with what the page says, numbers, hashes and dates apart; with it the
page is brought up to date. A command that ends with ``&`` is a daemon: it is started, waited for,
and ended with the page.
"""

import difflib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROJECT = Path(__file__).parent.parent
SECONDS = 60
PROMPT = "$ "
_BLOCK = re.compile(r"(?ms)^```console\n(.*?)^```$")
# What differs from run to run: fingerprints, hashes, dates and times, numbers.
_VARIES = re.compile(
    r"(?:[0-9A-F]{2}:){5,}[0-9A-F]{2}|(?<![0-9A-Za-z])[0-9a-f]{6,}(?![0-9A-Za-z])…?"
    r"|\d+(?:[.:]\d+)*"
)


class SessionError(Exception):
    """A page whose session does not go as it says."""


class Session:
    """The commands of one page, run in a folder."""

    def __init__(self, folder: Path, daemons: ExitStack) -> None:
        self._folder = folder
        self._daemons = daemons
        self._environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "COLUMNS": "100",
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def run(self, command: str) -> str:
        """What a command prints, standard error included; its exit code where it is not 0."""
        if command.endswith("&"):
            return self._start(command.removesuffix("&").strip())
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        code = f"(exit code {done.returncode})\n" if done.returncode else ""
        return _tidy(done.stdout) + code

    def _start(self, command: str) -> str:
        found = re.search(r"--state (\S+)", command)
        if found is None:
            raise SessionError(f"{command}: a daemon is waited for by its --state")
        record = self._folder / found[1] / "run.json"
        log = self._folder / f"{found[1]}.log"
        self._daemons.enter_context(_daemon(command, self._folder, self._environment, log))
        begin = time.monotonic()
        while not record.exists() or "try next" not in log.read_text():
            if time.monotonic() - begin > SECONDS:
                raise SessionError(f"{command}: did not start: {log.read_text()}")
            time.sleep(0.05)  # what another process writes is not to be awaited
        return ""


@contextmanager
def _daemon(command: str, folder: Path, environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("w") as output:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(SECONDS)


def _tidy(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def play(page: Path, *, write: bool) -> int:
    """Run the sessions of a page; answers how many commands there were.

    Raises :class:`SessionError` where the page says something else, unless it is to be written.
    """
    text = page.read_text(encoding="utf-8")
    count = 0
    with tempfile.TemporaryDirectory() as folder, ExitStack() as daemons:
        session = Session(Path(folder), daemons)

        def played(block: re.Match[str]) -> str:
            nonlocal count
            commands = [line for line in block[1].splitlines() if line.startswith(PROMPT)]
            count += len(commands)
            printed = "".join(
                f"{command}\n{session.run(command.removeprefix(PROMPT))}" for command in commands
            )
            if not write:
                _compare(page, block[1], printed)
            return f"```console\n{printed}```"

        fresh = _BLOCK.sub(played, text)
    if write and fresh != text:
        page.write_text(fresh, encoding="utf-8")
    return count


def _compare(page: Path, said: str, printed: str) -> None:
    differences = "\n".join(
        difflib.unified_diff(_shape(said), _shape(printed), "the page", "the program", lineterm="")
    )
    if differences:
        raise SessionError(f"{page}: `make sessions` brings it up to date:\n{differences}")


def _shape(text: str) -> list[str]:
    return [" ".join(_VARIES.sub("#", line).split()) for line in text.splitlines()]


def pages() -> list[Path]:
    """The pages with sessions."""
    found = sorted((PROJECT / "docs").rglob("*.md"))
    return [page for page in found if "```console\n$ " in page.read_text(encoding="utf-8")]


def main() -> int:
    """Enter from the shell."""
    words = sys.argv[1:]
    write = "--write" in words
    named = [Path(word).resolve() for word in words if word != "--write"]
    for page in named or pages():
        try:
            count = play(page, write=write)
        except SessionError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        sys.stdout.write(f"{page.relative_to(PROJECT)}: {count} commands\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
