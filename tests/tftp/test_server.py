"""The service over real sockets: odd requests, strangers, abuse, addresses."""

import errno
import os
import random
import socket
import threading
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.tftp.conftest import Phone, phone, serving
from tftp import RemoteError, TftpError
from tftp.client import get, put
from tftp.content import Later, Octets
from tftp.limits import Limits
from tftp.netascii import MOST_OCTETS
from tftp.uploads import Uploads

pytestmark = pytest.mark.usefixtures("one_thread")
ERROR = b"\0\5"
RMEM_MAX = Path("/proc/sys/net/core/rmem_max").read_text()
DATA_1 = b"\0\3\0\1"


@pytest.mark.parametrize("name", ["empty", "one", "exact", "config"])
@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"blksize": 8},
        {"blksize": 1024, "tsize": True},
        {"blksize": 65464},
        {"windowsize": 3},
        {"windowsize": 65535, "blksize": 8, "timeout": 1},
        {"mode": "netascii"},
    ],
)
async def test_every_length_arrives_with_every_option(folder, name, asked):
    async with serving(folder) as service:
        octets = await get(service.host, service.port, name, **asked)
        assert octets == (folder / name).read_bytes()
        event = await service.event(file=name, outcome="done")
        if asked.get("mode") is None:
            assert event["bytes"] == len(octets)
            assert event["blocks"] == len(octets) // event["blksize"] + 1


async def test_windows_are_cut_by_the_kernel_or_by_us_alike(folder, monkeypatch):
    wanted = (folder / "config").read_bytes()
    async with serving(folder) as service:
        assert await get(service.host, service.port, "config", windowsize=16) == wanted
        # an option number no kernel has: the plain path
        monkeypatch.setattr("tftp.sockets._UDP_SEGMENT", 9999)
        assert await get(service.host, service.port, "config", windowsize=16) == wanted


@pytest.mark.parametrize(
    ("datagram", "code"),
    [
        (b"\0\1\0octet\0", 4),
        (b"\0\1config", 4),
        (b"\0\1config\0octet", 4),
        (b"\0\1config\0mail\0", 4),
        (b"\0\1config\0\0", 4),
        (b"\0\1" + b"n" * 400 + b"\0octet\0", 4),
        (b"\0\1" + b"n" * 600 + b"\0octet\0", 4),
        (b"\0\1../root/config\0octet\0", 2),
        (b"\0\1..\\config\0octet\0", 2),
        (b"\0\1/etc/passwd\0octet\0", 1),
        (b"\0\1con\xfffig\0octet\0", 1),
        (b"\0\1missing\0octet\0", 1),
        (b"\0\2config\0octet\0", 2),
    ],
)
async def test_bad_requests_get_one_error_with_a_text(folder, datagram, code):
    async with serving(folder) as service, phone(service) as client:
        answer = await client.ask(datagram)
        assert answer[:4] == ERROR + code.to_bytes(2, "big")
        assert len(answer) > 6
        assert answer.endswith(b"\0")
        assert await client.silent()
        assert (await service.event(event="tftp.error"))["code"] == code


async def test_garbage_is_dropped_and_the_next_phone_is_served(folder):
    async with serving(folder) as service, phone(service) as client:
        for datagram in (
            b"",
            b"\0",
            b"\1",
            b"\0\3\0\1x",
            b"\0\4\0\1",
            b"\0\5\0\1x\0",
            b"\0\6",
            b"\xff" * 600,
        ):
            await client.sock.sendto(datagram, client.service)
        noise = random.Random(0)  # seeded: other octets might happen to be a request
        for _ in range(300):
            await client.sock.sendto(noise.randbytes(40), client.service)
        assert (await client.rrq(b"one"))[:4] == DATA_1
        assert [e["event"] for e in service.events] == []


