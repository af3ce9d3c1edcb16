"""TFTP checks: options (RFC 2347) and blksize (RFC 2348)."""

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
    number,
    request,
)

BLKSIZE = range(8, 65_465)
QUIET_SECONDS = 0.4
ASKED_WINDOW = 4
ASKED_BLOCK = 1024


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


async def never_granted(
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
            right = number(got) in valid and value.isdecimal() and number(got) <= int(value)
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
    return await never_granted(target, seen, "blksize", BLKSIZE, values)


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


CHECKS = checks_in(globals())
