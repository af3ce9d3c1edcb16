"""``trustlab demo``: the guide played in one terminal."""

import signal
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import trio
from cyclopts import Parameter
from rich.table import Table

from lab.cli import terminal
from lab.demo import Step, play

EXIT_NO = 1
EXIT_INTERRUPTED = 130
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def demo(
    *,
    secure: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Play a migration: two clusters as daemons on loopback addresses, an exchange, one phone.

    Exit code 0 only if every step ended as it must, the refusal before the exchange included.
    Nothing is left behind.

    Parameters
    ----------
    secure:
        Clusters in mixed mode: the guide's nine steps, CTL first.
    json:
        Print one object with the steps.
    """
    show = _nothing if json else _line
    with tempfile.TemporaryDirectory(prefix="trustlab-demo-") as folder:
        steps = trio.run(_interruptible, partial(play, Path(folder), secure=secure, show=show))
    if steps is None:
        terminal.say("interrupted: the daemons have ended, the folder is gone")
        return EXIT_INTERRUPTED
    ok = all(step.ok for step in steps)
    if json:
        terminal.emit({"secure": secure, "ok": ok, "steps": steps})
    else:
        _show(steps, secure=secure)
    return 0 if ok else EXIT_NO


async def _interruptible(story: Callable[[], Awaitable[list[Step]]]) -> list[Step] | None:
    """Run ``story`` to its end; None when a signal ended it."""
    steps: list[Step] | None = None
    with trio.open_signal_receiver(*ENDING) as signals:
        async with trio.open_nursery() as nursery:

            async def end_on_signal() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(end_on_signal)
            steps = await story()
            nursery.cancel_scope.cancel()
    return steps


def _nothing(_: Step) -> None:
    """With --json nothing is shown on the way."""


def _line(step: Step) -> None:
    terminal.say(f"{'ok  ' if step.ok else 'FAIL'} {step.name}: {step.happened}")


def _show(steps: Sequence[Step], *, secure: bool) -> None:
    title = f"Migration of a phone between {'secure' if secure else 'non-secure'} clusters"
    table = Table(title=title)
    for heading in ("step", "asked", "answered", "why", ""):
        table.add_column(heading, overflow="fold")
    for step in steps:
        cells = (step.name, step.asked, step.happened, step.why, "ok" if step.ok else "FAIL")
        table.add_row(*map(terminal.clean, cells))
    terminal.console.print(table)
