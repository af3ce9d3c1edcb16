"""Hostile octets: one error of ours that names a place, and work that grows with the file only."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itl.document import parse_header
from itl.elements import Element, encode_record
from itl.encryption import encrypt_file
from itl.errors import FormatError
from itl.signedfile import sign_file
from itl.signing import Verdict, verify_data
from itl.trustlist import RecordSpec, parse_trust_list
from tests.fuzz.examine import examine

MEGABYTES = 4 * 1024 * 1024


@pytest.fixture(scope="module")
def originals(forge) -> list[bytes]:
    """One document of each kind this project writes."""
    signer = forge.signer()
    return [
        forge.list(signer),
        forge.list(signer, style="certutils", signer_version="1.1"),
        forge.list(
            signer, [RecordSpec(0, signer.certificate), RecordSpec(2, None, "n", "10.0.0.1")]
        ),
        sign_file(b"<device/>", name="a.cnf.xml.sgn", signer=signer, timestamp=1),
        encrypt_file(
            b"<device/>",
            name="a.cnf.xml.enc.sgn",
            phone_certificate=signer.certificate,
            signer=signer,
            timestamp=1,
        ),
    ]


@settings(max_examples=300)
@given(which=st.integers(0, 4), data=st.data())
def test_changed_documents_are_never_valid_and_never_break_a_reader(forge, originals, which, data):
    original = originals[which]
    changed = original
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed)))
        cut = data.draw(st.sampled_from([0, 1, 1, 2, 3, 200]))
        new = data.draw(st.one_of(st.binary(max_size=3), st.sampled_from([b"\xff\xff", b"\0\0"])))
        changed = changed[:at] + new + changed[at + cut :]
    verdict = examine(changed, forge.key(1024))
    if changed != original:
        assert verdict is not Verdict.VALID


elements = st.builds(
    lambda tag, value, lie: bytes((tag,)) + (len(value) + lie).to_bytes(2) + value,
    st.one_of(st.integers(0, 30), st.integers(0, 255)),
    st.binary(max_size=20),
    st.sampled_from([0, 0, 0, 0, 1, 60_000]),
)


@settings(max_examples=200)
@given(
    head=st.lists(elements, max_size=8),
    records=st.lists(st.lists(elements, max_size=6), max_size=3),
    data=st.data(),
)
def test_documents_of_arbitrary_elements_never_break_a_reader(forge, head, records, data):
    """Lengths of header and records that are right let the walk go deep."""
    body = data.draw(st.permutations(head))
    octets = b"".join(body)
    octets = bytes.fromhex("0100020102020002") + (10 + len(octets)).to_bytes(2) + octets
    for record in records:
        inner = b"".join(record)
        octets += b"\x01\x00\x02" + (5 + len(inner)).to_bytes(2) + inner
    assert examine(octets, forge.key(1024)) is not Verdict.VALID


def test_every_cut_is_found(originals):
    for original in originals[:3]:
        boundaries = {r.offset for r in parse_trust_list(original).records[1:]}
        for cut in range(len(original)):
            verdict = verify_data(original[:cut]).verdict
            # cut between two records, all that is left can be read, and was not signed so
            expected = Verdict.INVALID if cut in boundaries else Verdict.MALFORMED
            assert verdict is expected, cut


def test_every_octet_of_a_header_set_to_the_least_and_the_most(forge, originals):
    key = forge.key(1024)
    for original in originals:
        for at in range(parse_header(original).header_length):
            for value in (b"\0", b"\xff"):
                changed = original[:at] + value + original[at + 1 :]
                assert examine(changed, key) is not Verdict.VALID or changed == original


@pytest.mark.parametrize("tag", [2, 3, 4, 6, 12, 14])
def test_an_element_twice_is_named_with_both_places(forge, tag):
    data = forge.list()
    header = parse_header(data)
    element = next(e for e in header.elements if e.tag == tag)
    octets = bytes((tag,)) + (
        element.value if tag == 3 else len(element.value).to_bytes(2) + element.value
    )
    at = header.header_length
    doubled = data[:8] + (at + len(octets)).to_bytes(2) + data[10:at] + octets + data[at:]
    with pytest.raises(
        FormatError, match=f"a second one; the first is at byte {element.offset}"
    ) as raised:
        parse_trust_list(doubled)
    assert raised.value.offset == at


@pytest.mark.parametrize("lie", [-300, -1, 1, 4, 5000, 60_000])
def test_header_lengths_that_lie_are_malformed(forge, lie):
    data = forge.list()
    length = parse_header(data).header_length + lie
    assert verify_data(data[:8] + length.to_bytes(2) + data[10:]).verdict is Verdict.MALFORMED


@pytest.mark.parametrize("lie", [-1000, -7, -1, 1, 7, 60_000])
def test_record_lengths_that_lie_are_malformed_and_the_record_is_named(forge, lie):
    data = forge.list()
    second = parse_trust_list(data).records[1]
    at = second.offset + 3
    length = min(max(second.length + lie, 0), 0xFFFF)
    changed = data[:at] + length.to_bytes(2) + data[at + 2 :]
    verification = verify_data(changed)
    assert verification.verdict is Verdict.MALFORMED
    assert re.search(r"record \d ", verification.findings[0].text)


MINIMAL_RECORD = encode_record([Element(1, b"\x00\x0a", 0), Element(4, b"\x00\x00", 0)])


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "tail",
    [
        b"\x0d" * MEGABYTES,
        b"\x00" * MEGABYTES,
        b"\xff" * MEGABYTES,
        MINIMAL_RECORD * (MEGABYTES // 10),
        b"\x01\x00\x02\xff\xff" * (MEGABYTES // 5),
        b"\xc8\x00\x00" * (MEGABYTES // 3),
    ],
    ids=["pads", "zeros", "ones", "least records", "longest records", "empty elements"],
)
def test_work_does_not_outgrow_the_file(forge, tail):
    header = parse_trust_list(forge.list()).header.encode()
    assert verify_data(header + tail).verdict is not Verdict.VALID
    assert verify_data(header[:10] + tail).verdict is not Verdict.VALID
    assert verify_data(b"\x01\x00\x02" + tail).verdict is Verdict.MALFORMED


def test_a_file_of_nothing_but_elements_does_not_fill_the_memory(forge):
    """Each takes three octets in the file and a hundred in memory: reading stops in time."""
    role = b"\x04\x00\x02\x00\x02"
    elements = b"\x63\x00\x00" * 21_000
    record = b"\x01\x00\x02" + (10 + len(elements)).to_bytes(2) + role + elements
    data = parse_trust_list(forge.list()).header.encode() + record * 128
    verification = verify_data(data)
    assert verification.verdict is Verdict.MALFORMED
    assert "more than 200000 elements" in verification.findings[0].text


@pytest.mark.timeout(20)
def test_a_list_of_look_alikes_of_its_signer_is_judged_quickly(forge):
    """Each of 2000 records names the signer with a key of its own."""
    data = forge.list()
    document = parse_trust_list(data)
    first = document.records[0]
    forged = []
    for number in range(2000):
        key = bytearray(first.public_key)
        key[20:24] = number.to_bytes(4)
        kept = [e for e in first.elements if e.tag not in {9, 10}]
        changed = [e._replace(value=bytes(key)) if e.tag == 7 else e for e in kept]
        length = sum(3 + len(e.value) for e in changed)
        changed = [e._replace(value=length.to_bytes(2)) if e.tag == 1 else e for e in changed]
        forged.append(encode_record(changed))
    assert verify_data(document.header.encode() + b"".join(forged)).verdict is Verdict.INVALID