async def test_options_come_back_in_one_oack_which_is_repeated(folder):
    async with serving(folder) as service, phone(service) as client:
        oack = await client.rrq(
            b"config", b"TSIZE", b"99", b"unknown", b"x", b"BlkSize", b"600", b"timeout", b"1"
        )
        assert oack == b"\0\6tsize\00010240\0blksize\000600\0timeout\0001\0"
        assert await client.hear() == oack
        assert len(await client.ack(0)) == 604


async def test_no_option_asked_for_no_oack(folder):
    async with serving(folder) as service, phone(service) as client:
        assert len(await client.rrq(b"config", b"unknown", b"1")) == 516


async def test_a_stranger_is_refused_and_changes_nothing(folder):
    async with serving(folder) as service, phone(service) as client:
        await client.rrq(b"config")
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            await stranger.connect(client.peer)
            await stranger.send(b"\0\4\0\1")
            with trio.fail_after(10):
                refusal = await stranger.recv(600)
            assert refusal[:4] == b"\0\5\0\5"
            await stranger.send(b"\0\5\0\0an error is never answered\0")
            with trio.move_on_after(0.03) as silence:
                await stranger.recv(600)
            assert silence.cancelled_caught
        second = await client.ack(1)
        assert second[:4] == b"\0\3\0\2"


async def test_an_error_ends_a_transfer_and_is_not_answered(folder):
    async with serving(folder) as service, phone(service) as client:
        await client.rrq(b"config")
        await client.tell(b"\0\5\0\3full\0")
        event = await service.event(outcome="refused")
        assert "full" in event["reason"]
        assert await client.silent()


async def test_the_same_request_again_gets_the_same_first_packet(folder):
    async with serving(folder) as service, phone(service) as client:
        first = await client.rrq(b"config")
        peer = client.peer
        assert await client.rrq(b"config") == first
        assert client.peer == peer
        assert (await client.ack(1))[:4] == b"\0\3\0\2"


async def test_a_late_copy_of_the_request_does_not_disturb(folder, monkeypatch):
    monkeypatch.setattr("tftp.admission._REPEAT_SECONDS", 0.0)
    async with serving(folder) as service, phone(service) as client:
        request = b"\0\1config\0octet\0"
        await client.ask(request)
        former = client.peer
        assert await client.goes_on(1)
        await client.sock.sendto(request, client.service)
        assert await client.goes_on(2)
        await client.hear()  # block 3 again, as nothing more was acknowledged
        await client.sock.sendto(request, client.service)  # of a phone that begins anew
        while client.peer == former:
            datagram = await client.hear()
        assert datagram[:4] == DATA_1


async def test_what_the_peer_of_an_ended_transfer_repeats_is_swallowed(folder):
    async with serving(folder) as service, phone(service) as client:
        assert (await client.rrq(b"one"))[:4] == DATA_1
        await client.tell(b"\0\4\0\1")
        await service.event(file="one")
        former = client.peer
        await client.tell(b"\0\4\0\1")
        await client.tell(b"\0\5\0\0late\0")
        assert await client.silent()
        assert (await client.rrq(b"config"))[:4] == DATA_1
        assert client.peer != former  # what it says there still does not count here
        await client.sock.sendto(b"\0\4\0\1", former)
        assert await client.silent()
        assert await client.goes_on(1)


async def test_a_port_that_asks_again_is_heard_to_the_end_first(folder):
    """The service port is read before the last ACK, as a request came to it before that ACK."""
    async with serving(folder) as service:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
            client = Phone(trio.socket.from_stdlib_socket(plain), (service.host, service.port))
            request = b"\0\1config\0octet\0"
            datagram, last = await client.ask(request), 1
            while len(datagram) == 516:
                datagram, last = await client.ack(last), last + 1
            former = client.peer
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as early:
                early.sendto(b"\0\1one\0octet\0", client.service)
                plain.sendto(b"\0\4" + last.to_bytes(2, "big"), former)
                plain.sendto(request, client.service)
                assert (await client.hear(0.5))[:4] == DATA_1
        assert (await service.event(file="config"))["outcome"] == "done"


