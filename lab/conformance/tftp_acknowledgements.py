"""TFTP checks: acknowledgements, timers, transfer identifiers (RFC 1350, 1123)."""

from itertools import pairwise

import trio

from lab.conformance.model import (
    Ruling,
    Standing,
    Timeline,
    Verdict,
    check,
    checks_in,
    demand,
    fail,
    inapplicable,
    untold,
)
from lab.conformance.tftp_transfers import same
from lab.conformance.tftp_wire import (
    DEFAULT_BLOCK,
    Client,
    Code,
    Opcode,
    TftpTarget,
    Transfer,
    acknowledgement,
    client,
    error,
    finish,
    request,
)

ENOUGH_BLOCKS = 8
EARLY_BLOCK = 2
MIDDLE_BLOCK = 5
QUIET_SECONDS = 0.4
MOST_UNPROVEN = 8
BACKOFF_FACTOR = 1.4
ENOUGH_GAPS = 3
PERSISTS_SECONDS = 2.0


@check(
    "tftp.ack.duplicate",
    Standing.REQUIRED,
    "a repeated ACK sends nothing again (no Sorcerer's Apprentice)",
    "RFC 1123 section 4.2.3.1",
)
async def duplicate_ack(target: TftpTarget, seen: Timeline) -> str:
    """Acknowledge block 2 twice, then every DATA once: a faulty server sends all the rest twice."""
    async with client(target, seen) as opened:
        transfer = await _read_until(opened, target, EARLY_BLOCK)
        await opened.send(acknowledgement(EARLY_BLOCK))
        await finish(opened, transfer)
        same(transfer.payload, target.file)
        _enough(transfer, target)
        rest = transfer.blocks - EARLY_BLOCK
        demand(
            transfer.repeats < rest / 2,
            f"{transfer.repeats} of the {rest} blocks after the repeated ACK came twice",
        )
        return f"{rest} blocks after the repeated ACK, {transfer.repeats} of them twice"


@check(
    "tftp.ack.delayed",
    Standing.REQUIRED,
    "an ACK of an earlier block, come late, neither rewinds nor ends the transfer",
    "RFC 1123 section 4.2.3.1, RFC 1350 section 5",
)
async def delayed_ack(target: TftpTarget, seen: Timeline) -> str:
    """Acknowledge block 2 again after block 5."""
    async with client(target, seen) as opened:
        transfer = await _read_until(opened, target, MIDDLE_BLOCK)
        await opened.send(acknowledgement(EARLY_BLOCK))
        following = await opened.receive(target.patience_seconds)
        if following is None:
            fail("after the late ACK nothing came any more")
        demand(
            following.opcode == Opcode.DATA and following.number == MIDDLE_BLOCK + 1,
            f"after the late ACK came {following.text}",
        )
        await finish(opened, transfer, following)
        same(transfer.payload, target.file)
        return f"{following.text} came next, then the rest"


@check(
    "tftp.ack.future",
    Standing.RECOMMENDED,
    "an ACK of a block not yet sent does not skip octets",
    "RFC 1350 section 5",
)
async def future_ack(target: TftpTarget, seen: Timeline) -> str:
    """Acknowledge block 7 when block 2 was the last."""
    async with client(target, seen) as opened:
        transfer = await _read_until(opened, target, EARLY_BLOCK, acknowledge=False)
        await opened.send(acknowledgement(EARLY_BLOCK + MIDDLE_BLOCK))
        following = await opened.receive(QUIET_SECONDS)
        if following is not None and following.opcode == Opcode.ERROR:
            opened.finished = True
            return f"the server ended the transfer: {following.text}"
        skipped = (
            following is not None
            and following.opcode == Opcode.DATA
            and following.number > EARLY_BLOCK
        )
        demand(not skipped, f"{following.text if following else ''} came before block 2 was taken")
        await opened.send(acknowledgement(EARLY_BLOCK))
        await finish(opened, transfer)
        same(transfer.payload, target.file)
        return "the ACK was ignored"


