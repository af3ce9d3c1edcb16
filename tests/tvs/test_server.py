"""A served TVS, asked over TLS on loopback."""

import socket
from contextlib import suppress

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from trio.testing import wait_all_tasks_blocked

from tests.tvs.certificates import NOW, make
from tests.tvs.conftest import read_message, shaken
from tvs.answers import AnswerPolicy, DeviceOverride
from tvs.client import InquiryError, connect, query, verify
from tvs.messages import Request, encode_request
from tvs.server import Reply
from tvs.tls import TlsError, client_context, identity_warnings, server_context

FIRST_RECORD = bytes.fromhex("1603010005010000fc03")  # a whole record that begins a hello

in_thread = trio.to_thread.run_sync


def verify_octets(der: bytes, session: bytes = b"sess", **more: object) -> bytes:
    device = "CP-8861-SEP001122334455"
    return encode_request(Request(1, session, device=device, certificate=der, **more))


async def test_query_and_verify_by_the_client(serve) -> None:
    async with serve() as tvs:
        names = {"subject": "CN=ucm11pub.lab;O=Lab;C=AU", "issuer": "CN=ucm11pub.lab;O=Lab;C=AU"}
        serial = tvs.trusted.certificate.serial_number.to_bytes(20, "big")
        found = await query("127.0.0.1", tvs.port, serial=serial, **names)
        assert (found.status, found.roles, found.ttl) == (0, (0, 3), 86_400)
        assert found.certificate == tvs.trusted.der
        assert found.server_certificate == tvs.identity.der
        good = await verify("127.0.0.1", tvs.port, certificate=tvs.trusted.der)
        assert (good.status, good.roles, good.certificate) == (0, (0, 3), None)
        bad = await verify("127.0.0.1", tvs.port, certificate=tvs.unknown.der)
        assert (bad.status, bad.roles, bad.ttl) == (1, (), None)


async def test_the_event_of_an_answer(serve) -> None:
    async with serve() as tvs:
        await verify("127.0.0.1", tvs.port, certificate=tvs.unknown.der, device="CP-7945-SEP0A0B0C")
        await verify("127.0.0.1", tvs.port, certificate=tvs.trusted.der)
        refused = await tvs.event("tvs.answer")
        trusted = await tvs.event("tvs.answer", 2)
    assert refused["device"] == refused["device_name"] == "CP-7945-SEP0A0B0C"
    assert (refused["request"], refused["outcome"]) == ("verify", "not trusted")
    assert refused["reason"] == "not in any store; issuer and serial unknown"
    shown = refused["certificate"]
    assert shown["subject"] == "CN=elsewhere.lab;O=Lab;C=AU"
    assert len(shown["sha256"]) == 64
    assert trusted["device"] == "SEP000000000000"
    assert trusted["stores"] == ["CallManager-trust", "Phone-SAST-trust"]
    assert (trusted["roles"], trusted["ttl_seconds"]) == ([0, 3], 86_400)
    assert trusted["tls"] == "TLSv1.3"
    assert 0 < trusted["milliseconds"] < 1000


async def test_requests_octet_by_octet_and_two_in_one_record(serve) -> None:
    def ask(port: int, der: bytes) -> list[bytes]:
        with shaken(port) as tls:
            for number in verify_octets(der, b"aaaa"):
                tls.send(bytes((number,)))
            first = read_message(tls)
            tls.send(verify_octets(der, b"bbbb") + verify_octets(der, b"cccc"))
            return [first, read_message(tls), read_message(tls)]

    async with serve() as tvs:
        answers = await in_thread(ask, tvs.port, tvs.trusted.der)
    assert [answer[4:8] for answer in answers] == [b"aaaa", b"bbbb", b"cccc"]
    assert {answer[14:17] for answer in answers} == {b"\x08\x00\x02"}


