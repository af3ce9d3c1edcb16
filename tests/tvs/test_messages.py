"""Messages against octets of a real 8861 and a real CUCM (Cisco documents 213407 and 118699)."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvs.connection import MessageBuffer
from tvs.messages import (
    HEADER_BYTES,
    Command,
    MessageError,
    Request,
    Response,
    encode_elements,
    encode_request,
    encode_response,
    parse_elements,
    parse_header,
    parse_request,
    parse_response,
)

SERIAL = bytes.fromhex("24000000179479b8f124ac3f3b000000000017")
SUBJECT = "CN=ucm11pub.stormin.local;OU=IST;O=Stormin;L=Brisbane;ST=QLD;C=AU"
ISSUER = "CN=stormin-WIN2012-CA"
# The first 50 octets as the server's trace prints them; the rest from the names it decodes.
REAL_QUERY = (
    bytes.fromhex("57010300000003e9008f010018") + b"\x01CP-8861-SEPB000B4BA0AEE"
    b"\x03\x00\x42" + SUBJECT.encode() + b"\0"
    b"\x04\x00\x16" + ISSUER.encode() + b"\0"
    b"\x05\x00\x13" + SERIAL
)
REAL_ANSWER_50 = bytes.fromhex(
    "570104f7000003e905be070001000205ab308205a73082048fa00302010202132400"
    "0000179479b8f124ac3f3b0000000000"
)

octets = st.binary(max_size=40)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=30)


def parsed(message: bytes) -> Request:
    return parse_request(parse_header(message), message[HEADER_BYTES:])


def framed(command: int, body: bytes, *, version: int = 1, filler: int = 0) -> bytes:
    return bytes((0x57, version, command, filler)) + b"sess" + len(body).to_bytes(2, "big") + body


def test_the_query_of_a_real_phone() -> None:
    assert len(REAL_QUERY) == 153
    request = parsed(REAL_QUERY)
    assert request == Request(
        command=Command.QUERY_REQUEST,
        session=bytes.fromhex("000003e9"),
        version=1,
        device="CP-8861-SEPB000B4BA0AEE",
        subject=SUBJECT,
        issuer=ISSUER,
        serial=SERIAL,
    )
    assert encode_request(request) == REAL_QUERY


def test_the_same_octets_as_the_file_of_the_trace(real_files) -> None:
    assert (real_files / "tvs/query-request.rebuilt.bin").read_bytes() == REAL_QUERY
    assert (real_files / "tvs/query-request.first50.bin").read_bytes() == REAL_QUERY[:50]
    assert (real_files / "tvs/query-response.first50.bin").read_bytes() == REAL_ANSWER_50


def test_the_answer_of_a_real_server_up_to_its_fiftieth_octet() -> None:
    certificate = REAL_ANSWER_50[17:] + bytes(1451 - 33)
    answer = encode_response(
        Response(Command.QUERY_RESPONSE, b"\0\0\3\xe9", 0, certificate, (0, 3), 86_400)
    )
    assert len(answer) == 1480
    assert answer[:50] == REAL_ANSWER_50
    assert answer[-12:] == bytes.fromhex("080002000309000400015180")


def test_answers_of_a_verify_and_of_a_miss() -> None:
    verified = encode_response(Response(Command.VERIFY_RESPONSE, b"abcd", 0, None, (21,), 60))
    assert verified == bytes.fromhex("57010200") + b"abcd" + bytes.fromhex(
        "000f07000100080001150900040000003c"
    )
    missed = encode_response(Response(Command.QUERY_RESPONSE, b"abcd", 1))
    assert missed == bytes.fromhex("570104f7") + b"abcd" + bytes.fromhex("000407000101")


@pytest.mark.parametrize("filler", [0x00, 0xF7, 0xFF])
@pytest.mark.parametrize("version", [0, 1])
def test_version_and_filler_as_seen(version: int, filler: int) -> None:
    request = parsed(framed(3, b"", version=version, filler=filler))
    assert (request.version, request.session) == (version, b"sess")


def test_issuer_and_serial_are_told_apart_by_shape() -> None:
    names = {"subject": SUBJECT, "issuer": ISSUER, "serial": SERIAL}
    straight = Request(3, b"sess", **names)
    swapped = framed(
        3,
        encode_elements(((3, SUBJECT.encode() + b"\0"), (4, SERIAL), (5, ISSUER.encode() + b"\0"))),
    )
    assert parsed(swapped) == parsed(encode_request(straight)) == straight


@pytest.mark.parametrize(
    ("device", "shown"),
    [
        (b"\x01ATA001122334455", "ATA001122334455"),
        (b"\x01CP-7945G-SEP001122334455", "CP-7945G-SEP001122334455"),
        (b"CP-8861-SEP001122334455", "CP-8861-SEP001122334455"),
        (b"", ""),
        (b"\x01\xff\x00\n", "\\xff\x00\n"),
    ],
)
def test_device_names_of_every_kind(device: bytes, shown: str) -> None:
    assert parsed(framed(1, encode_elements([(1, device)]))).device == shown


def test_unknown_and_repeated_elements_are_kept_beside() -> None:
    body = encode_elements([(6, b"key"), (1, b"\1a"), (200, b""), (1, b"\1b"), (2, b"der")])
    request = parsed(framed(1, body))
    assert (request.device, request.certificate) == ("a", b"der")
    assert request.unknown == ((6, b"key"), (200, b""), (1, b"\1b"))


@pytest.mark.parametrize(
    ("message", "element", "offset", "reason"),
    [
        (b"\x47" + REAL_QUERY[1:], "header", 0, "discriminator is 47, not 57"),
        (b"\x57\x02" + REAL_QUERY[2:], "header", 1, "version 2 is not known"),
        (REAL_QUERY[:9], "header", 9, "10 octets are needed"),
        (framed(1, b"\x02"), "element", 10, "tag and length are cut off"),
        (framed(1, b"\x02\0\1a\2\0"), "element", 14, "tag and length are cut off"),
        (framed(1, b"\x02\x00\x05abcd"), "element 2", 10, "5 octets promised, 4 left"),
    ],
)
def test_what_is_wrong_is_named(message: bytes, element: str, offset: int, reason: str) -> None:
    with pytest.raises(MessageError) as caught:
        parsed(message)
    assert (caught.value.element, caught.value.offset) == (element, offset)
    assert reason in caught.value.reason


def test_the_body_of_an_unknown_command_may_be_anything() -> None:
    request = parsed(framed(9, b"\1\0\xff"))
    assert not request.is_known
    assert request.body_error == "element 1 at byte 10: 255 octets promised, 0 left in the message"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the answer has no status"),
        (b"\7\0\2\0\0", "1 octets"),
        (b"\7\0\1\0\11\0\1\0", "4 oc"),
    ],
)
def test_an_answer_that_says_nothing_usable(body: bytes, reason: str) -> None:
    message = framed(4, body)
    with pytest.raises(MessageError, match=reason):
        parse_response(parse_header(message), body)


@given(st.binary(max_size=200))
def test_whatever_comes_only_the_package_error_leaves(message: bytes) -> None:
    buffer = MessageBuffer()
    buffer.receive_data(message)
    with suppress(MessageError):
        while buffer.next_request():
            pass
        buffer.end()


@given(st.integers(0, 152), st.integers(0, 255))
def test_one_octet_of_a_real_query_changed(at: int, value: int) -> None:
    changed = bytearray(REAL_QUERY)
    changed[at] = value
    buffer = MessageBuffer()
    buffer.receive_data(bytes(changed))
    with suppress(MessageError):
        buffer.next_request()


@given(st.lists(st.tuples(st.integers(0, 255), octets), max_size=8))
def test_elements_round_trip(elements: list[tuple[int, bytes]]) -> None:
    assert parse_elements(encode_elements(elements)) == tuple(elements)


@given(st.lists(st.integers(1, 60), max_size=20), st.integers(0, 3))
def test_requests_come_out_however_they_are_cut(cuts: list[int], number: int) -> None:
    stream = REAL_QUERY * number
    buffer, found = MessageBuffer(), []
    while stream:
        size = cuts.pop() if cuts else len(stream)
        buffer.receive_data(stream[:size])
        stream = stream[size:]
        while (request := buffer.next_request()) is not None:
            found.append(request)
    buffer.end()
    assert found == [parsed(REAL_QUERY)] * number


def test_a_request_cut_off_by_the_end_is_no_request() -> None:
    buffer = MessageBuffer()
    buffer.receive_data(REAL_QUERY[:100])
    assert buffer.next_request() is None
    with pytest.raises(MessageError, match="message at byte 100: the peer ended"):
        buffer.end()


def test_a_body_longer_than_allowed_is_refused_at_its_header() -> None:
    buffer = MessageBuffer(max_body_bytes=142)
    buffer.receive_data(REAL_QUERY[:10])
    with pytest.raises(MessageError, match="143 octets promised, 142 allowed"):
        buffer.next_request()


@given(
    st.builds(
        Response,
        st.sampled_from([2, 4]),
        st.binary(min_size=4, max_size=4),
        st.integers(0, 255),
        st.none() | octets,
        st.none() | st.lists(st.integers(0, 255), max_size=5).map(tuple),
        st.none() | st.integers(0, 0xFFFFFFFF),
    )
)
def test_answers_round_trip(response: Response) -> None:
    encoded = encode_response(response)
    assert parse_response(parse_header(encoded), encoded[HEADER_BYTES:]) == response


def test_what_does_not_fit_is_not_written() -> None:
    with pytest.raises(MessageError, match="65536 octets do not fit"):
        encode_request(Request(1, b"sess", certificate=bytes(65_536)))
    with pytest.raises(MessageError, match="do not fit into one message"):
        encode_request(Request(1, b"sess", certificate=bytes(65_535)))
