"""TFTP checks: options (RFC 2347), blksize (2348), timeout and tsize (2349), windowsize (7440)."""

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
from lab.conformance.tftp_transfers import same
from lab.conformance.tftp_wire import (
    Client,
    Code,
    Datagram,
    Opcode,
    Options,
    TftpTarget,
    Transfer,
    acknowledgement,
    client,
    error,
    fetch,
    finish,
    request,
)

BLKSIZE = range(8, 65_465)
TIMEOUT = range(1, 256)
WINDOWSIZE = range(1, 65_536)
QUIET_SECONDS = 0.4
ASKED_WINDOW = 4
ASKED_BLOCK = 1024
SLACK_SECONDS = 0.9


async def granted(target: TftpTarget, seen: Timeline, options: Options) -> dict[str, str]:
    """What the server grants of ``options`` for the known file; nothing if it answers DATA."""
    async with client(target, seen) as opened:
        answer = await opened.begin(target.file.name, options=options)
        return answer.options if answer.opcode == Opcode.OACK else {}


async def _begin_with(
    opened: Client, target: TftpTarget, option: str, value: str
) -> tuple[Datagram, str]:
    """Ask with one option; the OACK and the value granted. Does not apply where not granted."""
    answer = await opened.begin(target.file.name, options=((option, value),))
    if answer.opcode != Opcode.OACK or option not in answer.options:
        inapplicable(f"the server does not grant {option}")
    return answer, answer.options[option]


async def _never_granted(
    target: TftpTarget, seen: Timeline, option: str, valid: range, values: tuple[str, ...]
) -> str:
    """Ask with each of ``values``; a grant must be in ``valid`` and no larger than asked."""
    answers = []
    for value in values:
        async with client(target, seen) as opened:
            answer = await opened.ask(
                request(Opcode.RRQ, target.file.name, options=((option, value),))
            )
            got = answer.options.get(option) if answer.opcode == Opcode.OACK else None
            if got is None:
                answers.append(f"{value or 'nothing'}: {answer.text.split(' “')[0]}")
                continue
            right = (
                got.isdecimal()
                and int(got) in valid
                and value.isdecimal()
                and int(got) <= int(value)
            )
            demand(right, f"{option}={value} was granted as {got}")
            answers.append(f"{value}: {got}")
    return "; ".join(answers)


@check(
    "tftp.option.unknown",
    Standing.REQUIRED,
    "an option that the server does not know is left out; if none is known, DATA comes at once",
    "RFC 2347, Negotiation Protocol",
)
async def unknown_option(target: TftpTarget, seen: Timeline) -> str:
    """Ask with x-trustlab=1 only."""
    async with client(target, seen) as opened:
        answer = await opened.begin(target.file.name, options=(("x-trustlab", "1"),))
        demand(answer.opcode == Opcode.DATA, f"the answer was {answer.text}")
        return answer.text


@check(
    "tftp.option.unasked",
    Standing.REQUIRED,
    "an OACK holds only options that were asked for",
    "RFC 2347, Negotiation Protocol",
)
async def unasked_option(target: TftpTarget, seen: Timeline) -> str:
    """Ask with each option alone and look for others in the OACK."""
    told = []
    for option, value in (
        ("blksize", str(ASKED_BLOCK)),
        ("tsize", "0"),
        ("timeout", "3"),
        ("windowsize", str(ASKED_WINDOW)),
    ):
        got = await granted(target, seen, ((option, value),))
        demand(not set(got) - {option}, f"{option} was asked for, {', '.join(got)} granted")
        told += list(got)
    if not told:
        inapplicable("the server grants no option")
    return f"granted alone: {', '.join(told)}"


