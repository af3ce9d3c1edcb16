"""The suite proven on outsiders, whose deviations are documented, and on our own server."""

import re
from pathlib import Path

import pytest

from lab.conformance.model import Verdict
from tests.conformance.conftest import PEERS, Examined

TABLE = Path(__file__).parent.parent.parent / "docs" / "conformance-peers.md"


def documented(peer: str) -> set[str]:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in TABLE.read_text().splitlines()
        if line.startswith("|")
    ]
    column = next(at for at, cell in enumerate(rows[0]) if cell.split(" ")[0] == peer)
    return {row[0].strip("`") for row in rows[2:] if row[column] == "✗"}


@pytest.mark.parametrize("peer", PEERS)
def test_the_deviations_found_are_those_documented(peer: str, examined: Examined) -> None:
    report = examined[peer]
    assert {result.identifier for result in report.failures} == documented(peer)
    assert report.exit_code == 1


@pytest.mark.parametrize("peer", PEERS)
def test_what_they_do_right_is_seen_as_right(peer: str, examined: Examined) -> None:
    right = {"tftp.rrq.octet", "tftp.block.wrap", "tftp.peer.tftpy", "tftp.path.outside"}
    found = [result for result in examined[peer].results if result.identifier in right]
    assert {one.identifier: one.reason for one in found if one.verdict is not Verdict.PASS} == {}
    assert len(found) == len(right)


def test_our_tftp_server_conforms(examined: Examined) -> None:
    report = examined["trustlab"]
    assert [f"{one.identifier}: {one.reason}" for one in report.failures] == []
    assert report.exit_code == 0


def test_atftpd_is_caught_doubling_blocks_with_the_octets_as_evidence(examined: Examined) -> None:
    report = examined["atftpd"]
    found = next(one for one in report.results if one.identifier == "tftp.ack.duplicate")
    sent = [moment.octets for moment in found.timeline if moment.kind == "sent"]
    assert sent.count(bytes.fromhex("00040002")) >= 2
    third = [one for one in found.timeline if one.octets.startswith(bytes.fromhex("00030003"))]
    assert len(third) == 2
    assert re.search("came twice", found.reason)


def test_checks_are_named_once_and_say_where_they_come_from(examined: Examined) -> None:
    results = examined.reports["trustlab"].results
    names = [result.identifier for result in results]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"tftp\.[a-z]+\.?[a-z0-9-]*", name) for name in names)
    assert all(result.source and result.demand for result in results)
