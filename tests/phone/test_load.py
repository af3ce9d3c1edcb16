"""Many phones at once: started at their rate, bounded, counted. The clock is not a real one."""

from functools import partial

import pytest
import trio

from lab.phone.boot import Boot, BootVerdict
from lab.phone.fetch import FileServer
from lab.phone.load import MAX_AT_ONCE, Load, boot_many
from lab.phone.models import model
from lab.phone.state import Phone
from tests.phone.clusters import NOW

SERVER = FileServer("192.0.2.1", 69, None, 5.0)
MACS = [f"00005E{number:06X}" for number in range(MAX_AT_ONCE + 20)]
PHONES = [Phone(mac, model("8861")) for mac in MACS]


def booted(phone, stopped=BootVerdict.UNREACHABLE) -> Boot:
    return Boot(phone, SERVER, 5.0, lambda: NOW, held_before=False, stopped=stopped)


async def nothing_more(_: Boot) -> None:
    """Nobody waits for these phones."""


async def test_phones_start_at_the_rate_asked_for(autojump_clock):
    started = []

    async def boot_one(phone):
        started.append(trio.current_time())
        await trio.sleep(60)
        return booted(phone)

    await boot_many(PHONES[:5], boot_one, Load(5), rate=4, finished=nothing_more)
    assert [each - started[0] for each in started] == pytest.approx([0, 0.25, 0.5, 0.75, 1])


async def test_no_more_phones_boot_at_once_than_there_is_room_for(autojump_clock, nursery):
    load, may_end = Load(len(PHONES)), trio.Event()

    async def boot_one(phone):
        await may_end.wait()
        return booted(phone)

    nursery.start_soon(partial(boot_many, PHONES, boot_one, load, rate=1e9, finished=nothing_more))
    await trio.sleep(60)
    assert (load.at_once, load.done) == (MAX_AT_ONCE, 0)
    may_end.set()
    await trio.sleep(60)
    assert (load.at_once, load.most_at_once, load.done) == (0, MAX_AT_ONCE, len(PHONES))


@pytest.mark.parametrize(
    ("stopped", "code"),
    [
        ([BootVerdict.UPDATED, BootVerdict.UNCHANGED, BootVerdict.NO_LIST], 0),
        ([BootVerdict.UPDATED, BootVerdict.UNREACHABLE], 3),
        ([BootVerdict.NOTHING_SERVED, BootVerdict.REFUSED, BootVerdict.UPDATED], 1),
    ],
)
def test_one_phone_that_does_not_follow_decides_the_exit_code(stopped, code):
    load = Load(len(stopped))
    for verdict in stopped:
        load.add(booted(PHONES[0], verdict), 0.5)
    assert load.exit_code == code
    assert load.summary(2.0)["verdicts"] == {str(verdict): 1 for verdict in stopped}