@check(
    "tftp.timer.retransmits",
    Standing.REQUIRED,
    "a DATA block that is not acknowledged is sent again",
    "RFC 1350 section 2",
)
async def retransmits(target: TftpTarget, seen: Timeline) -> str:
    """Leave block 2 unacknowledged."""
    async with client(target, seen) as opened:
        await _read_until(opened, target, EARLY_BLOCK, acknowledge=False)
        start = trio.current_time()
        again = await opened.receive(target.patience_seconds)
        if again is None:
            fail(f"nothing came for {target.patience_seconds:g} seconds")
        demand(again.opcode == Opcode.DATA and again.number == EARLY_BLOCK, f"{again.text} came")
        return f"block {EARLY_BLOCK} again after {trio.current_time() - start:.2f} seconds"


@check(
    "tftp.timer.last-block",
    Standing.REQUIRED,
    "the last DATA block is sent again too when its ACK is lost",
    "RFC 1350 section 6",
)
async def last_block(target: TftpTarget, seen: Timeline) -> str:
    """Leave the last block unacknowledged, then acknowledge its repetition."""
    async with client(target, seen) as opened:
        following = await opened.begin(target.file.name)
        while len(following.payload) == DEFAULT_BLOCK:
            await opened.send(acknowledgement(following.number))
            found = await opened.receive(target.patience_seconds)
            following = found or fail(f"nothing came after block {following.number}")
        again = await opened.receive(target.patience_seconds)
        if again is None:
            fail(f"nothing came for {target.patience_seconds:g} seconds")
        demand(again.octets == following.octets, f"{again.text} came")
        await opened.send(acknowledgement(following.number))
        opened.finished = True
        return f"{again.text} came again"


@check(
    "tftp.timer.backoff",
    Standing.RECOMMENDED,
    "the time between repetitions grows",
    "RFC 1123 section 4.2.3.2",
)
async def backoff(target: TftpTarget, seen: Timeline) -> str:
    """Leave block 2 unacknowledged and measure the gaps between its repetitions."""
    times = await _repetitions(target, seen)
    gaps = [later - earlier for earlier, later in pairwise((0.0, *times))]
    words = ", ".join(f"{gap:.2f}" for gap in gaps)
    if len(gaps) > 1 and gaps[-1] >= gaps[0] * BACKOFF_FACTOR:
        return f"gaps of {words} seconds"
    if len(gaps) < ENOUGH_GAPS:
        untold(f"too few repetitions in {target.patience_seconds:g} seconds: {words or 'none'}")
    raise Ruling(Verdict.FAIL, f"gaps of {words} seconds")


@check(
    "tftp.timer.persists",
    Standing.RECOMMENDED,
    f"a client that has acknowledged once is not given up within {PERSISTS_SECONDS:g} seconds",
    "RFC 1123 section 4.2.3.2; phones pause while they write flash memory (assumed)",
)
async def persists(target: TftpTarget, seen: Timeline) -> str:
    """Leave block 2 unacknowledged and look when its last repetition comes."""
    times = await _repetitions(target, seen)
    demand(times, f"no repetition in {target.patience_seconds:g} seconds")
    told = f"{len(times)} repetitions, the last one after {times[-1]:.2f} seconds"
    demand(times[-1] > PERSISTS_SECONDS, told)
    return told


async def _repetitions(target: TftpTarget, seen: Timeline) -> list[float]:
    """When block 2, unacknowledged, comes again: seconds after it came first."""
    times = []
    async with client(target, seen) as opened:
        await _read_until(opened, target, EARLY_BLOCK, acknowledge=False)
        begun = trio.current_time()
        while (left := begun + target.patience_seconds - trio.current_time()) > 0:
            if await opened.receive(left) is not None:
                times.append(trio.current_time() - begun)
    return times


@check(
    "tftp.timer.unproven",
    Standing.RECOMMENDED,
    f"an address that never answers gets at most {MOST_UNPROVEN} datagrams in the time watched",
    "Sieklik, Macfarlane, Buchanan: Evaluation of TFTP DDoS amplification attack (2016)",
)
async def unproven(target: TftpTarget, seen: Timeline) -> str:
    """Ask once and never acknowledge: whoever forged our address would aim this at us."""
    async with client(target, seen) as opened:
        await opened.begin(target.file.name)
        datagrams, limit = 1, trio.current_time() + target.patience_seconds
        while (left := limit - trio.current_time()) > 0:
            datagrams += await opened.receive(left) is not None
        demand(datagrams <= MOST_UNPROVEN, f"{datagrams} datagrams came")
        return f"{datagrams} datagrams in {target.patience_seconds:g} seconds"


