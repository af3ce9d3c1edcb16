"""TFTP checks: errors, writes, names outside the root, malformed datagrams; a second client."""

import io
from functools import partial

import trio

from lab.conformance.model import (
    Standing,
    Timeline,
    check,
    checks_in,
    demand,
    fail,
    inapplicable,
    untold,
)
from lab.conformance.tftp_transfers import same
from lab.conformance.tftp_wire import (
    Code,
    Opcode,
    TftpTarget,
    client,
    error,
    fetch,
    request,
    still_serves,
)

AT_ONCE_SECONDS = 1.0
QUIET_SECONDS = 0.7
ENDED_SECONDS = 2.5
WRITTEN_NAME = "trustlab-conformance-write.tmp"
LARGEST_PAYLOAD = 65_507  # octets of a UDP datagram over IPv4
# Spellings of a file outside any root; it exists on every Unix system.
OUTSIDE = (
    b"/etc/passwd",
    b"//etc/passwd",
    b"../etc/passwd",
    b"../../../../../../../../etc/passwd",
    b"/../../../../../../../../etc/passwd",
    b"./../../../../../../../../etc/passwd",
    b"....//....//....//....//etc/passwd",
    b"..\\..\\..\\..\\..\\..\\etc\\passwd",
    b"\\etc\\passwd",
    b"%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    b"..%2f..%2f..%2f..%2fetc/passwd",
    b"..%c0%af..%c0%af..%c0%af..%c0%afetc/passwd",
    b"\xc0\xae\xc0\xae/\xc0\xae\xc0\xae/\xc0\xae\xc0\xae/etc/passwd",
    b"\xc0\xae\xc0\xae\xc0\xaf\xc0\xae\xc0\xae\xc0\xafetc\xc0\xafpasswd",
    b"\xef\xbc\x8e\xef\xbc\x8e/\xef\xbc\x8e\xef\xbc\x8e/etc/passwd",
    b"nowhere/../../../../../../../etc/passwd",
    b"/proc/self/root/etc/passwd",
    b"/proc/self/environ",
    b"file:///etc/passwd",
    b"~root/../etc/passwd",
)
FOLDERS = (b".", b"..", b"/", b"./")


@check(
    "tftp.error.not-found",
    Standing.REQUIRED,
    "a file that is not there is answered with ERROR 1",
    "RFC 1350 appendix",
)
async def not_found(target: TftpTarget, seen: Timeline) -> str:
    """Ask for a missing file."""
    async with client(target, seen) as opened:
        answer = await opened.ask(request(Opcode.RRQ, target.missing))
        demand(
            answer.opcode == Opcode.ERROR and answer.number == Code.NOT_FOUND,
            f"the answer was {answer.text}",
        )
        return answer.text


@check(
    "tftp.error.at-once",
    Standing.RECOMMENDED,
    f"that ERROR comes within {AT_ONCE_SECONDS:g} second: phones whose server is silent loop",
    "reports of 7961G phones that ask for a missing CTL (2008)",
)
async def error_at_once(target: TftpTarget, seen: Timeline) -> str:
    """Ask for a missing CTL of a phone."""
    async with client(target, seen) as opened:
        await opened.send(request(Opcode.RRQ, "CTLSEP000000000000.tlv"))
        answer = await opened.receive(AT_ONCE_SECONDS)
        if answer is None:
            fail(f"no answer within {AT_ONCE_SECONDS:g} second")
        opened.tid, opened.finished = answer.source, answer.opcode == Opcode.ERROR
        return f"{answer.text.split(' “')[0]} after {seen.milliseconds} milliseconds"


@check(
    "tftp.error.never-answered",
    Standing.REQUIRED,
    "an ERROR is never answered, at the service port neither",
    "RFC 1350 sections 5, 7",
)
async def error_not_answered(target: TftpTarget, seen: Timeline) -> str:
    """Send an ERROR to the service port."""
    async with client(target, seen) as opened:
        await opened.send(error(Code.UNDEFINED, "out of the blue"))
        answer = await opened.receive(QUIET_SECONDS)
        demand(answer is None, f"the ERROR was answered with {answer.text if answer else ''}")
    await still_serves(target, seen)
    return "silence, and the server goes on"


