"""TFTP checks: plain transfers and their modes (RFC 1350, 764)."""

import socket

import trio

from lab.conformance.model import (
    Ruling,
    Standing,
    Timeline,
    check,
    checks_in,
    demand,
    fail,
    inapplicable,
    untold,
)
from lab.conformance.tftp_wire import (
    DEFAULT_BLOCK,
    MAX_DATAGRAM,
    Datagram,
    Known,
    Opcode,
    TftpTarget,
    Transfer,
    acknowledgement,
    client,
    fetch,
    request,
    shown,
)

AT_ONCE = 8


def same(got: bytes | bytearray, known: Known) -> None:
    """Fail unless ``got`` is the known content, where it is known."""
    if known.content is None or got == known.content:
        return
    if len(got) != len(known.content):
        fail(f"{len(got)} octets of {known.name} came, its copy has {len(known.content)}")
    pairs = enumerate(zip(got, known.content, strict=True))
    at = next(at for at, (came, copy) in pairs if came != copy)
    fail(f"{known.name} differs from its copy at octet {at}")


@check(
    "tftp.rrq.octet",
    Standing.REQUIRED,
    "a file comes whole, in blocks of 512 octets numbered from 1, the last one shorter",
    "RFC 1350 sections 2, 5, 6",
)
async def whole_file(target: TftpTarget, seen: Timeline) -> str:
    """Read the known file without options."""
    transfer = await fetch(target, seen, target.file.name)
    demand(transfer.granted is None, "an OACK came although no option was asked for")
    same(transfer.payload, target.file)
    compared = "as its copy" if target.file.content is not None else "no copy to compare with"
    return f"{transfer.blocks} blocks, {len(transfer.payload)} octets, {compared}"


@check(
    "tftp.rrq.block-512",
    Standing.REQUIRED,
    "without the blksize option every block but the last has 512 octets",
    "RFC 1350 section 2",
)
async def blocks_of_512(target: TftpTarget, seen: Timeline) -> str:
    """Look at the first two blocks."""
    async with client(target, seen) as opened:
        first = await opened.begin(target.file.name)
        demand(first.number == 1, f"the first block has number {first.number}")
        demand(
            len(first.payload) <= DEFAULT_BLOCK, f"the first block has {len(first.payload)} octets"
        )
        if len(first.payload) < DEFAULT_BLOCK:
            opened.finished = True
            await opened.send(acknowledgement(1))
            inapplicable(f"not observed: {target.file.name} has one block only")
        return "the first block has 512 octets"


@check(
    "tftp.rrq.new-tid",
    Standing.RECOMMENDED,
    "a transfer runs from a port of its own, not from the service port",
    "RFC 1350 section 4",
)
async def own_port(target: TftpTarget, seen: Timeline) -> str:
    """Compare the port of the first DATA with the service port."""
    async with client(target, seen) as opened:
        first = await opened.begin(target.file.name)
        demand(first.source[1] != target.address[1], "DATA comes from the service port itself")
        return f"DATA comes from port {first.source[1]}"


@check(
    "tftp.rrq.empty",
    Standing.REQUIRED,
    "an empty file is one DATA block of no octets",
    "RFC 1350 section 6",
)
async def empty_file(target: TftpTarget, seen: Timeline) -> str:
    """Read the empty file."""
    if target.empty is None:
        inapplicable("not observed: no empty file was named (--empty NAME)")
    transfer = await fetch(target, seen, target.empty)
    demand(not transfer.payload, f"{len(transfer.payload)} octets came")
    demand(transfer.blocks == 1, f"{transfer.blocks} blocks came")
    return "one block of no octets"


@check(
    "tftp.rrq.exact-multiple",
    Standing.REQUIRED,
    "a file that is a multiple of the block size ends with a block of no octets",
    "RFC 1350 section 6",
)
async def exact_multiple(target: TftpTarget, seen: Timeline) -> str:
    """Read a file of n times 512 octets."""
    known = target.exact
    if known is None:
        inapplicable("not observed: no such file was named (--exact NAME)")
    transfer = await fetch(target, seen, known.name)
    same(transfer.payload, known)
    if len(transfer.payload) % DEFAULT_BLOCK:
        inapplicable(f"not observed: {known.name} has {len(transfer.payload)} octets")
    return f"{len(transfer.payload)} octets came in {transfer.blocks} blocks, the last one empty"


@check(
    "tftp.mode.case",
    Standing.REQUIRED,
    "the mode is understood in any mixture of upper and lower case",
    "RFC 1350 section 5",
)
async def mode_case(target: TftpTarget, seen: Timeline) -> str:
    """Ask with mode OcTeT."""
    transfer = await fetch(target, seen, target.file.name, "OcTeT")
    same(transfer.payload, target.file)
    return "OcTeT is octet"