async def test_another_request_from_the_same_port_takes_over(folder):
    async with serving(folder) as service, phone(service) as client:
        await client.rrq(b"config")
        assert await client.rrq(b"one") == DATA_1 + (folder / "one").read_bytes()
        assert (await service.event(file="config"))["outcome"] == "gone"


async def test_requests_that_arrive_together_are_answered_each_to_its_own(folder):
    """One is given up before its first packet left, and the next has its socket by then."""
    async with serving(folder) as service:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
        ):
            where = (service.host, service.port)
            one.sendto(b"\0\1config\0octet\0", where)
            one.sendto(b"\0\1nothing\0octet\0", where)
            other.sendto(b"\0\1exact\0octet\0", where)
            hears = Phone(trio.socket.from_stdlib_socket(one), where)
            assert (await hears.hear())[:4] == ERROR + b"\0\1"
            assert await hears.silent()
            hears = Phone(trio.socket.from_stdlib_socket(other), where)
            assert await hears.hear() == DATA_1 + (folder / "exact").read_bytes()[:512]
            assert await hears.silent()
        assert (await service.event(file="config"))["outcome"] == "gone"


async def test_a_phone_that_went_away_frees_its_transfer(folder):
    async with serving(folder) as service:
        async with phone(service) as client:
            await client.rrq(b"config")
            await client.ack(1)
        assert (await service.event(file="config"))["outcome"] == "gone"


async def test_silence_gets_three_copies_and_no_more(folder):
    async with serving(folder) as service, phone(service) as client:
        first = await client.rrq(b"config")
        assert [await client.hear(), await client.hear()] == [first, first]
        assert await client.silent(0.6)
        assert await client.rrq(b"config") == first
        assert (await client.ack(1))[:4] == b"\0\3\0\2"


async def test_an_address_has_its_share_and_another_is_served(folder):
    limits = Limits(max_transfers_per_address=3)
    async with serving(folder, limits=limits) as service, AsyncExitStack() as held:
        for _ in range(3):
            phones = await held.enter_async_context(phone(service))
            assert await phones.rrq(b"config")
        async with phone(service) as fourth, phone(service, "127.0.0.9") as other:
            await fourth.sock.sendto(b"\0\1one\0octet\0", fourth.service)
            assert await fourth.silent()
            assert (await other.rrq(b"one"))[:4] == DATA_1


async def test_half_open_transfers_are_bounded_and_the_oldest_give_way(folder):
    limits = Limits(max_transfers=50)
    async with serving(folder, limits=limits) as service, AsyncExitStack() as held:
        proven = await held.enter_async_context(phone(service))
        await proven.rrq(b"config")
        assert await proven.goes_on(1)
        phones = [await held.enter_async_context(phone(service)) for _ in range(70)]
        for each in phones:
            assert (await each.rrq(b"config"))[:4] == DATA_1
        gave_way = [event for event in service.events if "gave way" in event["reason"]]
        assert len(gave_way) == 21
        assert await phones[-1].goes_on(1)
        assert await proven.goes_on(2)


@pytest.fixture
def slow():
    """Content that is made once the event is set."""
    go_on = threading.Event()

    def make():
        go_on.wait(5)
        return Octets(b"made", key="made")

    return Later(make), go_on


@pytest.mark.parametrize("limit", ["max_transfers", "max_transfers_per_address"])
async def test_content_that_is_being_made_counts_as_a_transfer(folder, slow, limit):
    content, go_on = slow

    def find(name, _):
        return content if name == "slow" else Octets(b"x", key="x")

    async with (
        serving(folder, find=find, limits=Limits(**{limit: 2})) as service,
        AsyncExitStack() as held,
    ):
        clients = [await held.enter_async_context(phone(service)) for _ in range(3)]
        for client in clients[:2]:
            await client.sock.sendto(b"\0\1slow\0octet\0", client.service)
        await clients[2].sock.sendto(b"\0\1one\0octet\0", clients[2].service)
        assert await clients[2].silent()
        go_on.set()
        for client in clients[:2]:
            assert await client.hear() == DATA_1 + b"made"
            await client.tell(b"\0\4\0\1")
            await service.event(peer=f"127.0.0.1:{client.sock.getsockname()[1]}")
        assert await clients[2].rrq(b"one") == DATA_1 + b"x"


