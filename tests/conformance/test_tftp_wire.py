"""The TFTP suite's own client: whom it hears."""

import socket
from collections.abc import Iterator

import pytest
import trio

from lab.conformance import tftp_extensions, tftp_hostile, tftp_transfers
from lab.conformance.model import Ruling, Timeline, Verdict
from lab.conformance.tftp_wire import Known, Opcode, TftpTarget, Transfer, client, still_serves

SECONDS = 10.0  # nothing here waits so long


@pytest.fixture
def ports() -> Iterator[list[socket.socket]]:
    """Two ports of one server."""
    opened = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for port in opened:
        port.bind(("127.0.0.1", 0))
        port.setblocking(False)
    yield opened
    for port in opened:
        port.close()


def data(block: int) -> bytes:
    return Opcode.DATA.to_bytes(2) + block.to_bytes(2) + bytes(512)


@pytest.mark.parametrize(("any_port", "heard"), [(False, 2), (True, 9)])
async def test_only_the_port_that_answered_is_heard_unless_asked_for(ports, any_port, heard):
    """Another port of the server may be repeating what a client of before did not take."""
    ours, other = ports
    seen = Timeline()
    target = TftpTarget(ours.getsockname(), Known("x"))
    async with client(target, seen) as opened, trio.open_nursery() as nursery:
        nursery.start_soon(opened.begin, "x")
        await trio.lowlevel.wait_readable(ours)
        _, asker = ours.recvfrom(600)
        ours.sendto(data(1), asker)
        while opened.tid is None:
            await trio.lowlevel.checkpoint()
        other.sendto(data(9), asker)
        ours.sendto(data(2), asker)
        found = await opened.receive(SECONDS, any_port=any_port)
        assert found is not None
        assert found.number == heard
    assert any("elsewhere" in moment.text for moment in seen.moments) is not any_port


@pytest.mark.parametrize("granted", ["", "abc", "0", "-8", "9" * 5000, "\u00b2"])
def test_nonsense_that_a_server_grants_is_a_failure_and_no_error_of_ours(granted):
    for size in (Transfer.block_size, Transfer.window):
        with pytest.raises(Ruling, match="was granted") as told:
            size.fget(Transfer(granted={"blksize": granted, "windowsize": granted}))
        assert told.value.verdict is Verdict.FAIL


async def test_a_server_that_a_check_ended_fails_it_and_one_ended_before_tells_nothing(ports):
    target = TftpTarget(ports[0].getsockname(), Known("x"), patience_seconds=0.05)
    with pytest.raises(Ruling, match="after that") as after:
        await still_serves(target, Timeline())
    with pytest.raises(Ruling, match="no answer") as before:
        await tftp_hostile.short.probe(target, Timeline())
    assert (after.value.verdict, before.value.verdict) == (Verdict.FAIL, Verdict.INCONCLUSIVE)


@pytest.mark.parametrize(
    ("answers", "patience", "verdict"),
    [(False, 0.2, Verdict.INCONCLUSIVE), (True, 1.5, Verdict.FAIL)],
)
async def test_a_long_file_that_breaks_off_is_a_failure_and_a_silent_server_is_not(
    ports, answers, patience, verdict
):
    ours, _ = ports
    target = TftpTarget(ours.getsockname(), Known("x"), big=Known("big"), patience_seconds=patience)
    with pytest.RaisesGroup(Ruling) as told:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tftp_transfers.block_wrap.probe, target, Timeline())
            await trio.lowlevel.wait_readable(ours)
            _, asker = ours.recvfrom(600)
            if answers:
                ours.sendto(data(1), asker)
    assert told.value.exceptions[0].verdict is verdict


async def test_an_error_of_tftpys_own_is_a_failure(ports):
    """It takes a datagram of three octets apart without a look at its length."""
    ours, _ = ports
    target = TftpTarget(ours.getsockname(), Known("x"))
    with pytest.RaisesGroup(pytest.RaisesExc(Ruling, match="tftpy: ")):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tftp_hostile.tftpy_plain.probe, target, Timeline())
            await trio.lowlevel.wait_readable(ours)
            _, asker = ours.recvfrom(600)
            ours.sendto(b"\0\3\0", asker)


@pytest.mark.parametrize(("repeats", "passes"), [(0, True), (2, True), (3, False)])
async def test_a_window_that_is_being_repeated_is_not_the_answer_to_an_ack_inside_it(
    ports, repeats, passes
):
    """What every transfer does is the server's way."""
    ours, _ = ports
    octets = bytes(5 * 64 + 1)
    blocks = [b"\0\3" + n.to_bytes(2) + octets[(n - 1) * 64 : n * 64] for n in range(1, 7)]

    async def receive(begin: bytes) -> tuple[str, int]:
        while True:
            await trio.lowlevel.wait_readable(ours)
            datagram, asker = ours.recvfrom(600)
            if datagram.startswith(begin):
                return asker

    async def serve() -> None:
        for transfer in range(3):
            asker = await receive(b"\0\1")
            ours.sendto(b"\0\6blksize\x0064\0windowsize\x004\0", asker)
            await receive(b"\0\4\0\0")
            begins = [0, 0, 2] if transfer < repeats else [0, 2]
            for begin in begins:
                for block in blocks[begin : begin + 4]:
                    ours.sendto(block, asker)

    target = TftpTarget(ours.getsockname(), Known("x", octets))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        if passes:
            assert await tftp_extensions.window_rollback.probe(target, Timeline()) == (
                "went on with block 3"
            )
        else:
            with pytest.raises(Ruling, match="DATA 1 of 64 octets came"):
                await tftp_extensions.window_rollback.probe(target, Timeline())
        nursery.cancel_scope.cancel()
