"""TVS checks: several requests on a connection, requests in pieces, other phones."""

from lab.conformance.model import Standing, Timeline, check, checks_in, demand, fail
from lab.conformance.tvs_answers import known_of
from lab.conformance.tvs_wire import (
    DEVICE,
    SESSION,
    Command,
    Tag,
    TvsTarget,
    frame,
    query,
    session,
    verify,
)

REUSE = "assumed: a phone was not yet seen to send two requests on one connection"
REQUESTS = 5


@check(
    "tvs.connection.several",
    Standing.ASSUMED,
    f"{REQUESTS} requests on one connection are answered one after the other",
    REUSE,
)
async def several(target: TvsTarget, seen: Timeline) -> str:
    """Ask again and again."""
    async with session(target, seen) as opened:
        for number in range(REQUESTS):
            asked = (1001 + number).to_bytes(4, "big")
            answer = await opened.asked(verify(target.unknown, asked), target.patience_seconds)
            demand(answer.session == asked, f"request {number + 1} got {answer.session.hex()}")
    return f"{REQUESTS} answers"


@check(
    "tvs.connection.pipelined",
    Standing.ASSUMED,
    f"{REQUESTS} requests sent at once are answered in their order",
    REUSE,
)
async def pipelined(target: TvsTarget, seen: Timeline) -> str:
    """Send all, then read."""
    numbers = [(1001 + number).to_bytes(4, "big") for number in range(REQUESTS)]
    async with session(target, seen) as opened:
        await opened.send(b"".join(verify(target.unknown, number) for number in numbers))
        for number in numbers:
            answer = await opened.answer(target.patience_seconds)
            if answer is None:
                fail(f"the server ended the connection before {number.hex()} was answered")
            demand(answer.session == number, f"{answer.session.hex()} came for {number.hex()}")
    return f"{REQUESTS} answers in order"


@check(
    "tvs.split.octets",
    Standing.REQUIRED,
    "a request of which every octet comes in a TLS record of its own is answered",
    "RFC 8446 section 5.1: record boundaries mean nothing",
)
async def split_octets(target: TvsTarget, seen: Timeline) -> str:
    """One octet a record."""
    async with session(target, seen) as opened:
        octets = query(target.stranger)
        await opened.send(octets, range(1, len(octets)))
        answer = await opened.answer(target.patience_seconds)
        demand(answer is not None, "the server ended the connection")
        return f"{len(octets)} records: {answer.text if answer else ''}"


@check(
    "tvs.split.every-offset",
    Standing.REQUIRED,
    "a request cut in two at any octet is answered",
    "RFC 8446 section 5.1: record boundaries mean nothing",
)
async def split_everywhere(target: TvsTarget, seen: Timeline) -> str:
    """Every cut; a new connection where the server does not keep one open."""
    octets = query(target.stranger)
    at = 1
    while at < len(octets):
        begun = at
        async with session(target, seen) as opened:
            while at < len(octets):
                try:
                    await opened.send(octets, (at,))
                    answer = await opened.answer(target.patience_seconds)
                except ConnectionError:
                    answer = None
                if answer is None:
                    break
                demand(answer.session == SESSION, f"cut at octet {at}: {answer.text}")
                at += 1
        demand(at > begun, f"cut at octet {at}, the server ended the connection")
    return f"{len(octets) - 1} cuts"


@check(
    "tvs.version.0",
    Standing.ASSUMED,
    "a request of version 0 is answered like one of version 1",
    "peers relaxed their test for phones; no octets are public",
)
async def version_0(target: TvsTarget, seen: Timeline) -> str:
    """Verify with version 0."""
    elements = ((Tag.DEVICE, DEVICE), (Tag.CERTIFICATE, target.unknown))
    async with session(target, seen) as opened:
        octets = frame(Command.VERIFY, elements, version=0)
        return (await opened.asked(octets, target.patience_seconds)).text


@check(
    "tvs.device.any-name",
    Standing.RECOMMENDED,
    "the device's name does not decide: an ATA, a 7945G, an odd name are answered",
    "Cisco ATA 191 guide; only CP-8861-SEP… is proven",
)
async def any_device(target: TvsTarget, seen: Timeline) -> str:
    """Names of other shapes."""
    certificate = known_of(target) if target.known else target.unknown
    names = (b"\1ATA0123456789AB", b"\1CP-7945G-SEP0123456789AB", b"\1x", b"\1", b"\1\xff\n")
    for name in names:
        async with session(target, seen) as opened:
            octets = frame(Command.VERIFY, ((Tag.DEVICE, name), (Tag.CERTIFICATE, certificate)))
            answer = await opened.asked(octets, target.patience_seconds)
            demand(answer.command == Command.VERIFY_ANSWER, f"{name!r}: {answer.text}")
    return f"{len(names)} names"


CHECKS = checks_in(globals())