async def test_half_open_ones_give_way_however_many_run(folder):
    limits = Limits(max_transfers=150)
    async with serving(folder, limits=limits) as service, AsyncExitStack() as held:
        for _ in range(70):
            client = await held.enter_async_context(phone(service))
            await client.rrq(b"config")
            assert await client.goes_on(1)
        for _ in range(85):
            client = await held.enter_async_context(phone(service))
            assert (await client.rrq(b"config"))[:4] == DATA_1


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_who_asks_everybody_is_answered_from_an_address_of_ours(folder, host):
    async with serving(folder, host=host) as service:
        for name, start in ((b"one", DATA_1), (b"missing", ERROR)):
            with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                client = Phone(own, ("127.255.255.255", service.port))
                assert (await client.rrq(name))[: len(start)] == start
                assert client.peer[0] == "127.0.0.1"


@pytest.mark.parametrize("asked", ["127.0.0.1", "127.0.0.7"])
async def test_a_wildcard_answers_from_the_address_that_was_asked(folder, asked):
    async with serving(folder, host="0.0.0.0") as service:
        for name, start in ((b"one", DATA_1), (b"missing", ERROR)):
            async with phone(service) as client:
                client.service = (asked, service.port)
                assert (await client.rrq(name))[: len(start)] == start
                assert client.peer[0] == asked


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("0.0.0.0", ["127.0.0.1", "127.0.0.7", "127.0.0.8"]),
        ("::", ["127.0.0.1", "::1", "127.0.0.7"]),
    ],
)
async def test_many_at_once_are_answered_each_from_the_address_it_asked(folder, host, asked):
    """More than go into one call, and of each kind of answer."""
    wanted = {
        b"one": DATA_1 + (folder / "one").read_bytes(),
        b"exact": DATA_1 + (folder / "exact").read_bytes()[:512],
        b"missing": ERROR + b"\0\1",
        b"n" * 600: ERROR + b"\0\4",
    }
    async with serving(folder, host=host) as service:
        with ExitStack() as held:
            phones = []
            for number in range(180):
                name, address = list(wanted)[number % 4], asked[number % len(asked)]
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                sock = held.enter_context(socket.socket(family, socket.SOCK_DGRAM))
                sock.sendto(b"\0\1" + name + b"\0octet\0", (address, service.port))
                phones.append((sock, name, address))
            for sock, name, address in phones:
                client = Phone(trio.socket.from_stdlib_socket(sock), ())
                assert (await client.hear()).startswith(wanted[name])
                assert client.peer[0] == address
                if name == b"exact":
                    assert await client.goes_on(1)


@pytest.mark.parametrize("host", ["::1", "::"])
async def test_ipv6(folder, host):
    async with serving(folder, host=host) as service:
        service.host = "::1"
        assert (
            await get("::1", service.port, "config", blksize=1024)
            == (folder / "config").read_bytes()
        )
        with pytest.raises(RemoteError, match="not found"):
            await get("::1", service.port, "missing")
        assert (await service.event(file="config"))["peer"].startswith("[::1]:")


async def test_content_made_later_is_made_once_for_a_repeated_request(folder):
    made = []

    def make():
        made.append(1)
        return Octets(b"signed", key="signed")

    def find(name, _):
        return Later(make)

    async with serving(folder, find=find) as service, phone(service) as client:
        await client.sock.sendto(b"\0\1x.sgn\0octet\0", client.service)
        assert await client.rrq(b"x.sgn") == DATA_1 + b"signed"
        await client.tell(b"\0\4\0\1")
        await service.event(outcome="done")
        assert made == [1]