@check(
    "tftp.option.case",
    Standing.REQUIRED,
    "option names are understood in any mixture of upper and lower case",
    "RFC 2347, Packet Formats",
)
async def option_case(target: TftpTarget, seen: Timeline) -> str:
    """Ask with BlKsIzE."""
    plain = await granted(target, seen, (("blksize", str(ASKED_BLOCK)),))
    if "blksize" not in plain:
        inapplicable("the server does not grant blksize")
    mixed = await granted(target, seen, (("BlKsIzE", str(ASKED_BLOCK)),))
    demand(mixed == plain, f"blksize gives {plain}, BlKsIzE {mixed}")
    return "BlKsIzE is blksize"


@check(
    "tftp.option.repeated",
    Standing.RECOMMENDED,
    "an option named twice is granted at most once",
    "RFC 2347, Packet Formats",
)
async def repeated_option(target: TftpTarget, seen: Timeline) -> str:
    """Ask with blksize twice."""
    async with client(target, seen) as opened:
        asked = request(
            Opcode.RRQ, target.file.name, options=(("blksize", "1024"), ("blksize", "512"))
        )
        answer = await opened.ask(asked)
        times = answer.octets.lower().count(b"blksize\0")
        demand(times <= 1, f"the OACK names blksize {times} times")
        return answer.text


@check(
    "tftp.oack.waits",
    Standing.REQUIRED,
    "after an OACK no DATA comes before ACK 0",
    "RFC 2347, Negotiation Protocol",
)
async def oack_waits(target: TftpTarget, seen: Timeline) -> str:
    """Wait after the OACK, then acknowledge it."""
    async with client(target, seen) as opened:
        oack, _ = await _begin_with(opened, target, "blksize", str(ASKED_BLOCK))
        early = await opened.receive(QUIET_SECONDS)
        demand(
            early is None or early.octets == oack.octets,
            f"{early.text if early else ''} came before ACK 0",
        )
        transfer = Transfer(granted=oack.options)
        await opened.send(acknowledgement(0))
        await finish(opened, transfer)
        same(transfer.payload, target.file)
        return "DATA 1 came after ACK 0"


@check(
    "tftp.oack.retransmits",
    Standing.RECOMMENDED,
    "an OACK that is not acknowledged is sent again",
    "RFC 2347, Negotiation Protocol",
)
async def oack_again(target: TftpTarget, seen: Timeline) -> str:
    """Leave the OACK unacknowledged."""
    async with client(target, seen) as opened:
        oack, _ = await _begin_with(opened, target, "blksize", str(ASKED_BLOCK))
        start = trio.current_time()
        again = await opened.receive(target.patience_seconds)
        if again is None:
            fail(f"nothing came for {target.patience_seconds:g} seconds")
        demand(again.octets == oack.octets, f"{again.text} came")
        return f"again after {trio.current_time() - start:.2f} seconds"


@check(
    "tftp.oack.refused",
    Standing.REQUIRED,
    "a client that refuses the OACK with ERROR 8 gets no DATA",
    "RFC 2347, Negotiation Protocol",
)
async def oack_refused(target: TftpTarget, seen: Timeline) -> str:
    """Refuse the OACK."""
    async with client(target, seen) as opened:
        await _begin_with(opened, target, "blksize", str(ASKED_BLOCK))
        opened.finished = True
        await opened.send(error(Code.OPTIONS, "refused"))
        after = await opened.receive(QUIET_SECONDS)
        demand(after is None, f"{after.text if after else ''} came after the ERROR")
        return "silence after ERROR 8"


@check(
    "tftp.blksize.granted",
    Standing.RECOMMENDED,
    "blksize is granted, no larger than asked for, and the blocks have that size",
    "RFC 2348",
)
async def block_size(target: TftpTarget, seen: Timeline) -> str:
    """Ask with 1024, then with the size of an Ethernet frame, and read."""
    sizes = []
    for asked in (ASKED_BLOCK, 1428):
        transfer = await fetch(target, seen, target.file.name, options=(("blksize", str(asked)),))
        size = (transfer.granted or {}).get("blksize")
        demand(size is not None, "blksize is not granted")
        demand(transfer.block_size <= asked, f"{asked} was asked for, {size} granted")
        same(transfer.payload, target.file)
        sizes.append(f"{asked}: {size}")
    return "; ".join(sizes)