@check(
    "tftp.error.ends-transfer",
    Standing.REQUIRED,
    "an ERROR from the client ends the transfer: no DATA comes after it",
    "RFC 1350 sections 2, 7",
)
async def error_ends(target: TftpTarget, seen: Timeline) -> str:
    """Send an ERROR after the first DATA and wait longer than a timer."""
    async with client(target, seen) as opened:
        await opened.begin(target.file.name)
        await opened.send(error(Code.UNDEFINED, "enough"))
        opened.finished = True
        after = await opened.receive(ENDED_SECONDS)
        demand(after is None, f"{after.text if after else ''} came after the ERROR")
        return f"silence for {ENDED_SECONDS:g} seconds"


@check(
    "tftp.write.policy",
    Standing.RECOMMENDED,
    "a write request is answered: with an ERROR where writes are refused, else with ACK 0",
    "RFC 1350 section 4; a server for phones has nothing to be written",
)
async def write_policy(target: TftpTarget, seen: Timeline) -> str:
    """Ask to write a file that is not there."""
    async with client(target, seen) as opened:
        await opened.send(request(Opcode.WRQ, WRITTEN_NAME))
        answer = await opened.receive(target.patience_seconds)
        if answer is None:
            fail("the write request was met with silence")
        opened.tid, opened.finished = answer.source, answer.opcode == Opcode.ERROR
        wanted = Opcode.ERROR if target.writes_refused else Opcode.ACK
        demand(answer.opcode == wanted, f"the answer was {answer.text}")
        return answer.text


@check(
    "tftp.path.outside",
    Standing.REQUIRED,
    "no spelling of a name reaches a file outside the root",
    "CWE-22; RFC 1350 section 1 (a server gives what it chooses to give)",
)
async def outside(target: TftpTarget, seen: Timeline) -> str:
    """Ask for /etc/passwd and its like in many spellings, with no answer as good as an ERROR."""
    await _nothing_given(target, seen, OUTSIDE)
    await still_serves(target, seen)
    return f"{len(OUTSIDE)} spellings, nothing given"


@check(
    "tftp.path.folder",
    Standing.RECOMMENDED,
    "the name of a folder is answered with an ERROR, not with a file of no octets",
    "RFC 1350 appendix",
)
async def folder(target: TftpTarget, seen: Timeline) -> str:
    """Ask for the root itself and the folder above it."""
    await _nothing_given(target, seen, FOLDERS)
    return f"{len(FOLDERS)} names, nothing given"


async def _nothing_given(target: TftpTarget, seen: Timeline, names: tuple[bytes, ...]) -> None:
    given = []
    for name in names:
        async with client(target, seen) as opened:
            await opened.send(request(Opcode.RRQ, name))
            answer = await opened.receive(QUIET_SECONDS)
            if answer is None:
                continue
            opened.tid, opened.finished = answer.source, answer.opcode == Opcode.ERROR
            if answer.opcode in {Opcode.DATA, Opcode.OACK}:
                given.append(f"{name.decode('ascii', 'backslashreplace')} ({answer.text})")
    demand(not given, f"the server gave {', '.join(given)}")


@check(
    "tftp.hostile.short",
    Standing.REQUIRED,
    "datagrams of no to three octets harm nobody",
    "RFC 1122 section 1.2.2 (robustness)",
)
async def short(target: TftpTarget, seen: Timeline) -> str:
    """Send them and ask for the known file."""
    shorts = (b"", b"\0", b"\0\1", b"\0\1x", b"\0\3\0", b"\0\4\0", b"\0\5\0", b"\0\6\0")
    return await _harmless(target, seen, shorts)


@check(
    "tftp.hostile.unterminated",
    Standing.REQUIRED,
    "requests without NUL, mode or option value harm nobody",
    "RFC 1122 section 1.2.2 (robustness)",
)
async def unterminated(target: TftpTarget, seen: Timeline) -> str:
    """Send them and ask for the known file."""
    name = target.file.name.encode()
    return await _harmless(
        target,
        seen,
        (
            b"\0\1" + name,
            b"\0\1" + name + b"\0",
            b"\0\1" + name + b"\0octet",
            b"\0\1\0\0",
            b"\0\1\0octet\0",
            b"\0\1" + name + b"\0octet\0blksize\0",
            b"\0\1" + name + b"\0octet\0blksize",
            b"\0\1" + name + b"\0octet\0\0\0\0\0",
            b"\0\1" + b"\xff" * 40 + b"\0\xff\xfe\0",
        ),
    )