async def test_text_is_translated_once_for_all_who_ask(folder, monkeypatch):
    calls = []

    def translate(octets):
        calls.append(len(octets))
        return octets.replace(b"\n", b"\r\n")

    monkeypatch.setattr("tftp.netascii.to_netascii", translate)
    (folder / "text").write_bytes(b"line\n" * 40_000)
    (folder / "book").write_bytes(bytes(MOST_OCTETS + 1))
    async with serving(folder) as service, AsyncExitStack() as held:
        for _ in range(5):
            client = await held.enter_async_context(phone(service))
            assert (await client.rrq(b"text", mode=b"netascii"))[4:11] == b"line\r\nl"
        assert calls == [200_000]
        assert (await client.rrq(b"book", mode=b"netascii"))[:4] == ERROR + b"\0\0"


async def test_the_text_translated_in_a_while_is_bounded(folder):
    for number in range(20):
        (folder / f"text{number}").write_bytes(bytes(MOST_OCTETS))
    async with serving(folder) as service, AsyncExitStack() as held:
        answers = []
        for number in range(20):
            client = await held.enter_async_context(phone(service))
            answers.append(await client.rrq(b"text%d" % number, mode=b"netascii"))
        assert {answer[:2] for answer in answers[:16]} == {b"\0\3"}
        assert {answer[:2] for answer in answers[16:]} == {ERROR}
        assert b"busy" in answers[-1]


async def test_a_failure_of_ours_is_one_error_and_the_service_goes_on(
    folder, tmp_path, monkeypatch
):
    good = Octets(b"good", key="good")

    def fails(what):
        raise ZeroDivisionError(what)

    def find(name, _):
        if name == "found":
            fails(name)
        return {
            "made": Later(lambda: fails(name)),
            "sent": Later(lambda: good),
            "large": Octets(bytes(100_000), key="large"),
        }.get(name, good)

    def link(name, _, connected):
        return fails(name) if name == "sent" else connected

    uploads = Uploads(tmp_path, max_bytes=5000)
    served = serving(folder, find=find, link=link, uploads=uploads)
    async with served as service, phone(service) as client:
        for when in ("found", "made", "sent"):
            assert (await client.rrq(when.encode()))[:4] == ERROR + b"\0\0"
            failed = await service.event(event="tftp.error", file=when)
            assert failed["reason"] == f"ZeroDivisionError: {when}"
        with monkeypatch.context() as exhausted:
            exhausted.setattr("socket.SocketType", _no_descriptor)
            for request in (b"\0\2log\0octet\0", b"\0\1large\0octet\0"):
                refused = await client.ask(request)
                assert refused == ERROR + b"\0\0the server is busy: Too many open files\0"
        assert [path.name for path in tmp_path.iterdir()] == ["root"]
        assert await client.rrq(b"good") == DATA_1 + b"good"


def _no_descriptor(*_, **__):
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


async def test_a_file_replaced_meanwhile_is_sent_to_its_end(folder):
    before = random.Random(1).randbytes(700_000)
    (folder / "big").write_bytes(before)
    (folder / "new").write_bytes(b"new")
    async with serving(folder) as service:

        def replace(done, _):
            if done > 100_000 and (folder / "new").exists():
                (folder / "new").replace(folder / "big")

        assert (
            await get(service.host, service.port, "big", blksize=1428, progress=replace) == before
        )
        assert await get(service.host, service.port, "big") == b"new"