@check(
    "tftp.blksize.exact-multiple",
    Standing.REQUIRED,
    "a file of exactly one granted block ends with a block of no octets",
    "RFC 2348, RFC 1350 section 6",
)
async def block_size_exact(target: TftpTarget, seen: Timeline) -> str:
    """Ask with a block size that divides the size of the known file."""
    content = (await fetch(target, seen, target.file.name)).payload
    divisors = [size for size in range(8, 1429) if len(content) and len(content) % size == 0]
    asked = divisors[-1] if divisors else len(content)
    if asked not in BLKSIZE:
        inapplicable(f"not observed: no block size divides {len(content)} octets")
    transfer = await fetch(target, seen, target.file.name, options=(("blksize", str(asked)),))
    if transfer.block_size != asked or transfer.granted is None:
        inapplicable(f"the server does not grant blksize {asked}")
    demand(transfer.payload == content, "the octets differ from those of a plain read")
    demand(
        transfer.blocks == len(content) // asked + 1,
        f"{len(content)} octets came in {transfer.blocks} blocks of {asked}",
    )
    return f"{len(content)} octets in {transfer.blocks} blocks of {asked}"


@check(
    "tftp.blksize.bounds",
    Standing.REQUIRED,
    "a block size below 8, above 65 464 or no number is never granted",
    "RFC 2348",
)
async def block_size_bounds(target: TftpTarget, seen: Timeline) -> str:
    """Ask with values outside the bounds."""
    values = ("7", "0", "65465", "-1", "4294967304", "abc", "")
    return await _never_granted(target, seen, "blksize", BLKSIZE, values)


@check(
    "tftp.blksize.smallest",
    Standing.RECOMMENDED,
    "blksize 8 is granted as it is",
    "RFC 2348",
)
async def block_size_smallest(target: TftpTarget, seen: Timeline) -> str:
    """Ask with 8."""
    async with client(target, seen) as opened:
        _, size = await _begin_with(opened, target, "blksize", "8")
        demand(size == "8", f"8 was asked for, {size} granted")
        await opened.send(acknowledgement(0))
        first = await opened.receive(target.patience_seconds)
        if first is None:
            fail("no DATA came after ACK 0")
        demand(len(first.payload) == int(size), f"{first.text} came")
        return first.text


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
    "timeout is granted with the value asked for, and kept to",
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
        demand(abs(took - 1) < SLACK_SECONDS, f"granted 1 second, sent again after {took:.2f}")
        return f"sent again after {took:.2f} seconds"


@check(
    "tftp.timeout.bounds",
    Standing.REQUIRED,
    "a timeout of 0, above 255 or no number is never granted",
    "RFC 2349, Timeout Interval",
)
async def timeout_bounds(target: TftpTarget, seen: Timeline) -> str:
    """Ask with values outside the bounds."""
    return await _never_granted(target, seen, "timeout", TIMEOUT, ("0", "256", "-1", "abc", ""))


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
        demand(got.isdecimal() and int(got) in range(1, ASKED_WINDOW + 1), f"{got} was granted")
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
    """Acknowledge block 2 of a window of 4, as if block 3 were lost, then read the rest."""
    async with client(target, seen) as opened:
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
            if found.number == transfer.blocks + 1 and transfer.blocks < 2:  # noqa: PLR2004  half the window
                transfer.blocks += 1
                transfer.payload += found.payload
        await opened.send(acknowledgement(transfer.blocks))
        following = await opened.receive(target.patience_seconds)
        if following is None:
            fail("after the ACK inside the window nothing came")
        demand(following.number == transfer.blocks + 1, f"{following.text} came")
        await finish(opened, transfer, following)
        same(transfer.payload, target.file)
        return f"went on with block {following.number}"


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
    return await _never_granted(target, seen, "windowsize", WINDOWSIZE, values)


CHECKS = checks_in(globals())