async def test_an_unknown_command_keeps_the_connection(serve) -> None:
    def ask(port: int, der: bytes) -> tuple[bytes, bytes]:
        with shaken(port) as tls:
            tls.send(bytes.fromhex("57010900") + b"sess" + b"\0\3abc")
            unknown = read_message(tls)
            tls.send(verify_octets(der, unknown=((6, b"key"), (99, b""))))
            return unknown, read_message(tls)

    async with serve() as tvs:
        unknown, known = await in_thread(ask, tvs.port, tvs.trusted.der)
        assert unknown == bytes.fromhex("57010af7") + b"sess" + bytes.fromhex("000407000101")
        assert known[10:14] == b"\7\0\1\0"
        assert (await tvs.event("tvs.answer"))["body_error"].startswith("element 97 at byte 10")
        elements = (await tvs.event("tvs.answer", 2))["unknown_elements"]
    assert elements == [{"tag": 6, "length": 3}, {"tag": 99, "length": 0}]


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "header at byte 0: discriminator is 47, not 57"),
        (bytes.fromhex("57010100") + b"sess\0\3\2\0\5", "element 2 at byte 10: 5 octets promised"),
    ],
)
async def test_what_is_no_message_ends_the_connection_only(serve, octets, reason) -> None:
    def ask(port: int) -> bytes:
        with shaken(port) as tls:
            tls.send(octets)
            try:
                return tls.recv(10)
            except Exception:  # noqa: BLE001 - any kind of end will do
                return b""

    async with serve() as tvs:
        assert await in_thread(ask, tvs.port) == b""
        event = await tvs.event("tvs.connection")
        assert event["outcome"] == "malformed"
        assert reason in event["reason"]
        assert (await verify("127.0.0.1", tvs.port, certificate=tvs.trusted.der)).status == 0


async def test_the_deadlines_of_each_phase(serve) -> None:
    seconds = {"handshake_seconds": 0.2, "request_seconds": 0.2, "idle_seconds": 0.2}
    expected = [
        "connected and said nothing",
        "the hello did not end in time",
        "the handshake did not end in time",
        "a request was begun and not ended in time",
    ]
    async with serve(**seconds) as tvs:
        silent = await trio.open_tcp_stream("127.0.0.1", tvs.port)
        half = await trio.open_tcp_stream("127.0.0.1", tvs.port)
        await half.send_all(bytes.fromhex("1603010200010001fc0303"))
        whole = await trio.open_tcp_stream("127.0.0.1", tvs.port)
        await whole.send_all(FIRST_RECORD)
        with trio.fail_after(5):
            assert await silent.receive_some() == b""
        async with connect("127.0.0.1", tvs.port) as begun:
            begun._tls.send(verify_octets(tvs.trusted.der)[:20])
            reasons = {
                (await tvs.event("tvs.connection", number))["reason"] for number in (1, 2, 3, 4)
            }
        async with connect("127.0.0.1", tvs.port) as idle:
            await idle.verify(certificate=tvs.trusted.der)
            with trio.fail_after(5):
                assert await idle._receive() == b""
        await silent.aclose()
        await half.aclose()
        await whole.aclose()
    assert reasons == set(expected)
    assert sum(event["outcome"] == "timed out" for event in tvs.events) == 4


async def test_a_client_that_does_not_read_is_cut_off_and_nobody_waits(serve) -> None:
    def flood(port: int, message: bytes) -> None:
        with shaken(port) as tls, suppress(SSL.Error):
            while True:
                tls.send(message)

    async with serve(write_seconds=0.3) as tvs, trio.open_nursery() as nursery:
        name, serial = "CN=ucm11pub.lab;O=Lab;C=AU", tvs.trusted.certificate.serial_number
        asked = Request(3, b"sess", issuer=name, serial=serial.to_bytes(20, "big"))
        nursery.start_soon(in_thread, flood, tvs.port, encode_request(asked) * 100)
        for _ in range(20):
            with trio.fail_after(5):
                answer = await verify("127.0.0.1", tvs.port, certificate=tvs.trusted.der)
            assert answer.status == 0
        event = await tvs.event("tvs.connection")
        assert event["reason"] == "the answer was not taken in time"


