"""TVS checks: malformed requests, and clients that harm others."""

from contextlib import AsyncExitStack

import trio

from lab.conformance.model import Ruling, Standing, Timeline, check, checks_in, demand
from lab.conformance.tvs_wire import (
    DEVICE,
    HEAD,
    Command,
    Session,
    Tag,
    TvsTarget,
    context,
    frame,
    others_answered,
    raw,
    reset,
    session,
    verify,
)

ROBUST = "RFC 1122 section 1.2.2 (robustness)"
CROWD = 50
OTHERS_SECONDS = 2.0
END_SECONDS = 1.0
LARGEST = 65_535


async def _never_trusted(target: TvsTarget, seen: Timeline, requests: dict[str, bytes]) -> str:
    """None of ``requests`` may bring status 0, and another client is answered after each."""
    told = []
    for name, octets in requests.items():
        async with session(target, seen) as opened:
            try:
                await opened.send(octets)
                answer = await opened.answer(END_SECONDS)
            except (ConnectionError, Ruling):
                told.append(f"{name}: no answer")
                answer = None
            else:
                told.append(f"{name}: {answer.text if answer else 'the end'}")
        if answer is not None:
            demand(answer.status != 0, f"{name} brought status 0")
    await others_answered(target, seen, OTHERS_SECONDS)
    return "; ".join(told)


@check(
    "tvs.unknown.element",
    Standing.RECOMMENDED,
    "an element without known meaning does not keep the others from being read",
    "forward compatibility as the header's versions have it (Cisco document 213407)",
)
async def unknown_element(target: TvsTarget, seen: Timeline) -> str:
    """Verify the unknown certificate with elements 6 and 200 beside it."""
    octets = frame(
        Command.VERIFY,
        (
            (Tag.DEVICE, DEVICE),
            (6, b"\1\2\3"),
            (Tag.CERTIFICATE, target.unknown),
            (200, b""),
        ),
    )
    async with session(target, seen) as opened:
        answer = await opened.asked(octets, target.patience_seconds)
        demand(answer.command == Command.VERIFY_ANSWER and answer.status != 0, answer.text)
        return answer.text


@check(
    "tvs.unknown.command",
    Standing.REQUIRED,
    "a command that does not exist is never answered with status 0",
    ROBUST,
)
async def unknown_command(target: TvsTarget, seen: Timeline) -> str:
    """Commands 0, 2, 4, 5, 9, 255."""
    certificate = target.known or target.unknown
    elements = ((Tag.DEVICE, DEVICE), (Tag.CERTIFICATE, certificate))
    commands = (0, Command.VERIFY_ANSWER, Command.QUERY_ANSWER, 5, 9, 255)
    return await _never_trusted(
        target, seen, {f"command {int(number)}": frame(number, elements) for number in commands}
    )


@check(
    "tvs.malformed.lengths",
    Standing.REQUIRED,
    "lengths that contradict each other are never answered with status 0, and harm nobody",
    ROBUST,
)
async def wrong_lengths(target: TvsTarget, seen: Timeline) -> str:
    """Elements beyond the end, a body too short or too long, nothing at all."""
    known = target.known or target.unknown
    good = ((Tag.DEVICE, DEVICE), (Tag.CERTIFICATE, known))
    body = len(frame(Command.VERIFY, good)) - HEAD
    return await _never_trusted(
        target,
        seen,
        {
            "no elements": frame(Command.VERIFY, ()),
            "no certificate": frame(Command.VERIFY, ((Tag.DEVICE, DEVICE),)),
            "an empty certificate": frame(Command.VERIFY, ((Tag.CERTIFICATE, b""),)),
            "the body a little short": frame(Command.VERIFY, good, length=body - 3),
            "a body of one octet": frame(Command.VERIFY, good, length=1),
            "an element beyond the end": frame(Command.VERIFY, ())[:8] + b"\0\5\2\xff\xff\1\2",
            "half an element": frame(Command.VERIFY, ())[:8] + b"\0\2\2\0",
            "two certificates": frame(
                Command.VERIFY, ((Tag.CERTIFICATE, target.unknown), (Tag.CERTIFICATE, known))
            ),
            "an empty query": frame(Command.QUERY, ((Tag.DEVICE, DEVICE),)),
            "empty names": frame(
                Command.QUERY, ((Tag.SUBJECT, b"\0"), (Tag.ISSUER, b"\0"), (Tag.SERIAL, b""))
            ),
        },
    )


