"""What is granted (RFC 2347, 2348, 2349, 7440), what a client accepts, netascii, the timer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tftp.netascii import FromNetascii, to_netascii
from tftp.options import OptionError, accept, grant
from tftp.timer import RetransmitTimer


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        ({}, {}),
        ({"blksize": "8"}, {"blksize": "8"}),
        ({"blksize": "7"}, {}),
        ({"blksize": "65464"}, {"blksize": "1400"}),
        ({"blksize": "65465"}, {}),
        ({"blksize": "-512"}, {}),
        ({"blksize": "12x"}, {}),
        ({"blksize": "٥١٢"}, {}),
        ({"blksize": ""}, {}),
        ({"tsize": "0"}, {"tsize": "77"}),
        ({"tsize": "12345"}, {"tsize": "77"}),
        ({"timeout": "0"}, {}),
        ({"timeout": "1"}, {"timeout": "1"}),
        ({"timeout": "255"}, {"timeout": "255"}),
        ({"timeout": "256"}, {}),
        ({"windowsize": "0"}, {}),
        ({"windowsize": "65535"}, {"windowsize": "64"}),
        ({"multicast": "", "tsize": "0"}, {"tsize": "77"}),
        ({"windowsize": "4", "blksize": "512"}, {"windowsize": "4", "blksize": "512"}),
    ],
)
def test_what_a_server_grants(asked, granted):
    terms = grant(asked, max_blksize=1400, max_windowsize=64, size=77)
    assert terms.granted == granted
    assert terms.blksize == int(granted.get("blksize", 512))
    assert terms.windowsize == int(granted.get("windowsize", 1))


@pytest.mark.parametrize(
    "granted",
    [
        {"tsize": "5"},
        {"blksize": "1500"},
        {"blksize": "4"},
        {"windowsize": "9"},
        {"timeout": "4"},
        {"timeout": "x"},
    ],
)
def test_a_client_refuses_what_it_did_not_ask_for(granted):
    with pytest.raises(OptionError):
        accept({"blksize": "1428", "windowsize": "8", "timeout": "3"}, granted)


def test_a_client_takes_less_than_it_asked_for():
    terms = accept({"blksize": "1428", "tsize": "0"}, {"blksize": "512", "tsize": "9"})
    assert (terms.blksize, terms.tsize, terms.windowsize) == (512, 9, 1)


def test_netascii_of_line_ends():
    assert to_netascii(b"a\nb\rc\r\n") == b"a\r\nb\r\0c\r\0\r\n"


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\0", b"x"])), st.integers(1, 5))
def test_netascii_comes_back_however_it_is_cut(parts, step):
    text, taken = b"".join(parts), []
    wire, decoder = to_netascii(text), FromNetascii(taken.append)
    for at in range(0, len(wire), step):
        decoder(wire[at : at + step])
    decoder.finish()
    assert b"".join(taken) == text


def test_the_timer_learns_doubles_and_stays_within_the_negotiated_timeout():
    timer = RetransmitTimer(most_seconds=0.3)
    assert timer.seconds == pytest.approx(0.1)
    timer.sample(0.002)
    assert timer.seconds == pytest.approx(0.04)
    timer.lost()
    assert timer.seconds == pytest.approx(0.04)
    timer.lost()
    assert timer.seconds == pytest.approx(0.08)
    for _ in range(9):
        timer.lost()
    assert timer.seconds == pytest.approx(0.3)
    timer.progress()
    timer.too_early()
    assert timer.seconds == pytest.approx(0.08)
