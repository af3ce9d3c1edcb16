"""TFTP checks: timeout and tsize (RFC 2349), windowsize (RFC 7440)."""

import trio

from lab.conformance.model import (
    Standing,
    Timeline,
    check,
    checks_in,
    demand,
    fail,
    inapplicable,
)
from lab.conformance.tftp_options import never_granted
from lab.conformance.tftp_transfers import same
from lab.conformance.tftp_wire import (
    Client,
    Opcode,
    TftpTarget,
    Transfer,
    acknowledgement,
    client,
    fetch,
    finish,
    number,
)

TIMEOUT = range(1, 256)
WINDOWSIZE = range(1, 65_536)
QUIET_SECONDS = 0.4
ASKED_WINDOW = 4
TRIES = 3
SLACK_SECONDS = 0.9


@check(
    "tftp.tsize.exact",
    Standing.RECOMMENDED,
    "tsize names exactly the octets that then come",
    "RFC 2349, Transfer Size",
)
async def transfer_size(target: TftpTarget, seen: Timeline) -> str:
    """Ask with tsize 0 and count."""
    return await _size_matches(target, seen, target.file.name)


@check(
    "tftp.tsize.generated",
    Standing.RECOMMENDED,
    "tsize of a file that the server makes up itself names exactly the octets that then come",
    "RFC 2349, Transfer Size",
)
async def generated_size(target: TftpTarget, seen: Timeline) -> str:
    """Ask with tsize 0 for a generated file."""
    if target.generated is None:
        inapplicable("not observed: no generated file was named (--generated NAME)")
    return await _size_matches(target, seen, target.generated)


async def _size_matches(target: TftpTarget, seen: Timeline, name: str) -> str:
    transfer = await fetch(target, seen, name, options=(("tsize", "0"),))
    size = (transfer.granted or {}).get("tsize")
    demand(size is not None, "tsize is not granted")
    demand(size == str(len(transfer.payload)), f"tsize={size}, {len(transfer.payload)} octets came")
    return f"tsize={size}"


@check(
    "tftp.timeout.granted",
    Standing.RECOMMENDED,
    "timeout is granted with the value asked for, and no repetition waits longer",
    "RFC 2349, Timeout Interval",
)
async def timeout_granted(target: TftpTarget, seen: Timeline) -> str:
    """Ask with timeout 1 and measure the first repetition."""
    async with client(target, seen) as opened:
        answer = await opened.begin(target.file.name, options=(("timeout", "1"),))
        got = answer.options.get("timeout") if answer.opcode == Opcode.OACK else None
        demand(got is not None, "timeout is not granted")
        demand(got == "1", f"1 was asked for, {got} granted")
        start = trio.current_time()
        again = await opened.receive(target.patience_seconds)
        if again is None:
            fail(f"granted, but nothing came again for {target.patience_seconds:g} seconds")
        took = trio.current_time() - start
        demand(took < 1 + SLACK_SECONDS, f"granted 1 second, sent again after {took:.2f}")
        return f"sent again after {took:.2f} seconds"


@check(
    "tftp.timeout.bounds",
    Standing.REQUIRED,
    "a timeout of 0, above 255 or no number is never granted",
    "RFC 2349, Timeout Interval",
)
async def timeout_bounds(target: TftpTarget, seen: Timeline) -> str:
    """Ask with values outside the bounds."""
    return await never_granted(target, seen, "timeout", TIMEOUT, ("0", "256", "-1", "abc", ""))


@check(
    "tftp.windowsize.granted",
    Standing.RECOMMENDED,
    "windowsize is granted, no larger than asked for, and a window comes without an ACK",
    "RFC 7440 sections 3, 4",
)
async def window_granted(target: TftpTarget, seen: Timeline) -> str:
    """Ask with 4 and count the blocks that come at once."""
    async with client(target, seen) as opened:
        options = (("blksize", "64"), ("windowsize", str(ASKED_WINDOW)))
        answer = await opened.begin(target.file.name, options=options)
        got = answer.options.get("windowsize") if answer.opcode == Opcode.OACK else None
        if got is None:
            fail("windowsize is not granted")
        demand(number(got) in range(1, ASKED_WINDOW + 1), f"{got} was granted")
        await opened.send(acknowledgement(0))
        numbers = set()
        while (found := await opened.receive(QUIET_SECONDS)) is not None:
            numbers.add(found.number)
            if len(numbers) > ASKED_WINDOW:
                break
        demand(numbers == set(range(1, int(got) + 1)), f"window {got}, blocks {sorted(numbers)}")
        return f"{got} blocks without an ACK"


@check(
    "tftp.windowsize.rollback",
    Standing.REQUIRED,
    "an ACK inside a window makes the server go on with the block after it",
    "RFC 7440 section 4",
)
async def window_rollback(target: TftpTarget, seen: Timeline) -> str:
    """Acknowledge block 2 of a window of 4, as if block 3 were lost, then read the rest.

    A window that is just being repeated looks like the wrong answer, so that is waited for again.
    """
    tries = 0
    while True:
        tries += 1
        async with client(target, seen) as opened:
            transfer = await _acknowledge_half(opened)
            following = await opened.receive(target.patience_seconds)
            if following is None:
                fail("after the ACK inside the window nothing came")
            if following.number == transfer.blocks + 1:
                await finish(opened, transfer, following)
                same(transfer.payload, target.file)
                return f"went on with block {following.number}"
        demand(tries < TRIES, f"{following.text} came")


async def _acknowledge_half(opened: Client) -> Transfer:
    """What came before the ACK in the middle of the first window."""
    target = opened.target
    options = (("blksize", "64"), ("windowsize", str(ASKED_WINDOW)))
    answer = await opened.begin(target.file.name, options=options)
    transfer = Transfer(granted=answer.options if answer.opcode == Opcode.OACK else None)
    if transfer.window != ASKED_WINDOW:
        inapplicable(f"the server does not grant windowsize {ASKED_WINDOW}")
    await opened.send(acknowledgement(0))
    for _ in range(ASKED_WINDOW):
        found = await opened.receive(target.patience_seconds)
        if found is None:
            fail("the window did not come whole")
        if found.number == transfer.blocks + 1 and transfer.blocks < ASKED_WINDOW // 2:
            transfer.blocks += 1
            transfer.payload += found.payload
    await opened.send(acknowledgement(transfer.blocks))
    return transfer


@check(
    "tftp.windowsize.whole-file",
    Standing.REQUIRED,
    "a file read by windows comes whole",
    "RFC 7440 section 4",
)
async def window_whole(target: TftpTarget, seen: Timeline) -> str:
    """Read with windows of 4."""
    options = (("blksize", "64"), ("windowsize", str(ASKED_WINDOW)))
    transfer = await fetch(target, seen, target.file.name, options=options)
    if "windowsize" not in (transfer.granted or {}):
        inapplicable("the server does not grant windowsize")
    same(transfer.payload, target.file)
    return f"{transfer.blocks} blocks by windows of {transfer.window}"


@check(
    "tftp.windowsize.bounds",
    Standing.REQUIRED,
    "a window of 0, above 65 535 or no number is never granted",
    "RFC 7440 section 3",
)
async def window_bounds(target: TftpTarget, seen: Timeline) -> str:
    """Ask with values outside the bounds."""
    values = ("0", "65536", "-1", "abc", "")
    return await never_granted(target, seen, "windowsize", WINDOWSIZE, values)


CHECKS = checks_in(globals())