@check(
    "tftp.mode.netascii",
    Standing.RECOMMENDED,
    "in netascii a line end is CR LF and a lone CR is CR NUL, across block borders too",
    "RFC 1350 section 1, RFC 764 page 11",
)
async def netascii(target: TftpTarget, seen: Timeline) -> str:
    """Read a text in netascii, plainly and with block sizes that cut the pairs apart."""
    known = target.text or target.file
    if known.content is None:
        inapplicable("not observed: no copy of a text was given (--text NAME=COPY)")
    if b"\n" not in known.content and b"\r" not in known.content:
        inapplicable(f"not observed: {known.name} has neither CR nor LF")
    expected = Known(known.name, known.content.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n"))
    cuts = ((), *((("blksize", str(size)),) for size in range(8, 12)))
    for options in cuts:
        transfer = await fetch(target, seen, known.name, "netascii", options)
        same(transfer.payload, expected)
    return f"{len(expected.content or b'')} octets as RFC 764 writes them"


@check(
    "tftp.mode.unknown",
    Standing.RECOMMENDED,
    "a request in a mode that does not exist is answered with an ERROR",
    "RFC 1350 sections 5, 7",
)
async def unknown_mode(target: TftpTarget, seen: Timeline) -> str:
    """Ask with mode x-trustlab."""
    return await _refused(target, seen, "x-trustlab")


@check(
    "tftp.mode.mail",
    Standing.RECOMMENDED,
    "a read in the obsolete mode mail is answered with an ERROR",
    "RFC 1350 section 1",
)
async def mail_mode(target: TftpTarget, seen: Timeline) -> str:
    """Ask with mode mail."""
    return await _refused(target, seen, "mail")


async def _refused(target: TftpTarget, seen: Timeline, mode: str) -> str:
    async with client(target, seen) as opened:
        await opened.send(request(Opcode.RRQ, target.file.name, mode))
        answer = await opened.receive(target.patience_seconds)
        if answer is None:
            fail("the request was met with silence")
        opened.tid, opened.finished = answer.source, answer.opcode == Opcode.ERROR
        demand(answer.opcode == Opcode.ERROR, f"the answer was {answer.text}")
        return answer.text


@check(
    "tftp.block.wrap",
    Standing.RECOMMENDED,
    "after block 65 535 comes block 0, and the rest of the file is right",
    "practice of the servers in use; no RFC says it",
)
async def block_wrap(target: TftpTarget, seen: Timeline) -> str:
    """Read a file of more than 65 535 blocks, with the smallest blocks that the server grants."""
    if target.big is None:
        inapplicable("not observed: no large file was named (--big NAME)")
    return await trio.to_thread.run_sync(
        _read_beyond_wrap, target, target.big, seen, abandon_on_cancel=True
    )


def _read_beyond_wrap(target: TftpTarget, known: Known, seen: Timeline) -> str:
    """Plain blocking calls: 65 536 round trips are slow enough without a scheduler between them."""
    family = socket.AF_INET6 if ":" in target.address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as plain:
        plain.settimeout(target.patience_seconds)
        asked = request(Opcode.RRQ, known.name, options=(("blksize", "8"),))
        seen.sent(asked, target.label)
        plain.sendto(asked, target.address)
        expected, last_block, transfer, peer = 1, False, Transfer(), None
        while not last_block:
            try:
                octets, name = plain.recvfrom(MAX_DATAGRAM)
            except TimeoutError:
                if peer is None:
                    untold(f"no answer within {target.patience_seconds:g} seconds")
                fail(f"after block {expected - 1} nothing came any more")
            peer = peer or name
            if name != peer:
                continue  # another port's: see tftp_wire.Client.receive
            if expected <= 3 or expected % 65_536 < 3:  # noqa: PLR2004  the start and both sides of the wrap
                seen.received(octets, shown((str(name[0]), int(name[1]))))
            found = Datagram(octets, name)
            if found.opcode == Opcode.OACK:
                transfer.granted = found.options
                plain.sendto(acknowledgement(0), name)
                continue
            if found.opcode != Opcode.DATA:
                fail(f"after block {expected - 1} came {found.text}")
            if found.number == (expected - 1) % 65_536 and expected > 1:
                continue  # a repeat of the block before: the ACK for it is on its way
            demand(
                found.number == expected % 65_536,
                f"DATA {found.number} came where block {expected} was due",
            )
            transfer.payload += found.payload
            last_block = len(found.payload) < transfer.block_size
            plain.sendto(acknowledgement(expected), name)
            expected += 1
    same(transfer.payload, known)
    blocks = expected - 1
    if blocks < 65_536:  # noqa: PLR2004  where the wrap is
        inapplicable(f"not observed: {known.name} came in {blocks} blocks, no wrap")
    return f"{blocks} blocks of {transfer.block_size} octets, 0 after 65535"


@check(
    "tftp.concurrent",
    Standing.RECOMMENDED,
    f"{AT_ONCE} clients at once get the same octets",
    "RFC 1350 section 4",
)
async def concurrent(target: TftpTarget, seen: Timeline) -> str:
    """Several reads side by side."""
    got: list[bytes] = []
    rulings: list[Ruling] = []

    async def one() -> None:
        try:
            got.append(bytes((await fetch(target, seen, target.file.name)).payload))
        except Ruling as ruling:
            rulings.append(ruling)

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(one)
    if rulings:
        raise rulings[0]
    for payload in got:
        same(payload, Known(target.file.name, target.file.content or got[0]))
    return f"{len(got)} equal reads"


@check(
    "tftp.ipv6",
    Standing.RECOMMENDED,
    "the server answers over IPv6 as well",
    "RFC 8200; phones take IPv6 addresses of TFTP servers",
)
async def ipv6(target: TftpTarget, seen: Timeline) -> str:
    """Read the known file over IPv6."""
    if target.ipv6 is None:
        inapplicable("not observed: no IPv6 address was named (--ipv6 ADDRESS)")
    transfer = await fetch(target, seen, target.file.name, service=target.ipv6)
    same(transfer.payload, target.file)
    return f"{len(transfer.payload)} octets from {shown(target.ipv6)}"


CHECKS = checks_in(globals())
