"""The pure core over a network that loses, repeats, reorders and delays, against a model.

The model is one sentence: the receiver holds a prefix of the content at any time, and at the end
both sides say done and it holds all, or a side says why not.
"""

import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tftp.content import Octets
from tftp.frames import Frames
from tftp.options import grant
from tftp.packets import Opcode, Request, parse_request
from tftp.receiver import Receiver
from tftp.sender import Sender
from tftp.transfer import Ending

STEPS = 50_000


class Link:
    """Both ends of a transfer and the datagrams between them; time is a number."""

    def __init__(self, size, *, blksize, windowsize, upload, rollover=0):
        self.content = random.Random(size).randbytes(size)
        self.taken = bytearray()
        self.now = 0.0
        self.flying: list[tuple[str, bytes]] = []
        options = {}
        if blksize != 512:
            options["blksize"] = str(blksize)
        if windowsize != 1:
            options["windowsize"] = str(windowsize)
        source = Frames(rollover=rollover)
        octets = Octets(self.content, key=size)
        opcode = Opcode.WRQ if upload else Opcode.RRQ
        request = Request(opcode, "file", "octet", options)
        terms = grant(options, max_blksize=65464, max_windowsize=64, size=None)
        if upload:
            self.client = self.sender = Sender(source, octets, request=request)
            self.receiver = Receiver(self.taken.extend, max_bytes=1 << 30, terms=terms)
            self.server = self.receiver
        else:
            self.client = self.receiver = Receiver(
                self.taken.extend, max_bytes=1 << 30, request=request
            )
            self.server = self.sender = Sender(source, octets, terms=terms)
        self.opened = False
        self.send("server", self.client.start(0.0))

    def end(self, name):
        return self.client if name == "client" else self.server

    def send(self, to, burst):
        """Put a burst on the wire, cut as the kernel cuts it."""
        if isinstance(burst, bytes):
            if burst:
                self.flying.append((to, burst))
            return
        for at in range(0, len(burst), self.sender.segment):
            self.flying.append((to, bytes(burst[at : at + self.sender.segment])))

    def deliver(self, index):
        to, datagram = self.flying.pop(index)
        back = "client" if to == "server" else "server"
        if datagram[:2] in {b"\0\1", b"\0\2"}:
            parse_request(datagram)
            if not self.opened:
                self.opened = True
                self.send(back, self.server.start(self.now))
            elif self.server is self.sender:
                self.send(back, self.sender.again(self.now))
            return
        self.send(back, self.end(to).receive(datagram, self.now))

    def wait(self):
        """Let the nearest deadline pass."""
        ends = [("server", self.client)]
        if self.opened:
            ends.append(("client", self.server))
        alive = [(end.deadline, to, end) for to, end in ends if end.outcome is None]
        if not alive:
            return
        due, to, end = min(alive, key=lambda each: each[0])
        self.now = max(self.now, due)
        self.send(to, end.timeout(self.now))

    @property
    def over(self):
        return self.client.outcome is not None and (
            not self.opened or self.server.outcome is not None
        )

    def finish(self, choose):
        """Run to the end; ``choose(link)`` answers which datagram arrives, or None to lose time."""
        for _ in range(STEPS):
            if self.over:
                return
            index = choose(self)
            if index is None:
                self.wait()
            else:
                self.deliver(index)
        raise AssertionError("the transfer hangs")

    def check(self):
        assert self.content.startswith(bytes(self.taken))
        if self.receiver.outcome is not None and self.receiver.outcome.ending is Ending.DONE:
            assert bytes(self.taken) == self.content
        if self.sender.outcome is not None and self.sender.outcome.ending is Ending.DONE:
            assert bytes(self.taken) == self.content


class LossyTransfer(RuleBasedStateMachine):
    """Every order of arrivals, losses, repetitions, garbage and waits that hypothesis thinks of."""

    @initialize(
        size=st.sampled_from([0, 1, 7, 8, 9, 64, 100, 129]),
        windowsize=st.sampled_from([1, 1, 2, 5]),
        upload=st.booleans(),
    )
    def open(self, size, windowsize, upload):
        self.link = Link(size, blksize=8, windowsize=windowsize, upload=upload)

    @rule(pick=st.integers(0, 1 << 16))
    def arrive(self, pick):
        if self.link.flying:
            self.link.deliver(pick % len(self.link.flying))

    @rule(pick=st.integers(0, 1 << 16))
    def lose(self, pick):
        if self.link.flying:
            del self.link.flying[pick % len(self.link.flying)]

    @rule(pick=st.integers(0, 1 << 16))
    def repeat(self, pick):
        if self.link.flying and len(self.link.flying) < 40:
            self.link.flying.append(self.link.flying[pick % len(self.link.flying)])

    @rule()
    def wait(self):
        self.link.wait()

    @rule(
        to=st.sampled_from(["client", "server"]),
        octets=st.binary(max_size=3)
        | st.sampled_from([b"\0\4\x7f\xff", b"\0\7", b"\0\1x\0octet\0"]),
    )
    def garbage(self, to, octets):
        if self.link.opened or to == "client":
            self.link.end(to).receive(octets, self.link.now)

    @invariant()
    def prefix(self):
        if hasattr(self, "link"):
            self.link.check()

    def teardown(self):
        """From any state a network that works again brings the transfer to its end."""
        if hasattr(self, "link"):
            self.link.finish(lambda link: 0 if link.flying else None)
            self.link.check()


