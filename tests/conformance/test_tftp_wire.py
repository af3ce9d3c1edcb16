"""The TFTP suite's own client: whom it hears."""

import socket
from collections.abc import Iterator

import pytest
import trio

from lab.conformance.model import Timeline
from lab.conformance.tftp_wire import Known, Opcode, TftpTarget, client

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