@check(
    "tvs.malformed.oversize",
    Standing.REQUIRED,
    "the longest request there can be is never answered with status 0, and harms nobody",
    ROBUST,
)
async def oversize(target: TvsTarget, seen: Timeline) -> str:
    """65 535 octets of elements."""
    filled = b"A" * (LARGEST - 3)
    many = b"\6\0\0" * (LARGEST // 3)
    return await _never_trusted(
        target,
        seen,
        {
            "a certificate of 65 532 octets": frame(Command.VERIFY, ((Tag.CERTIFICATE, filled),)),
            "a name of 65 532 octets": frame(Command.QUERY, ((Tag.SUBJECT, filled),)),
            "21 845 empty elements": frame(Command.VERIFY, (), length=len(many)) + many,
        },
    )


@check(
    "tvs.malformed.garbage",
    Standing.REQUIRED,
    "octets that are no message harm nobody",
    ROBUST,
)
async def garbage(target: TvsTarget, seen: Timeline) -> str:
    """Inside TLS."""
    return await _never_trusted(
        target,
        seen,
        {
            "another protocol": b"GET / HTTP/1.0\r\n\r\n",
            "zeros": bytes(64),
            "version 2": frame(Command.VERIFY, (), version=2),
            "another discriminator": b"\x58" + verify(target.unknown)[1:],
        },
    )


@check(
    "tvs.half.others",
    Standing.REQUIRED,
    "a client that sends half a request and stays silent does not keep others from an answer",
    "peers that answer one client at a time",
)
async def half_request(target: TvsTarget, seen: Timeline) -> str:
    """Hold half a request open and ask beside it."""
    octets = verify(target.unknown)
    async with session(target, seen) as opened:
        await opened.send(octets[: len(octets) // 2])
        await others_answered(target, seen, OTHERS_SECONDS)
    return "another client was answered"


@check(
    "tvs.half.ended",
    Standing.RECOMMENDED,
    "such a client is cut off in the end",
    "CWE-400; a waiting connection costs a descriptor",
)
async def half_ended(target: TvsTarget, seen: Timeline) -> str:
    """Wait for it."""
    octets = verify(target.unknown)
    async with session(target, seen) as opened:
        await opened.send(octets[: len(octets) // 2])
        begun = trio.current_time()
        demand(
            await opened.ended_within(target.patience_seconds),
            f"still open after {target.patience_seconds:g} seconds",
        )
        return f"cut off after {trio.current_time() - begun:.1f} seconds"


@check(
    "tvs.silent.tcp",
    Standing.REQUIRED,
    f"{CROWD} clients that connect and say nothing do not keep others from an answer",
    "peers that make the handshake where they accept",
)
async def silent(target: TvsTarget, seen: Timeline) -> str:
    """Hold them open and ask beside them."""
    async with AsyncExitStack() as crowd:
        for _ in range(CROWD):
            await crowd.enter_async_context(raw(target))
        seen.note(f"{CROWD} silent connections are open")
        await others_answered(target, seen, OTHERS_SECONDS)
    return "another client was answered"


@check(
    "tvs.silent.tls",
    Standing.REQUIRED,
    "clients silent after their handshake do not keep others from an answer",
    "peers that give each client a thread and no deadline",
)
async def silent_tls(target: TvsTarget, seen: Timeline) -> str:
    """Ten of them."""
    async with AsyncExitStack() as crowd:
        for _ in range(10):
            await crowd.enter_async_context(session(target, seen))
        await others_answered(target, seen, OTHERS_SECONDS)
    return "another client was answered"


@check(
    "tvs.silent.slow-hello",
    Standing.REQUIRED,
    "a client whose handshake comes octet by octet does not keep others from an answer",
    "peers that make the handshake where they accept",
)
async def slow_hello(target: TvsTarget, seen: Timeline) -> str:
    """Send a part of the hello slowly and ask beside it."""
    async with raw(target) as stream:
        slow = Session(stream, seen, target.label)
        hello = slow.hello(context())
        for at in range(8):
            await stream.send_all(hello[at : at + 1])
            await trio.sleep(0.01)
        await others_answered(target, seen, OTHERS_SECONDS)
    return "another client was answered"


@check(
    "tvs.reset.others",
    Standing.REQUIRED,
    "clients that reset their connections, in the handshake and in a request, harm nobody",
    ROBUST,
)
async def resets(target: TvsTarget, seen: Timeline) -> str:
    """Reset at once, after a hello, after half a request."""
    octets = verify(target.unknown)
    for _ in range(10):
        async with raw(target) as stream:
            await reset(stream)
        async with raw(target) as stream:
            await stream.send_all(Session(stream, seen, target.label).hello(context()))
            await reset(stream)
    async with session(target, seen) as opened:
        await opened.send(octets[: len(octets) // 2])
        await reset(opened.stream)
    async with session(target, seen) as opened:
        await opened.send(octets)
        await reset(opened.stream)
    await others_answered(target, seen, OTHERS_SECONDS)
    return "another client was answered"


@check(
    "tvs.garbage.tcp",
    Standing.REQUIRED,
    "octets that are no TLS harm nobody",
    ROBUST,
)
async def garbage_tcp(target: TvsTarget, seen: Timeline) -> str:
    """Plain text, zeros, a record of impossible length."""
    for octets in (b"GET / HTTP/1.0\r\n\r\n", bytes(100), b"\x16\x03\x01\xff\xff" + bytes(200)):
        async with raw(target) as stream:
            seen.sent(octets, target.label)
            await stream.send_all(octets)
    await others_answered(target, seen, OTHERS_SECONDS)
    return "another client was answered"


CHECKS = checks_in(globals())
