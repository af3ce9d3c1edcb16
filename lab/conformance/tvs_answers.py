"""TVS checks: what is answered to a certificate known and unknown, and in which octets."""

from itl.certificates import describe
from itl.roles import role_name
from lab.conformance.model import (
    Standing,
    Timeline,
    check,
    checks_in,
    demand,
    inapplicable,
)
from lab.conformance.tvs_wire import (
    DISCRIMINATOR,
    HEAD,
    VERSION,
    Answer,
    Command,
    Tag,
    TvsTarget,
    query,
    session,
    verify,
)

TRACE = "Cisco document 213407, trace of a query"
DIRECTORY = "Cisco document 118699, trace of a verification"
LIFE_SECONDS = 86_400
CUCM_FILLER = 0xF7
QUIET_SECONDS = 0.3


def known_of(target: TvsTarget) -> bytes:
    """The certificate the server trusts; the check does not apply without."""
    if target.known is None:
        inapplicable("not observed: no certificate that it trusts was given (--known CERT)")
    return target.known


async def ask(target: TvsTarget, seen: Timeline, octets: bytes) -> Answer:
    """One request on a connection of its own."""
    async with session(target, seen) as opened:
        return await opened.asked(octets, target.patience_seconds)


@check(
    "tvs.verify.known",
    Standing.REQUIRED,
    "a trusted certificate is verified: command 2, status 0",
    DIRECTORY,
)
async def verify_known(target: TvsTarget, seen: Timeline) -> str:
    """Verify the known certificate."""
    answer = await ask(target, seen, verify(known_of(target)))
    demand(answer.command == Command.VERIFY_ANSWER and answer.status == 0, answer.text)
    return answer.text


@check(
    "tvs.verify.unknown",
    Standing.REQUIRED,
    "a certificate that is not trusted is not verified: command 2, no status 0",
    DIRECTORY,
)
async def verify_unknown(target: TvsTarget, seen: Timeline) -> str:
    """Verify the unknown certificate."""
    answer = await ask(target, seen, verify(target.unknown))
    demand(answer.command == Command.VERIFY_ANSWER, answer.text)
    demand(answer.status is not None, "the answer has no status")
    demand(answer.status != 0, answer.text)
    return answer.text


@check(
    "tvs.verify.altered",
    Standing.REQUIRED,
    "a trusted certificate with its last bit changed is not verified: the whole is compared",
    "Cisco document 118699: Certificate compare return",
)
async def verify_altered(target: TvsTarget, seen: Timeline) -> str:
    """Same names and serial number, another signature."""
    known = known_of(target)
    altered = known[:-1] + bytes((known[-1] ^ 1,))
    answer = await ask(target, seen, verify(altered))
    demand(answer.status != 0, f"the altered certificate is trusted: {answer.text}")
    return answer.text


@check(
    "tvs.query.known",
    Standing.REQUIRED,
    "names and serial number of a trusted certificate bring it: command 4, status 0, element 2",
    TRACE,
)
async def query_known(target: TvsTarget, seen: Timeline) -> str:
    """Query the known certificate and compare."""
    known = known_of(target)
    answer = await ask(target, seen, query(describe(known)))
    demand(answer.command == Command.QUERY_ANSWER and answer.status == 0, answer.text)
    given = answer.value(Tag.CERTIFICATE)
    demand(given is not None, "the answer has no certificate")
    demand(given == known, "another certificate came")
    return answer.text


@check(
    "tvs.query.unknown",
    Standing.REQUIRED,
    "names and serial number of no trusted certificate bring none: command 4, no status 0",
    TRACE,
)
async def query_unknown(target: TvsTarget, seen: Timeline) -> str:
    """Query the unknown certificate."""
    answer = await ask(target, seen, query(target.stranger))
    demand(answer.command == Command.QUERY_ANSWER, answer.text)
    demand(answer.status is not None, "the answer has no status")
    demand(answer.status != 0, answer.text)
    demand(answer.value(Tag.CERTIFICATE) is None, f"a certificate came: {answer.text}")
    return answer.text


@check(
    "tvs.query.other-serial",
    Standing.REQUIRED,
    "the names of a trusted certificate with another serial number bring nothing",
    "Cisco document 213407: the key is serial number and issuer",
)
async def query_other_serial(target: TvsTarget, seen: Timeline) -> str:
    """Query with the last bit of the serial number changed."""
    names = describe(known_of(target))
    serial = names.serial[:-1] + bytes(((names.serial or b"\0")[-1] ^ 1,))
    answer = await ask(target, seen, query(names, serial=serial))
    demand(answer.status != 0, answer.text)
    return answer.text


@check(
    "tvs.query.other-issuer",
    Standing.REQUIRED,
    "the serial number of a trusted certificate under another issuer brings nothing",
    "Cisco document 213407: the key is serial number and issuer",
)
async def query_other_issuer(target: TvsTarget, seen: Timeline) -> str:
    """Query the stranger's names with the known serial number."""
    serial = describe(known_of(target)).serial
    answer = await ask(target, seen, query(target.stranger, serial=serial))
    demand(answer.status != 0, answer.text)
    return answer.text