LossyTransfer.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow],
)
test_lossy_transfer = LossyTransfer.TestCase


@pytest.mark.parametrize("windowsize", [1, 16])
@pytest.mark.parametrize("upload", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_a_bad_network_costs_time_and_no_byte(windowsize, upload, seed):
    chance = random.Random(seed)
    link = Link(60_000, blksize=1428, windowsize=windowsize, upload=upload)

    def choose(current):
        while current.flying and chance.random() < 0.1:
            current.flying.pop(chance.randrange(len(current.flying)))
        if not current.flying or chance.random() < 0.02:
            return None
        if chance.random() < 0.05:
            current.flying.append(current.flying[0])
        return chance.randrange(min(3, len(current.flying)))

    link.finish(choose)
    link.check()
    assert link.receiver.outcome.ending is Ending.DONE
    assert link.now < 60


@pytest.mark.parametrize("rollover", [0, 1])
@pytest.mark.parametrize("windowsize", [1, 64])
def test_files_pass_the_last_block_number(rollover, windowsize):
    size = 8 * 65_536 + 8003
    link = Link(size, blksize=8, windowsize=windowsize, upload=False, rollover=rollover)
    for _ in range(size):
        if not link.flying:
            break
        link.deliver(0)
    assert bytes(link.taken) == link.content
    assert link.sender.outcome.ending is Ending.DONE


def test_a_repeated_ack_sends_nothing():
    link = Link(3000, blksize=512, windowsize=1, upload=False)
    link.deliver(0)
    link.deliver(0)
    ack = link.flying[0][1]
    link.deliver(0)
    assert link.flying[-1][1][:4] == b"\0\3\0\2"
    assert link.sender.receive(ack, link.now) == b""


def test_at_most_three_copies_go_to_an_address_that_never_answered():
    link = Link(3000, blksize=512, windowsize=1, upload=False)
    link.deliver(0)
    link.client.gone()
    while link.server.outcome is None:
        link.wait()
    assert len(link.flying) == 3
    assert link.server.outcome.ending is Ending.TIMED_OUT
    assert link.now < 10


def test_a_lost_last_ack_keeps_the_sender_for_seconds_only():
    link = Link(100, blksize=512, windowsize=1, upload=True)
    link.deliver(0)
    link.deliver(0)
    link.deliver(0)
    link.flying.clear()
    while link.sender.outcome is None:
        link.now = link.sender.deadline
        link.sender.timeout(link.now)
    assert link.sender.outcome.ending is Ending.UNCONFIRMED
    assert link.now < 30


def test_a_window_gap_is_answered_at_once_and_once():
    link = Link(20 * 512, blksize=513, windowsize=8, upload=False)
    link.deliver(0)
    link.deliver(0)
    link.deliver(0)
    assert [datagram[3] for _, datagram in link.flying] == list(range(1, 9))
    again = link.sender.receive(b"\0\4\0\3", 0.0)
    assert bytes(again[:4]) == b"\0\3\0\4"
    assert link.sender.receive(b"\0\4\0\3", 0.0)[:4] == b"\0\3\0\4"
    assert link.sender.receive(b"\0\4\0\3", 0.0) == b""


@pytest.mark.parametrize("upload", [False, True])
def test_who_waits_inside_a_window_says_how_far_it_came(upload):
    link = Link(40 * 513, blksize=513, windowsize=8, upload=upload)
    while not [wire for _, wire in link.flying if wire[:2] == b"\0\3"]:
        link.deliver(0)
    link.now = 1.0
    for _ in range(5):
        link.deliver(0)
    assert link.receiver.deadline > 1.0  # what comes is no silence
    link.now = link.receiver.deadline
    assert link.receiver.timeout(link.now) == b"\0\4\0\5"  # lost
    for _ in range(3):
        link.deliver(0)
    repeated = [link.receiver.receive(b"\0\3\0%c" % block + bytes(513), 9.0) for block in (7, 8)]
    assert repeated == [b"", b"\0\4\0\x08"]
    link.finish(lambda link: 0 if link.flying else None)
    assert link.receiver.outcome.ending is Ending.DONE
    assert link.sender.octets == len(link.taken) == 40 * 513


@pytest.mark.parametrize("every", [3, 5, 7, 15])
def test_the_wait_stays_short_when_every_nth_block_is_lost(every):
    link = Link(400 * 512, blksize=512, windowsize=1, upload=False)
    sent, waits = 0, []
    while not link.over:
        if not link.flying:
            waits.append(link.sender.timer.seconds)
            link.wait()
            continue
        link.now += 0.001
        to, datagram = link.flying[0]
        sent += to == "client" and datagram[:2] == b"\0\3"
        if to == "client" and datagram[:2] == b"\0\3" and sent % every == 0:
            del link.flying[0]
        else:
            link.deliver(0)
    link.check()
    assert link.sender.outcome.ending is Ending.DONE
    assert max(waits) < 0.2


def count_data(link, choose):
    """Run ``link`` to its end; answers how many DATA arrived, repeated ones too."""
    arrived = 0

    def counted(current):
        nonlocal arrived
        index = choose(current)
        arrived += index is not None and current.flying[index][1][:2] == b"\0\3"
        return index

    link.finish(counted)
    link.check()
    assert link.sender.outcome.ending is Ending.DONE
    return arrived


@pytest.mark.parametrize("windowsize", [2, 8, 16])
@pytest.mark.parametrize("upload", [False, True])
def test_one_repeated_ack_repeats_one_window_at_most(windowsize, upload):
    link = Link(400 * 513, blksize=513, windowsize=windowsize, upload=upload)
    doubled = []

    def choose(current):
        to, datagram = current.flying[0] if current.flying else ("", b"")
        if not doubled and datagram[:2] == b"\0\4" and datagram[3] >= 2 * windowsize:
            doubled.append(datagram)
            current.flying.insert(0, (to, datagram))
        return 0 if current.flying else None

    assert count_data(link, choose) <= 401 + windowsize
    assert doubled


@pytest.mark.parametrize("upload", [False, True])
def test_one_late_ack_repeats_one_window_at_most(upload):
    link = Link(400 * 513, blksize=513, windowsize=8, upload=upload)
    late = []

    def choose(current):
        if not late and [wire for _, wire in current.flying if wire[:2] == b"\0\4"][-1:] > [
            b"\0\4\0\x20"
        ]:
            current.now = current.sender.deadline
            late.extend(current.flying)
            current.send("server" if upload else "client", current.sender.timeout(current.now))
        return 0 if current.flying else None

    assert count_data(link, choose) <= 401 + 8
    assert late


@pytest.mark.parametrize("upload", [False, True])
@pytest.mark.parametrize("patient", ["sender", "receiver"])
def test_the_wait_stays_short_where_a_window_never_fits(upload, patient):
    """The network takes three datagrams at once: who waits has heard something new each time."""
    link = Link(100 * 513, blksize=513, windowsize=8, upload=upload)

    def choose(current):
        getattr(current, patient).timer.seconds = 60.0
        data = [at for at, (_, wire) in enumerate(current.flying) if wire[:2] == b"\0\3"]
        for at in reversed(data[3:]):
            del current.flying[at]
        return 0 if current.flying else None

    count_data(link, choose)
    assert link.now < 10


def test_who_sent_a_wrq_has_seconds_for_his_first_block():
    link = Link(3000, blksize=512, windowsize=1, upload=True)
    link.deliver(0)
    link.client.gone()
    while link.server.outcome is None:
        link.wait()
    assert len(link.flying) == 3
    assert 5 < link.now < 10


@pytest.mark.parametrize("sends", [False, True])
def test_who_asked_for_a_minute_has_it_after_the_last_copy(sends):
    options = {"timeout": "60"}
    terms = grant(options, max_blksize=512, max_windowsize=1, size=None)
    if sends:
        end = Sender(Frames(), Octets(bytes(3000), key=1), terms=terms)
        end.start(0.0)
        end.receive(b"\0\4\0\0", 0.0)
    else:
        end = Receiver(bytearray().extend, max_bytes=4000, terms=terms)
        end.start(0.0)
        end.receive(b"\0\3\0\1" + bytes(512), 0.0)
    copies = []
    while end.outcome is None:
        now = end.deadline
        if end.timeout(now):
            copies.append(now)
    assert copies[0] < 1
    assert now - copies[-1] >= 60