async def test_limits_refuse_the_new_and_keep_the_old(serve) -> None:
    async with serve(max_connections=3, max_connections_per_address=2) as tvs:
        async with connect("127.0.0.1", tvs.port) as first, connect("127.0.0.1", tvs.port):
            with pytest.raises(InquiryError):
                await verify("127.0.0.1", tvs.port, certificate=tvs.trusted.der)
            assert (await first.verify(certificate=tvs.trusted.der)).status == 0
            refused = await tvs.event("tvs.refused_connection")
            assert refused["reason"] == "2 connections are open from 127.0.0.1, its limit"
            other = socket.socket()
            other.bind(("127.0.0.2", 0))
            other.connect(("127.0.0.1", tvs.port))
            with pytest.raises(InquiryError):
                await verify("127.0.0.1", tvs.port, certificate=tvs.trusted.der)
            other.close()
        with trio.fail_after(5):
            while tvs.counters.open:  # noqa: ASYNC110 - the counters set no event of trio's
                await trio.sleep(0.01)
        assert (await verify("127.0.0.1", tvs.port, certificate=tvs.trusted.der)).status == 0


async def test_of_too_many_unfinished_handshakes_the_oldest_goes(serve) -> None:
    async with serve(max_unfinished_handshakes=2) as tvs:
        streams = []
        for _ in range(3):
            streams.append(await trio.open_tcp_stream("127.0.0.1", tvs.port))
            await streams[-1].send_all(FIRST_RECORD)
        event = await tvs.event("tvs.connection")
        assert event["outcome"] == "dropped"
        assert "2 handshakes are unfinished, and this is the oldest" in event["reason"]
        for stream in streams:
            await stream.aclose()


async def test_stop_lets_a_request_end_and_an_idle_client_go(serve) -> None:
    async with (
        serve(drain_seconds=60) as tvs,
        connect("127.0.0.1", tvs.port) as idle,
        connect("127.0.0.1", tvs.port) as busy,
    ):
        await idle.verify(certificate=tvs.trusted.der)
        request = verify_octets(tvs.trusted.der)
        busy._tls.send(request[:50])
        await wait_all_tasks_blocked()  # the server has them
        tvs.stop.set()
        with trio.fail_after(10):  # nobody waits for the end of the drain
            assert await idle._receive() == b""
            busy._tls.send(request[50:])
            assert (await busy._receive())[10:14] == b"\7\0\1\0"
            assert await busy._receive() == b""
    with pytest.raises(InquiryError, match="cannot be reached"):
        await verify("127.0.0.1", tvs.port, certificate=tvs.trusted.der)


async def test_a_drain_ends_by_its_deadline(serve) -> None:
    async with serve(drain_seconds=0.3) as tvs, connect("127.0.0.1", tvs.port) as stuck:
        stuck._tls.send(verify_octets(tvs.trusted.der)[:50])
        await wait_all_tasks_blocked()  # the server has them
        tvs.stop.set()
        with trio.fail_after(10):
            assert await stuck._receive() == b""


