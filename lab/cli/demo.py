"""``trustlab demo``: the guide played in one terminal."""

import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import trio
from rich.table import Table

from lab import exits
from lab.cli import terminal
from lab.cli.arguments import Flag
from lab.demo import Step, play
from lab.text import clean

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def demo(
    *,
    secure: Flag = False,
    json: Flag = False,
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
    with _signals_noted() as noted, tempfile.TemporaryDirectory(prefix="trustlab-demo-") as folder:
        story = partial(play, Path(folder), secure=secure, show=show)
        steps = trio.run(_interruptible, story, noted)
    if steps is None:
        terminal.say("interrupted: the daemons have ended, the folder is gone")
        return exits.INTERRUPTED
    ok = all(step.ok for step in steps)
    if json:
        terminal.emit({"secure": secure, "ok": ok, "steps": steps})
    else:
        _show(steps, secure=secure)
    return 0 if ok else exits.NO


@contextmanager
def _signals_noted() -> Iterator[list[int]]:
    """A second Ctrl-C must not leave the folder half removed: what comes is noted here only."""
    noted: list[int] = []
    before = {each: signal.signal(each, lambda number, _: noted.append(number)) for each in ENDING}
    try:
        yield noted
    finally:
        for each, former in before.items():
            signal.signal(each, former)


async def _interruptible(
    story: Callable[[], Awaitable[list[Step]]], noted: Sequence[int]
) -> list[Step] | None:
    """Run ``story`` to its end; None when a signal ended it, or one came before (``noted``)."""
    steps: list[Step] | None = None
    with trio.open_signal_receiver(*ENDING) as signals:
        if noted:
            return None
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
        table.add_row(*map(clean, cells))
    terminal.console.print(table)