@check(
    "tftp.tid.stray-undisturbed",
    Standing.REQUIRED,
    "a datagram from another port does not disturb the transfer",
    "RFC 1350 section 4",
)
async def stray_undisturbed(target: TftpTarget, seen: Timeline) -> str:
    """A stranger acknowledges block 2 and sends an ERROR while the client waits."""
    async with client(target, seen) as opened, client(target, seen) as stranger:
        transfer = await _read_until(opened, target, EARLY_BLOCK, acknowledge=False)
        await stranger.send(acknowledgement(EARLY_BLOCK), opened.tid)
        await stranger.send(error(Code.UNDEFINED, "a stranger"), opened.tid)
        disturbed = await opened.receive(QUIET_SECONDS)
        demand(
            disturbed is None
            or (disturbed.opcode == Opcode.DATA and disturbed.number == EARLY_BLOCK),
            f"{disturbed.text if disturbed else ''} came, block {EARLY_BLOCK} was not taken yet",
        )
        await opened.send(acknowledgement(EARLY_BLOCK))
        await finish(opened, transfer)
        same(transfer.payload, target.file)
        return "the stranger's ACK and ERROR changed nothing"


@check(
    "tftp.tid.stray-error",
    Standing.RECOMMENDED,
    "a datagram from another port is answered with ERROR 5",
    "RFC 1350 section 4",
)
async def stray_error(target: TftpTarget, seen: Timeline) -> str:
    """A stranger acknowledges block 2."""
    async with client(target, seen) as opened, client(target, seen) as stranger:
        await _read_until(opened, target, EARLY_BLOCK, acknowledge=False)
        await stranger.send(acknowledgement(EARLY_BLOCK), opened.tid)
        answer = await stranger.receive(1.0)
        if answer is None:
            fail("the stranger got no ERROR (an ICMP message at most)")
        demand(answer.opcode == Opcode.ERROR and answer.number == Code.UNKNOWN_TID, answer.text)
        return answer.text


@check(
    "tftp.rrq.duplicate",
    Standing.RECOMMENDED,
    "a request that arrives twice still gives one right transfer",
    "RFC 1350 section 4",
)
async def duplicate_request(target: TftpTarget, seen: Timeline) -> str:
    """Send the request twice, follow the first port, refuse another with ERROR 5."""
    async with client(target, seen) as opened:
        await opened.send(request(Opcode.RRQ, target.file.name))
        first = await opened.begin(target.file.name)
        transfer, pending, others = Transfer(), first, set()
        while True:
            if pending.source != first.source:
                others.add(pending.source)
                await opened.send(error(Code.UNKNOWN_TID, "another transfer"), pending.source)
            elif pending.number == (transfer.blocks + 1) % 65_536:
                transfer.blocks += 1
                transfer.payload += pending.payload
                await opened.send(acknowledgement(transfer.blocks))
                if len(pending.payload) < DEFAULT_BLOCK:
                    break
            found = await opened.receive(target.patience_seconds, any_port=True)
            pending = found or fail(f"nothing came after block {transfer.blocks}")
        opened.finished = True
        same(transfer.payload, target.file)
        return f"one right transfer, {len(others)} other port(s) turned away"


async def _read_until(
    opened: Client, target: TftpTarget, block: int, *, acknowledge: bool = True
) -> Transfer:
    """Read up to and with ``block``; it is acknowledged only if wanted."""
    found, transfer = await opened.begin(target.file.name), Transfer()
    while True:
        if found.opcode != Opcode.DATA:
            fail(f"after block {transfer.blocks} came {found.text}")
        if found.number == transfer.blocks + 1:
            transfer.blocks += 1
            transfer.payload += found.payload
        if len(found.payload) < DEFAULT_BLOCK:
            await opened.send(acknowledgement(found.number))
            opened.finished = True
            _enough(transfer, target)
        if transfer.blocks < block or acknowledge:
            await opened.send(acknowledgement(transfer.blocks))
        if transfer.blocks == block:
            return transfer
        found = await opened.receive(target.patience_seconds) or fail(
            f"nothing came after block {transfer.blocks}"
        )


def _enough(transfer: Transfer, target: TftpTarget) -> None:
    if transfer.blocks < ENOUGH_BLOCKS:
        inapplicable(
            f"not observed: {target.file.name} has {transfer.blocks} blocks only:"
            f" name a file of at least {ENOUGH_BLOCKS * DEFAULT_BLOCK} octets (--file)"
        )


CHECKS = checks_in(globals())