@check(
    "tvs.answer.session",
    Standing.REQUIRED,
    "octets 4 to 7 of a request come back unchanged",
    "Cisco document 213407: 000003e9 in request and answer",
)
async def session_echoed(target: TvsTarget, seen: Timeline) -> str:
    """Try numbers with every kind of octet, each on a connection of its own."""
    numbers = ("00000000", "000003e9", "000003ea", "7fffffff", "80000000", "ffffffff", "0d0a0057")
    for text in numbers:
        asked = bytes.fromhex(text)
        for octets in (verify(target.unknown, asked), query(target.stranger, session=asked)):
            answer = await ask(target, seen, octets)
            demand(answer.session == asked, f"{text} came back as {answer.session.hex()}")
    return f"{len(numbers)} numbers came back"


@check(
    "tvs.answer.header",
    Standing.REQUIRED,
    "an answer begins with 57, version 1, the request's command plus one; its length is right",
    TRACE,
)
async def answer_header(target: TvsTarget, seen: Timeline) -> str:
    """Look at the header of both answers."""
    for octets in (verify(target.unknown), query(target.stranger)):
        async with session(target, seen) as opened:
            answer = await opened.asked(octets, target.patience_seconds)
            more = await opened.more_within(QUIET_SECONDS)
        demand(answer.discriminator == DISCRIMINATOR, f"it begins with {answer.discriminator:02x}")
        demand(answer.version == VERSION, f"version {answer.version}")
        demand(answer.command == octets[2] + 1, f"{octets[2]} is answered with {answer.command}")
        demand(not more, f"{len(more)} octets follow the length it tells: {more[:HEAD].hex(' ')}")
    return "57 01, command plus one"


@check(
    "tvs.answer.filler",
    Standing.OBSERVED,
    "the fourth octet of a query's answer is f7",
    TRACE,
)
async def answer_filler(target: TvsTarget, seen: Timeline) -> str:
    """Look at it."""
    answer = await ask(target, seen, query(describe(known_of(target))))
    demand(answer.filler == CUCM_FILLER, f"it is {answer.filler:02x}")
    return "f7"


@check(
    "tvs.answer.roles",
    Standing.REQUIRED,
    "a positive answer has element 8: one octet for each role",
    TRACE,
)
async def answer_roles(target: TvsTarget, seen: Timeline) -> str:
    """Look at both positive answers."""
    known = known_of(target)
    told = set()
    for octets in (verify(known), query(describe(known))):
        roles = (await ask(target, seen, octets)).value(Tag.ROLES)
        demand(roles, "the answer has no roles")
        told.add(roles)
    demand(len(told) == 1, "verify and query give different roles")
    codes = told.pop() or b""
    demand(len(set(codes)) == len(codes), f"a role comes twice: {codes.hex(' ')}")
    return ", ".join(f"{role} {role_name(role)}" for role in codes)


@check(
    "tvs.answer.life",
    Standing.REQUIRED,
    "a positive answer has element 9: its life in seconds, 4 octets, not 0",
    TRACE,
)
async def answer_life(target: TvsTarget, seen: Timeline) -> str:
    """Look at it."""
    life = (await ask(target, seen, query(describe(known_of(target))))).value(Tag.LIFE)
    demand(life is not None, "the answer has no element 9")
    demand(len(life or b"") == 4, f"element 9 has {len(life or b'')} octets")  # noqa: PLR2004  as the demand says
    seconds = int.from_bytes(life or b"", "big")
    demand(seconds, "its life is 0")
    return f"{seconds} seconds"


@check(
    "tvs.answer.life-86400",
    Standing.OBSERVED,
    "that life is 86 400 seconds",
    TRACE,
)
async def answer_life_value(target: TvsTarget, seen: Timeline) -> str:
    """Compare it."""
    life = (await ask(target, seen, query(describe(known_of(target))))).value(Tag.LIFE) or b""
    demand(int.from_bytes(life, "big") == LIFE_SECONDS, f"element 9 is {life.hex() or 'missing'}")
    return "86400"


@check(
    "tvs.answer.status-1",
    Standing.ASSUMED,
    "a negative answer has element 7 with the value 1",
    "what the open TVS server sends and phones take; no octets of CUCM are public",
)
async def negative_status(target: TvsTarget, seen: Timeline) -> str:
    """Look at both negative answers."""
    for octets in (verify(target.unknown), query(target.stranger)):
        answer = await ask(target, seen, octets)
        demand(answer.status == 1, answer.text)
    return "status 1"


@check(
    "tvs.answer.order",
    Standing.ASSUMED,
    "a positive query answer has the elements 7, 2, 8, 9 in that order",
    "Cisco document 213407 shows 7 and 2; the order of 8 and 9 is not shown",
)
async def element_order(target: TvsTarget, seen: Timeline) -> str:
    """Look at it."""
    answer = await ask(target, seen, query(describe(known_of(target))))
    order = [tag for tag, _ in answer.elements]
    demand(order == [Tag.STATUS, Tag.CERTIFICATE, Tag.ROLES, Tag.LIFE], f"the order is {order}")
    return "7, 2, 8, 9"


@check(
    "tvs.client.no-certificate",
    Standing.REQUIRED,
    "a client that shows no certificate of its own is served",
    "peers do not ask for one; CUCM was not seen to (Cisco document 213407)",
)
async def no_certificate(target: TvsTarget, seen: Timeline) -> str:
    """Ask without one; every check does."""
    return (await ask(target, seen, verify(target.unknown))).text


CHECKS = checks_in(globals())
