"""Checks, their reports and exit codes."""

import json
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import trio

from itl.document import parse_header
from itl.trustlist import RecordSpec, build_trust_list
from lab import LabError
from lab.cli import reports
from lab.conformance import list_suite
from lab.conformance.examination import chosen, examine
from lab.conformance.model import (
    KEPT_MOMENTS,
    Report,
    Standing,
    Timeline,
    Verdict,
    check,
    demand,
    inapplicable,
    untold,
)
from lab.conformance.tlv import Document
from tests.daemons import trustlab
from tests.itl.forge import Forge
from tests.phone.clusters import STAMP, self_signed


@check("x.good", Standing.REQUIRED, "is good", "RFC 1")
async def good(target: str, seen: Timeline) -> str:
    seen.sent(b"\0\1\xff", target)
    return "it is"


@check("x.bad", Standing.REQUIRED, "is bad", "RFC 2")
async def bad(target: str, seen: Timeline) -> str:
    seen.received(b"\x1b[31m", target)
    demand(met=False, reason="<b>it\x1b is\0 not</b>")
    return ""


@check("x.odd", Standing.OBSERVED, "is odd", "a trace")
async def odd(_target: str, _seen: Timeline) -> str:
    demand(met=False, reason="it differs")
    return ""


@check("x.thin", Standing.ASSUMED, "is assumed", "a guess")
async def thin(_target: str, _seen: Timeline) -> str:
    demand(met=False, reason="it differs")
    return ""


@check("x.unclear", Standing.REQUIRED, "is unclear", "RFC 3")
async def unclear(_target: str, _seen: Timeline) -> str:
    untold("nobody answers")


@check("x.none", Standing.RECOMMENDED, "is not there", "RFC 4")
async def none(_target: str, _seen: Timeline) -> str:
    inapplicable("not observed")


@check("x.slow", Standing.REQUIRED, "ends", "RFC 5")
async def slow(_target: str, _seen: Timeline) -> str:
    await trio.sleep_forever()
    return ""


@check("x.broken", Standing.REQUIRED, "is reachable", "RFC 6")
async def broken(_target: str, _seen: Timeline) -> str:
    raise ConnectionRefusedError("refused")


def examined(*checks, **options) -> Report:
    return trio.run(partial(examine, "x", "host", "host:69", checks, **options))


@pytest.mark.parametrize(
    ("checks", "strict", "code"),
    [
        ([good], False, 0),
        ([good, odd, thin, none], False, 0),
        ([good, odd], True, 1),
        ([good, thin], True, 0),
        ([good, bad, unclear], False, 1),
        ([good, unclear], False, 3),
        ([good, broken], False, 3),
        ([none], False, 3),
        ([], False, 3),
    ],
)
def test_the_exit_code_follows_from_standing_and_verdict(checks, strict, code) -> None:
    assert examined(*checks, strict=strict).exit_code == code


def test_a_check_without_end_is_inconclusive_and_holds_up_nobody() -> None:
    report = examined(slow, good, at_once=2, deadline_seconds=0.05)
    assert [one.verdict for one in report.results] == [Verdict.INCONCLUSIVE, Verdict.PASS]


def test_checks_are_chosen_by_pattern() -> None:
    assert chosen([good, bad, odd], ["x.b*", "x.odd"]) == [bad, odd]
    with pytest.raises(LabError, match=r"no check is called x\.nothing"):
        chosen([good], ["x.nothing"])


def test_a_timeline_is_bounded() -> None:
    seen = Timeline()
    for _ in range(KEPT_MOMENTS + 5):
        seen.sent(bytes(5000), "peer")
    assert (len(seen.moments), seen.left_out) == (KEPT_MOMENTS, 5)
    assert seen.moments[0].length == 5000
    assert len(seen.moments[0].octets) < 200


