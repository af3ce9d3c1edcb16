"""Which phone meets which fault at which boot, without a daemon."""

import socket

import pytest

from lab.scenarios.links import FaultyLink
from lab.scenarios.mischief import MAX_PHONES, NOT_FOUND, Mischief
from lab.scenarios.model import TransferFault, parse_scenario
from tftp.content import Octets
from tftp.packets import encode_data
from tftp.sockets import send_window

SCENARIO = b"""
name = "x"
title = "t"
why = "w"
source = "s"
[[fault]]
on = "list"
what = "missing"
boots = [2]
phones = ["00005e005301", "192.0.2.9"]
[[expect]]
boot = 2
asks = "x"
"""
LIST = Octets(b"the true list", key=1)


@pytest.fixture
def told() -> list[dict]:
    return []


@pytest.fixture
def mischief(told: list[dict]) -> Mischief:
    clock = [0.0]

    def now() -> float:
        clock[0] += 1
        return clock[0]

    return Mischief(
        scenario=parse_scenario(SCENARIO, "x.toml"),
        stranger=None,  # nothing here is forged
        forger=None,
        find=None,
        own_tvs=("127.0.0.1", 1),
        report=told.append,
        now=now,
    )


def boots(mischief: Mischief, mac: str, address: str, *, times: int = 3) -> list[bool]:
    """Whether the list was missing, boot by boot."""
    missing = []
    for _ in range(times):
        mischief.file_answer(f"CTLSEP{mac}.tlv", address, NOT_FOUND)
        missing.append(mischief.file_answer(f"ITLSEP{mac}.tlv", address, LIST) is NOT_FOUND)
    return missing


def test_a_fault_is_met_by_the_phones_named_and_at_its_boot(mischief: Mischief) -> None:
    assert boots(mischief, "00005E005301", "192.0.2.1") == [False, True, False]
    assert boots(mischief, "00005E005302", "192.0.2.1") == [False, False, False]
    assert boots(mischief, "00005E005303", "192.0.2.9") == [False, True, False]


def test_without_names_every_phone_meets_it(mischief: Mischief) -> None:
    fault = mischief.scenario.fault[0]
    everyone = type(fault)(what=fault.what, boots=fault.boots)
    mischief.scenario = type(mischief.scenario)(
        "x", "t", "w", "s", expect=mischief.scenario.expect, fault=(everyone,)
    )
    assert boots(mischief, "00005E005302", "192.0.2.1") == [False, True, False]


def test_a_first_request_repeated_at_once_is_the_same_boot(
    mischief: Mischief, told: list[dict]
) -> None:
    for _ in range(2):
        mischief.file_answer("CTLSEP00005E005301.tlv", "192.0.2.1", NOT_FOUND)
    assert [event["boot"] for event in told] == [1, 1]
    for _ in range(4):  # the clock goes on by a second a question
        mischief.file_answer("CTLSEP00005E005301.tlv", "192.0.2.1", NOT_FOUND)
    assert told[-1]["boot"] == 2


def test_who_got_the_first_file_and_asks_again_begins_anew(
    mischief: Mischief, told: list[dict]
) -> None:
    for _ in range(3):
        mischief.file_answer("CTLSEP00005E005301.tlv", "192.0.2.1", LIST)
    assert [event["boot"] for event in told] == [1, 2, 3]


def test_files_without_a_name_of_a_phone_are_the_last_ones_there(
    mischief: Mischief, told: list[dict]
) -> None:
    assert mischief.file_answer("x.loads", "192.0.2.1", LIST) is LIST
    assert told == []
    boots(mischief, "00005E005302", "192.0.2.1", times=1)
    mischief.file_answer("x.loads", "192.0.2.1", LIST)
    assert (told[-1]["device"], told[-1]["file"]) == ("SEP00005E005302", "x.loads")


def test_a_flood_of_names_is_bounded(mischief: Mischief, told: list[dict]) -> None:
    for number in range(MAX_PHONES + 10):
        mischief.file_answer(f"ITLSEP{number:012X}.tlv", "192.0.2.1", LIST)
    assert len(told) == MAX_PHONES


def test_a_window_meets_the_fault_block_by_block() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(5)
        made = socket.SocketType(socket.AF_INET, socket.SOCK_DGRAM, 0)
        made.connect(peer.getsockname())
        fault = TransferFault(what="lose", every=2, boots=[1])
        link = FaultyLink(made, fault, later=lambda _seconds, _call: None)
        window = memoryview(b"".join(encode_data(n, b"8 octets") for n in range(1, 5)))
        for arriving in ([1, 3], [1, 2, 3, 4]):
            send_window(link, window, 12)
            assert [peer.recv(99)[3] for _ in arriving] == arriving
        link.close()