async def test_a_reply_policy_misbehaves_on_purpose(serve) -> None:
    def mangle(request: Request, octets: bytes) -> Reply:
        return Reply(b"", close=True) if request.subject else Reply(octets[:4], 0.05, close=True)

    async with serve(reply_policy=mangle) as tvs:
        with pytest.raises(InquiryError, match="ended the connection without an answer"):
            await verify("127.0.0.1", tvs.port, certificate=tvs.trusted.der)
        with pytest.raises(InquiryError, match="ended the connection without an answer"):
            await query("127.0.0.1", tvs.port, subject="CN=x", issuer="CN=x", serial=b"\1")


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"\x57\x01\x02\0zzzz\0\4\7\0\1\0", "answered another request"),
        (None, "answered by command 4"),
        (b"\x57\x09", "version 9 is not known"),
        (b"HTTP/1.1 400 Bad", "discriminator is 48, not 57"),
    ],
)
async def test_the_client_takes_no_answer_that_is_none(serve, octets, text) -> None:
    def other(request: Request, good: bytes) -> Reply:
        bad = good[:2] + b"\4" + good[3:] if octets is None else octets.ljust(10, b"\0")
        return Reply(bad, close=True)

    async with serve(reply_policy=other) as tvs:
        with pytest.raises(Exception, match=text) as caught:
            await verify("127.0.0.1", tvs.port, certificate=tvs.trusted.der)
    assert caught.value.exit_code == 3


async def test_the_client_gives_up_on_a_silent_server() -> None:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    with pytest.raises(InquiryError, match=r"did not answer within 0\.2 s"):
        await verify("127.0.0.1", port, certificate=b"", timeout_seconds=0.2)
    await listener.aclose()
    with pytest.raises(InquiryError, match="cannot be reached"):
        await verify("127.0.0.1", port, certificate=b"", timeout_seconds=0.2)


async def test_the_policy_is_asked_for_each_answer(serve) -> None:
    policy = AnswerPolicy(ttl_seconds=60)
    async with serve(policy=lambda: policy) as tvs, connect("127.0.0.1", tvs.port) as inquiry:
        assert (await inquiry.verify(certificate=tvs.trusted.der)).ttl == 60
        policy = AnswerPolicy(devices={"SEP000000000000": DeviceOverride(refuse=True)})
        assert (await inquiry.verify(certificate=tvs.trusted.der)).status == 1


async def test_a_client_certificate_is_asked_for_only_by_setting_and_logged(
    serve, certificates, rsa_keys
) -> None:
    identity, phone = certificates["identity"], make("CP-8861-SEP001122334455", rsa_keys(2))
    showing = client_context("modern")
    showing.use_certificate(phone.certificate)
    showing.use_privatekey(phone.key)

    def ask(port: int, der: bytes) -> bytes:
        with shaken(port, context=showing) as tls:
            tls.send(verify_octets(der))
            return read_message(tls)

    pairs = [((identity.der,), identity.key)]
    for asks in (False, True):
        async with serve(context=server_context(pairs, request_client_certificate=asks)) as tvs:
            assert (await in_thread(ask, tvs.port, tvs.trusted.der))[13] == 0
            assert (await verify("127.0.0.1", tvs.port, certificate=tvs.trusted.der)).status == 0
            shown = (await tvs.event("tvs.answer")).get("client_certificate")
            none = (await tvs.event("tvs.answer", 2)).get("client_certificate")
        assert (shown and shown["subject"]) == (
            "CN=CP-8861-SEP001122334455;O=Lab;C=AU" if asks else None
        )
        assert none is None


def test_keys_that_cannot_serve_are_refused_with_the_reason(certificates, rsa_keys) -> None:
    identity, other = certificates["identity"], rsa_keys(3)
    with pytest.raises(TlsError, match=r"CN=tvs\.lab;O=Lab;C=AU cannot serve TLS: key values mism"):
        server_context([((identity.der,), other)])
    with pytest.raises(TlsError, match="no identity"):
        server_context([])
    with pytest.raises(TlsError, match="cannot be read"):
        server_context([((b"\x30\x00",), other)])
    curve = ec.generate_private_key(ec.SECP256R1())
    assert server_context([((identity.der,), identity.key), ((make("ec", curve).der,), curve)])


def test_an_expiring_identity_is_warned_of(rsa_keys) -> None:
    def warnings(days: float) -> list[str]:
        made = make("tvs.lab", rsa_keys(0), days=days)
        return identity_warnings(made.der, NOW)

    assert warnings(60) == []
    assert "expires on" in warnings(20)[0]
    assert "expired on" in warnings(-1)[0]
