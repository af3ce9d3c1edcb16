"""Many phones booting: at a steady rate, bounded, counted."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from statistics import quantiles

import trio

from lab.phone.boot import Boot, BootVerdict
from lab.phone.fetch import Transfer
from lab.phone.inquiry import CACHE
from lab.phone.state import Phone

MAX_AT_ONCE = 256


@dataclass
class Load:
    """What came of the boots so far."""

    total: int
    verdicts: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    requests: int = 0
    misses: int = 0
    tvs_asked: int = 0
    at_once: int = 0
    most_at_once: int = 0

    @property
    def done(self) -> int:
        """How many phones have booted."""
        return len(self.seconds)

    @property
    def exit_code(self) -> int:
        """The worst of all phones: a definite no before "could not tell"."""
        codes = {BootVerdict(verdict).exit_code for verdict in self.verdicts}
        return next((code for code in (1, 3) if code in codes), 0)

    def add(self, run: Boot, seconds: float) -> None:
        """Count one finished boot, which took ``seconds``."""
        self.verdicts[str(run.verdict)] += 1
        self.seconds.append(seconds)
        self.requests += len(run.requests)
        self.misses += sum(asked.transfer is not Transfer.OK for asked in run.requests)
        self.tvs_asked += sum(inquiry.server != CACHE for inquiry in run.inquiries)

    def summary(self, elapsed_seconds: float) -> dict[str, object]:
        """Everything counted, as plain values; times in milliseconds."""
        return {
            "phones": self.done,
            "elapsed_seconds": round(elapsed_seconds, 3),
            "verdicts": dict(self.verdicts),
            "boot_milliseconds": _spread(self.seconds),
            "requests": self.requests,
            "misses": self.misses,
            "tvs_asked": self.tvs_asked,
            "most_at_once": self.most_at_once,
        }


async def boot_many(
    phones: Iterable[Phone],
    boot_one: Callable[[Phone], Awaitable[Boot]],
    load: Load,
    *,
    rate: float,
    finished: Callable[[Boot], Awaitable[None]],
) -> None:
    """Start ``rate`` boots a second, at most :data:`MAX_AT_ONCE` at a time; ``finished`` gets each.

    A start that has to wait for room delays the ones after it: the load is bounded, not queued.
    """
    room = trio.CapacityLimiter(MAX_AT_ONCE)

    async def run_one(phone: Phone) -> None:
        try:
            started = trio.current_time()
            run = await boot_one(phone)
            load.add(run, trio.current_time() - started)
            await finished(run)
        finally:
            load.at_once -= 1
            room.release_on_behalf_of(phone.mac)

    async with trio.open_nursery() as nursery:
        start = trio.current_time()
        for number, phone in enumerate(phones):
            await trio.sleep_until(start + number / rate)
            await room.acquire_on_behalf_of(phone.mac)
            load.at_once += 1
            load.most_at_once = max(load.most_at_once, load.at_once)
            nursery.start_soon(run_one, phone)


def _spread(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    cuts = quantiles(seconds, n=100) if len(seconds) > 1 else seconds * 99
    places = {"median": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": max(seconds)}
    return {name: round(value * 1000, 1) for name, value in places.items()}
