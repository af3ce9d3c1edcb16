"""Runs the checks of a suite, several at a time, each under a deadline of its own."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase

import trio

from lab import LabError
from lab.conformance.model import Check, Report, Result, Ruling, Target, Timeline, Verdict

Progress = Callable[[Result], None]


def chosen(checks: Sequence[Check[Target]], patterns: Sequence[str]) -> list[Check[Target]]:
    """The checks whose identifier matches one of ``patterns`` (as in a shell); all if none given.

    Raises :class:`~lab.LabError` for a pattern that chooses nothing.
    """
    for pattern in patterns:
        if not any(fnmatchcase(check.identifier, pattern) for check in checks):
            raise LabError(f"no check is called {pattern}")
    return [
        check
        for check in checks
        if not patterns or any(fnmatchcase(check.identifier, pattern) for pattern in patterns)
    ]


async def examine(
    suite: str,
    name: str,
    target: Target,
    checks: Sequence[Check[Target]],
    *,
    at_once: int = 6,
    deadline_seconds: float = 40.0,
    strict: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Run ``checks`` on ``target``, ``at_once`` of them side by side; the report is in their order.

    A check that has no verdict after ``deadline_seconds`` is inconclusive.
    """
    started = datetime.now(UTC)
    results: dict[str, Result] = {}
    waiting = iter(checks)

    async def work() -> None:
        for check in waiting:
            result = await _run(check, target, deadline_seconds)
            results[check.identifier] = result
            if progress is not None:
                progress(result)

    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(work)
    ordered = tuple(results[check.identifier] for check in checks)
    return Report(suite, name, started, ordered, strict)


async def _run(check: Check[Target], target: Target, deadline_seconds: float) -> Result:
    seen = Timeline()
    verdict, reason = Verdict.INCONCLUSIVE, f"no verdict after {deadline_seconds:g} seconds"
    with trio.move_on_after(deadline_seconds):
        try:
            reason = await check.probe(target, seen)
            verdict = Verdict.PASS
        except Ruling as ruling:
            verdict, reason = ruling.verdict, str(ruling)
        except OSError as error:
            verdict, reason = Verdict.INCONCLUSIVE, f"the network refused: {error}"
    return Result(
        check.identifier,
        check.demand,
        check.source,
        check.standing,
        verdict,
        reason,
        seen.milliseconds,
        tuple(seen.moments),
        seen.left_out,
    )