def test_junit_tells_failures_from_what_is_not_counted() -> None:
    report = examined(good, bad, odd, thin, unclear, none)
    suite = ET.fromstring(reports.junit(report)).find("testsuite")  # noqa: S314  our own output
    assert suite is not None
    counts = {key: int(suite.get(key, "")) for key in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": 6, "failures": 1, "errors": 1, "skipped": 3}
    failed = suite.find("testcase[@name='x.bad']/failure")
    assert failed is not None
    assert "it� is� not" in failed.get("message", "").replace("\x1b", "�")
    assert "source: RFC 2" in (failed.text or "")


def test_the_page_needs_nothing_else_and_lets_nothing_through() -> None:
    page = reports.html(examined(good, bad, odd)).decode()
    assert "<b>it" not in page
    assert "&lt;b&gt;it\\x1b is\\x00 not&lt;/b&gt;" in page
    assert "0001ff" in page
    assert 'src="' not in page
    assert "http://" not in page
    assert "https://" not in page
    assert page.count('<tr id="x.') == 3


def test_json_holds_the_evidence() -> None:
    plain = examined(good, bad).as_json()
    assert plain["verdict"] == "fail"
    assert plain["failed"] == ["x.bad"]
    assert plain["counts"] == {"pass": 1, "fail": 1, "inconclusive": 0, "not applicable": 0}
    first = plain["checks"][0]
    assert {key: first[key] for key in ("id", "demand", "source", "standing", "verdict")} == {
        "id": "x.good",
        "demand": "is good",
        "source": "RFC 1",
        "standing": "required",
        "verdict": "pass",
    }
    moment = first["timeline"][0]
    assert (moment["kind"], moment["octets"], moment["length"]) == ("sent", "0001ff", 3)


def test_nobody_at_home_is_no_failure(tmp_path: Path) -> None:
    page, cases = tmp_path / "page.html", tmp_path / "cases.xml"
    found = trustlab(
        "conformance",
        "tvs",
        "127.0.0.1:1",
        "--check",
        "tvs.tls.1-2",
        "--html",
        page,
        "--junit",
        cases,
    )
    assert found.returncode == 3, found.stderr
    assert "could not be told" in found.stderr
    assert page.read_text().startswith("<!doctype html>")
    assert b"tvs.tls.1-2" in cases.read_bytes()
    silent = trustlab(
        "conformance", "tftp", "127.0.0.1:1", "--check", "tftp.rrq.octet",
        "--patience-seconds", "0.3",
    )  # fmt: skip
    assert silent.returncode == 3


def test_a_real_list_conforms(real_files: Path) -> None:
    listed = trustlab(
        "conformance",
        "list",
        real_files / "trustlists/CTLFile.gigantic-6.tlv",
        "--strict",
        "--json",
    )
    report = json.loads(listed.stdout)
    assert (report["failed"], listed.returncode) == ([], 0)
    stub = trustlab("conformance", "list", real_files / "trustlists/CTLSEP.one-byte.tlv", "--json")
    assert "list.structure" in json.loads(stub.stdout)["failed"]
    assert stub.returncode == 1


@pytest.fixture(scope="module")
def signers(rsa_keys):
    return [self_signed(f"S{number}", rsa_keys(number), serial=77 + number) for number in range(2)]


def verdicts(data: bytes) -> dict[str, Verdict]:
    document = Document(data, "ITLFile.tlv")
    report = trio.run(partial(examine, "list", "x", document, list_suite.CHECKS))
    return {one.identifier: one.verdict for one in report.results}


def records(signers, *roles: int) -> list[RecordSpec]:
    return [
        RecordSpec(role=role, certificate=signers[0].certificate, dns_name="n", address="192.0.2.1")
        for role in roles
    ]


@pytest.mark.parametrize(
    ("roles", "filename", "failed"),
    [
        ((0, 0, 3, 21), "ITLFile.tlv", set()),
        ((0, 0, 3), "ITLFile.tlv", {"list.itl.tvs"}),
        ((0, 0, 21), "ITLFile.tlv", {"list.itl.tftp"}),
        ((0, 3, 21), "ITLFile.tlv", {"list.anchors"}),
        ((0, 0, 2, 21), "CTLFile.tlv", {"list.ctl.no-tvs"}),
        ((0, 0, 3, 21, 9), "ITLFile.tlv", {"list.record.role"}),
        ((0, 0, 3, 21, *[4] * 40), "ITLFile.tlv", {"list.size.certificates"}),
    ],
)
def test_what_is_wrong_with_a_list_is_found(signers, roles, filename, failed) -> None:
    data = build_trust_list(
        records(signers, *roles), signer=signers[0], filename=filename, timestamp=STAMP
    )
    found = {name for name, verdict in verdicts(data).items() if verdict is Verdict.FAIL}
    assert found == failed


def test_a_section_without_certificates_is_an_empty_one(signers) -> None:
    empty = [RecordSpec(role, None, "n", "192.0.2.1") for role in (0, 3, 21)]
    data = build_trust_list(
        [*records(signers, 0), *empty], signer=signers[0], filename="ITLFile.tlv", timestamp=STAMP
    )
    found = {name for name, verdict in verdicts(data).items() if verdict is Verdict.FAIL}
    assert found == {"list.itl.tvs", "list.itl.tftp", "list.anchors"}


def test_a_signature_of_an_unknown_algorithm_is_not_right(signers, rsa_keys) -> None:
    data = build_trust_list(
        records(signers, 0, 0, 3, 21), signer=signers[0], filename="ITLFile.tlv", timestamp=STAMP
    )
    other = data.replace(b"\x0a\0\1\0", b"\x0a\0\1\1", 1)
    found = verdicts(Forge(rsa_keys).sign_again(other, signers[0]))
    assert [name for name, verdict in found.items() if verdict is Verdict.FAIL] == [
        "list.signature.valid"
    ]


@pytest.mark.parametrize("tag", [8, 11, 15, None], ids=["8", "11", "15", "record"])
def test_a_number_of_thousands_of_octets_is_a_failure_and_no_error_of_ours(signers, tag) -> None:
    data = build_trust_list(
        records(signers, 0, 0, 3, 21), signer=signers[0], filename="ITLFile.tlv", timestamp=STAMP
    )
    header = parse_header(data)
    offsets = {element.tag: element.offset for element in header.elements}
    at = offsets.get(tag, header.header_length)
    width = int.from_bytes(data[at + 1 : at + 3])
    more = 0 if tag is None else 4096 - width
    length = (header.header_length + more).to_bytes(2)
    value = b"\x10\0" + b"\xff" * 4096
    changed = data[:8] + length + data[10 : at + 1] + value + data[at + 3 + width :]
    assert verdicts(changed)["list.structure"] is Verdict.FAIL


def test_a_record_whose_certificate_cannot_be_read_ends_no_check(signers) -> None:
    """Its version is one that no certificate has."""
    certificate = signers[0].certificate
    data = build_trust_list(
        records(signers, 0, 0, 3, 21), signer=signers[0], filename="ITLFile.tlv", timestamp=STAMP
    )
    version = certificate.index(bytes.fromhex("a003020102")) + 4
    broken = certificate[:version] + b"\x03" + certificate[version + 1 :]
    found = verdicts(data.replace(certificate, broken))
    assert found["list.signature.valid"] is Verdict.INCONCLUSIVE


def test_every_changed_octet_of_a_list_is_found(signers) -> None:
    data = build_trust_list(
        records(signers, 0, 0, 3, 21), signer=signers[0], filename="ITLFile.tlv", timestamp=STAMP
    )
    for at in range(0, len(data), 97):
        changed = data[:at] + bytes((data[at] ^ 0x40,)) + data[at + 1 :]
        assert Verdict.FAIL in verdicts(changed).values(), f"octet {at}"
        assert Verdict.FAIL in verdicts(data[:at]).values(), f"cut at octet {at}"


def test_the_report_names_when_it_began() -> None:
    report = examined(good)
    assert (datetime.now(UTC) - report.started).total_seconds() < 60
