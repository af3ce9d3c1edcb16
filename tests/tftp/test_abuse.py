"""Many at once who mean no good: others are served, and nothing grows without bound."""

import os
import resource
import socket
import struct
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from tests.tftp.conftest import phone, serving
from tftp.content import Octets
from tftp.frames import Frames
from tftp.limits import Limits
from tftp.ports import PORTS

DATA_1 = b"\0\3\0\1"
IP_PKTINFO = 8  # linux/in.h
LIMITS = Limits(max_transfers=1500)


async def test_a_flood_from_one_address_keeps_nobody_else_waiting(folder):
    limits = Limits(max_requests_per_second=300)
    async with serving(folder, limits=limits) as service, phone(service, "127.0.0.9") as other:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
            flood.connect((service.host, service.port))
            for burst in range(8):
                for number in range(500):
                    flood.send(b"\0\1%d-%d\0octet\0" % (burst, number))
                assert (await other.rrq(b"one"))[:4] == DATA_1
                await other.tell(b"\0\4\0\1")
        flooded = await service.event(event="tftp.flood")
        assert flooded["peer"].startswith("127.0.0.1:")


@contextmanager
def all_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    ("options", "descriptors_each"),
    [
        (b"", 0),  # a short file is at hand whole, and closed
        (b"windowsize\x004\0", 2),  # a socket, and the file until the first answer
    ],
)
async def test_half_open_transfers_are_bounded_and_what_runs_goes_on(
    folder, options, descriptors_each
):
    """Each from an address of its own, as whoever forges them would write."""
    with all_descriptors():
        async with (
            serving(folder, limits=LIMITS) as service,
            phone(service, "127.0.0.9") as other,
        ):
            await other.rrq(b"config")
            block = await other.ack(1)
            memory, descriptors = resident_bytes(), open_descriptors()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
                forger.bind(("0.0.0.0", 0))
                for number in range(2000):
                    source = struct.pack("=I4s4s", 0, struct.pack(">I", 0x7F010000 + number), b"")
                    forger.sendmsg(
                        [b"\0\1config\0octet\0" + options],
                        [(socket.IPPROTO_IP, IP_PKTINFO, source)],
                        0,
                        (service.host, service.port),
                    )
                    if number % 256 == 0:
                        await trio.lowlevel.checkpoint()
                while len(block) == 516:  # what was running goes on
                    number = int.from_bytes(block[2:4], "big") + 1
                    while block[2:4] != number.to_bytes(2, "big"):  # a copy, while it waited
                        block = await other.ack(number - 1)
                most = descriptors_each * LIMITS.max_transfers
                assert most / 2 <= open_descriptors() - descriptors <= most + PORTS
                assert resident_bytes() - memory < 16 << 20


def test_peers_with_a_blksize_of_their_own_each_do_not_fill_the_memory():
    frames, content = Frames(kept_bytes=1 << 20), Octets(bytes(1 << 20), key=0)
    held = []
    for blksize in range(600, 2600):
        frames.transfers = len(held)
        held.append(frames.piece(content, blksize, 1, windowed=False))
    assert sum(piece.octets for piece in held) < 64 << 20


@pytest.mark.parametrize("blksize", [8, 512, 20_000])
def test_a_file_is_whole_however_many_others_come_and_go(blksize):
    frames, octets = Frames(), os.urandom(600_000)
    content = Octets(octets, key=0)
    sent, block = bytearray(), 1
    while block <= len(octets) // blksize + 1:
        frames.transfers = 5000 - frames.transfers
        piece = frames.piece(content, blksize, block, windowed=False)
        assert piece.first <= block <= piece.last
        rest = piece.frames[block - piece.first :]
        some = rest[: len(rest) // 2 + 1]  # it goes on with another piece before this one's end
        sent += b"".join(frame[4:] for frame in some)
        block += len(some)
    assert sent == octets