@check(
    "tftp.hostile.opcode",
    Standing.REQUIRED,
    "opcodes that do not exist, or do not begin a transfer, harm nobody",
    "RFC 1350 section 5; RFC 1122 section 1.2.2 (robustness)",
)
async def opcodes(target: TftpTarget, seen: Timeline) -> str:
    """Send them and ask for the known file."""
    octets = tuple(
        opcode.to_bytes(2, "big") + b"\0\1" + b"x\0octet\0"
        for opcode in (0, 3, 4, 6, 7, 9, 255, 65_535)
    )
    return await _harmless(target, seen, octets)


@check(
    "tftp.hostile.oversize",
    Standing.REQUIRED,
    "names, modes and datagrams of great length harm nobody",
    "CVE-2009-2957 and its kind; RFC 1122 section 1.2.2 (robustness)",
)
async def oversize(target: TftpTarget, seen: Timeline) -> str:
    """Send them and ask for the known file."""
    long = "A" * 2000
    options = tuple((f"option{number}", "x" * 60) for number in range(200))
    return await _harmless(
        target,
        seen,
        (
            request(Opcode.RRQ, "A" * 300),
            request(Opcode.RRQ, long),
            request(Opcode.RRQ, "a/" * 2000),
            request(Opcode.RRQ, target.file.name, long),
            request(Opcode.RRQ, target.file.name, "octet", (("blksize", "9" * 1000),)),
            request(Opcode.RRQ, target.file.name, "octet", options),
            b"\0\1" + b"A" * (LARGEST_PAYLOAD - 2),
        ),
    )


async def _harmless(target: TftpTarget, seen: Timeline, datagrams: tuple[bytes, ...]) -> str:
    async with client(target, seen) as opened:  # a server that others have ended tells nothing
        await opened.begin(target.file.name)
    for octets in datagrams:
        async with client(target, seen) as opened:
            await opened.send(octets)
            answer = await opened.receive(0.05)
            if answer is not None:
                opened.tid, opened.finished = answer.source, answer.opcode == Opcode.ERROR
    await still_serves(target, seen)
    return f"after {len(datagrams)} such datagrams the known file is still given"


@check(
    "tftp.peer.tftpy",
    Standing.RECOMMENDED,
    "tftpy, an independent client, reads the same octets",
    "tftpy 0.8",
)
async def tftpy_plain(target: TftpTarget, seen: Timeline) -> str:
    """Read with tftpy and compare with our own read."""
    return await _tftpy(target, seen, {})


@check(
    "tftp.peer.tftpy-options",
    Standing.RECOMMENDED,
    "tftpy with blksize and tsize reads the same octets",
    "tftpy 0.8",
)
async def tftpy_options(target: TftpTarget, seen: Timeline) -> str:
    """Read with tftpy, options asked for."""
    return await _tftpy(target, seen, {"blksize": 1024, "tsize": 0})


async def _tftpy(target: TftpTarget, seen: Timeline, options: dict[str, int]) -> str:
    try:
        import tftpy  # noqa: PLC0415  a peer of the test extra: its absence is one inconclusive check
    except ImportError:
        untold("tftpy is not installed (it comes with the extra trustlab[test])")
    if ":" in target.address[0]:
        inapplicable("tftpy does not speak IPv6")
    host, port = target.address
    peer = tftpy.TftpClient(host, port, options, localip="")
    taken = io.BytesIO()
    try:
        await trio.to_thread.run_sync(
            partial(peer.download, target.file.name, taken), abandon_on_cancel=True
        )
    except OSError:
        raise
    except Exception as problem:  # noqa: BLE001  whatever it makes of hostile octets
        fail(f"tftpy: {problem}")
    seen.note(f"tftpy read {len(taken.getvalue())} octets")
    own = await fetch(target, seen, target.file.name)
    demand(taken.getvalue() == own.payload, "tftpy's octets differ from ours")
    same(own.payload, target.file)
    return f"{len(own.payload)} octets, the same by both"


CHECKS = checks_in(globals())