@pytest.mark.parametrize("how", ["replaced", "touched", "removed"])
async def test_a_file_asked_for_before_is_sent_to_its_end_whatever_becomes_of_its_name(
    folder, monkeypatch, how
):
    monkeypatch.setattr("tftp.root.SETTLED_NS", 0)
    before = random.Random(1).randbytes(6000)
    (folder / "known").write_bytes(before)
    async with serving(folder) as service:
        assert await get(service.host, service.port, "known") == before
        meant = []

        def disturb(done, _):
            if done > 2000 and not meant:
                meant.append(how)
                if how == "replaced":
                    (folder / "one").replace(folder / "known")
                elif how == "touched":
                    (folder / "known").chmod(0o600)
                else:
                    (folder / "known").unlink()

        got = await get(service.host, service.port, "known", blksize=8, progress=disturb)
        assert got == before
        assert meant


async def test_what_cannot_be_made_is_an_error(folder):
    def fail():
        raise TftpError("no such luck")

    async with serving(folder, find=lambda *_: Later(fail)) as service:
        with pytest.raises(RemoteError, match="no such luck"):
            await get(service.host, service.port, "x")


async def test_a_reply_policy_replaces_answers_or_keeps_silent(folder):
    def policy(name, peer, answer):
        return None if name == "one" else Octets(peer.encode(), key=peer)

    async with serving(folder, reply_policy=policy) as service, phone(service) as client:
        assert await get(service.host, service.port, "config") == b"127.0.0.1"
        await client.sock.sendto(b"\0\1one\0octet\0", client.service)
        assert await client.silent()


async def test_uploads_are_whole_never_overwritten_and_bounded(folder, tmp_path):
    place = tmp_path / "uploads"
    place.mkdir()
    async with serving(folder, uploads=Uploads(place, max_bytes=5000)) as service:
        at = service.host, service.port
        await put(*at, "log", b"x" * 1024, blksize=512, windowsize=4, tsize=True)
        assert (place / "log").read_bytes() == b"x" * 1024
        await put(*at, "text", b"a\nb\r", mode="netascii")
        assert (place / "text").read_bytes() == b"a\nb\r"
        for name, data, words in (
            ("log", b"y", "overwritten"),
            ("big", b"z" * 6000, "more than 5000"),
            ("../out", b"z", "plain names"),
            (".hidden", b"z", "plain names"),
        ):
            with pytest.raises(RemoteError, match=words):
                await put(*at, name, data)
        with pytest.raises(RemoteError, match="at most 5000"):
            await put(*at, "big", b"z" * 6000, tsize=True)
        await service.event(file="log", direction="received", bytes=1024)
        assert sorted(path.name for path in place.iterdir()) == ["log", "text"]


async def test_a_stop_lets_running_transfers_end(folder):
    stop = trio.Event()
    async with serving(folder, stop=stop) as service, phone(service) as client:
        await client.rrq(b"exact")
        stop.set()
        await client.ack(1)
        await client.ack(2)
        await client.tell(b"\0\4\0\3")
        assert (await service.event(file="exact"))["outcome"] == "done"


async def test_a_stop_lets_those_be_served_whose_content_is_being_made(folder, slow):
    content, go_on = slow
    stop = trio.Event()
    served = serving(folder, find=lambda *_: content, stop=stop)
    async with served as service, phone(service) as client:
        await client.sock.sendto(b"\0\1slow\0octet\0", client.service)
        await trio.testing.wait_all_tasks_blocked(0.01)
        stop.set()
        await trio.testing.wait_all_tasks_blocked()
        go_on.set()
        assert await client.hear() == DATA_1 + b"made"
        await client.tell(b"\0\4\0\1")
        assert (await service.event(file="slow"))["outcome"] == "done"


async def test_a_small_buffer_is_reported_with_the_sysctl(folder, monkeypatch):
    # as for a user who may not force it, under a limit below what is wanted
    monkeypatch.setattr("tftp.sockets._SO_RCVBUFFORCE", socket.SO_RCVBUF)
    limit = int(RMEM_MAX)
    async with serving(folder, receive_buffer=limit + 4096) as service:
        assert "net.core.rmem_max" in service.events[0]["reason"]


async def test_a_client_without_a_server_says_so():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(TftpError, match="no end within"):
            await get("127.0.0.1", port, "x", timeout_seconds=0.2)
