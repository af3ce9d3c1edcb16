"""Packets of RFC 1350 and 2347 against octets written out by hand, and against garbage."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tftp import PacketError
from tftp.packets import (
    Ack,
    Data,
    Error,
    Opcode,
    OptionAck,
    Request,
    encode_ack,
    encode_data,
    encode_error,
    encode_option_ack,
    encode_request,
    parse,
    wire_number,
)

# A 7940's first request: 14 + 20 + 8 + 31 octets in a public capture (Scribd document 358424356)
PHONE_RRQ = b"\0\1CTLSEP0006537B84EF.tlv\0octet\0"


def test_a_phones_request_has_the_length_of_the_capture():
    assert len(PHONE_RRQ) == 73 - 14 - 20 - 8
    assert parse(PHONE_RRQ) == Request(Opcode.RRQ, "CTLSEP0006537B84EF.tlv", "octet", {})
    assert encode_request(Request(Opcode.RRQ, "CTLSEP0006537B84EF.tlv")) == PHONE_RRQ


def test_a_name_that_is_not_utf_8_goes_out_as_the_shell_gave_it():
    assert encode_request(Request(Opcode.RRQ, "q\udcff")) == b"\0\1q\xff\0octet\0"


@pytest.mark.parametrize(
    ("octets", "packet"),
    [
        (b"\0\3\0\1abc", Data(1, b"abc")),
        (b"\0\3\xff\xff", Data(65535, b"")),
        (b"\0\4\1\0", Ack(256)),
        (b"\0\5\0\1gone\0", Error(1, "gone")),
        (b"\0\6blksize\0001428\0", OptionAck({"blksize": "1428"})),
    ],
)
def test_known_octets(octets, packet):
    assert parse(octets) == packet
    encoded = {
        Data: lambda: encode_data(packet.block, packet.payload),
        Ack: lambda: encode_ack(packet.block),
        Error: lambda: encode_error(packet.code, packet.text),
        OptionAck: lambda: encode_option_ack(packet.options),
    }[type(packet)]()
    assert encoded == octets


def test_options_and_mode_do_not_depend_on_case_and_the_first_of_two_counts():
    request = parse(b"\0\1F\0OCTET\0BlkSize\0009\0blksize\00010\0")
    assert request == Request(Opcode.RRQ, "F", "octet", {"blksize": "9"})


def test_garbage_after_the_options_is_passed_over():
    assert parse(b"\0\1f\0octet\0tsize\0000\0blk").options == {"tsize": "0"}


@pytest.mark.parametrize(
    ("octets", "field", "offset"),
    [
        (b"", "opcode", 0),
        (b"\0", "opcode", 0),
        (b"\0\7", "opcode", 0),
        (b"\0\1", "file name", 2),
        (b"\0\1\0octet\0", "file name", 2),
        (b"\0\1name", "file name", 2),
        (b"\0\1name\0octet", "mode", 7),
        (b"\0\1" + b"n" * 256 + b"\0octet\0", "file name", 2),
        (b"\0\1n\0octet\0" + b"x" * 512, "request", 512),
        (b"\0\3\0", "block number", 2),
        (b"\0\4", "block number", 2),
        (b"\0\5\0", "error code", 2),
        (b"\0\6", "options", 2),
        (b"\0\6blksize", "options", 2),
    ],
)
def test_what_is_no_packet_is_named(octets, field, offset):
    with pytest.raises(PacketError) as caught:
        parse(octets)
    assert (caught.value.field, caught.value.offset) == (field, offset)


@given(st.binary(max_size=80) | st.binary(max_size=40).map(lambda tail: PHONE_RRQ[:9] + tail))
def test_nothing_but_our_error_leaves_the_parser(octets):
    with suppress(PacketError):
        parse(octets)


@pytest.mark.parametrize(
    ("block", "rollover", "wire"),
    [(65535, 0, 65535), (65536, 0, 0), (65537, 0, 1), (65536, 1, 1), (131070, 1, 65535)],
)
def test_block_numbers_wrap_to_zero_or_one(block, rollover, wire):
    assert wire_number(block, rollover) == wire
