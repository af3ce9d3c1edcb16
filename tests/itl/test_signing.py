"""The four verdicts, whose key gave them, and findings that change none."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519

from conf.signer import Signer
from itl.certificates import describe
from itl.elements import Element, encode_header, encode_record
from itl.roles import Role
from itl.show import show_text
from itl.signedfile import sign_file
from itl.signing import Verdict, verify, verify_data
from itl.trustlist import RecordSpec, parse_trust_list
from itl.values import document_value

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def codes(verification):
    return {finding.code for finding in verification.findings}


def with_header(document, change):
    """The list with its header elements changed by ``change(element)``; None drops one."""
    kept = [new for element in document.header.elements if (new := change(element)) is not None]
    length = len(encode_header(kept))
    kept = [e._replace(value=length.to_bytes(2)) if e.tag == 2 else e for e in kept]
    return encode_header(kept) + b"".join(record.encode() for record in document.records)


def replacing(tag, value):
    return lambda element: element._replace(value=value) if element.tag == tag else element


def test_a_list_verifies_with_its_own_record(forge):
    verification = verify_data(forge.list(), now=NOW)
    assert (verification.verdict, verification.signer.record) == (Verdict.VALID, 1)
    assert codes(verification) == {"weak-digest"}


def test_the_signer_is_found_by_serial_and_issuer_not_by_being_first(forge):
    signer = forge.signer(serial=77)
    other = forge.certificate("CN=other,O=Lab", serial=77)
    specs = [
        RecordSpec(0, other),
        RecordSpec(2, signer.certificate),
        RecordSpec(0, signer.certificate),
    ]
    verification = verify_data(forge.list(signer, specs))
    assert (verification.verdict, verification.signer.record) == (Verdict.VALID, 3)


@pytest.mark.parametrize("at", ["signature", "timestamp", "record", "last"])
def test_one_changed_octet_is_invalid(forge, at):
    data = bytearray(forge.list(forge.signer(2048), digest="sha512"))
    document = parse_trust_list(bytes(data))
    place = {
        "signature": document.header.signature_at + 10,
        "timestamp": document.header.header_length - 5,
        "record": document.records[1].offset + 12,
        "last": len(data) - 1,
    }[at]
    data[place] ^= 1
    verification = verify_data(bytes(data))
    assert verification.verdict is Verdict.INVALID
    assert "bad-signature" in codes(verification)
    assert "weak-digest" not in codes(verification)


def test_a_list_signed_by_another_than_it_names_is_invalid(forge):
    named = forge.certificate(key=forge.key(2048))
    real = forge.list(forge.signer(1024), [RecordSpec(0, named)])
    verification = verify_data(real)
    assert verification.verdict is Verdict.INVALID
    assert verification.signer.record == 1


def test_a_signer_in_no_record_is_unknown_until_its_certificate_is_given(forge):
    signer = forge.signer(serial=0x1234)
    data = forge.list(signer, [RecordSpec(0, forge.certificate("CN=stranger"))])
    verification = verify_data(data)
    assert verification.verdict is Verdict.UNKNOWN
    assert "unknown-signer" in codes(verification)
    assert verify_data(data, [signer.certificate]).verdict is Verdict.VALID
    given = verify_data(data, signer=signer.certificate)
    assert (given.verdict, given.signer.record) == (Verdict.VALID, None)
    assert given.signer.certificate == signer.certificate


def test_a_signer_given_is_the_only_one_that_counts(forge):
    """Otherwise any list would pass by vouching for itself."""
    verification = verify_data(forge.list(), signer=forge.certificate("CN=x", key=forge.key(2048)))
    assert verification.verdict is Verdict.INVALID
    assert {"signer-mismatch", "bad-signature"} <= codes(verification)


def test_a_certificate_of_the_same_name_and_serial_takes_precedence_over_the_lists_own(forge):
    """A list that names a known signer, but holds a key of its own under that name."""
    real = forge.certificate(key=forge.key(2048))
    assert verify_data(forge.list(), [real]).verdict is Verdict.INVALID


def test_a_signed_file_needs_its_signer(forge):
    signer = forge.signer(2048)
    data = sign_file(b"<device/>", name="x.cnf.xml.sgn", signer=signer, timestamp=1)
    assert verify_data(data).verdict is Verdict.UNKNOWN
    assert (
        verify_data(data, [forge.certificate("CN=y"), signer.certificate]).verdict is Verdict.VALID
    )
    assert verify_data(data + b"\n", [signer.certificate]).verdict is Verdict.INVALID


def test_a_signer_named_in_commas_is_found_among_certificates(forge):
    signer = forge.signer(2048)
    record = RecordSpec(0, forge.certificate("CN=stranger"))
    data = forge.list(signer, [record], style="certutils")
    assert verify_data(data, [signer.certificate]).verdict is Verdict.VALID


def test_a_serial_number_alone_whose_key_does_not_verify_leaves_it_open(forge):
    document = parse_trust_list(forge.list())
    other = document.header.value(6).replace(b";", b"/")
    changed = parse_trust_list(with_header(document, replacing(6, other)))
    verification = verify(changed)
    # the octets were changed, so the signature fails; that no record is exact leaves it open
    assert verification.verdict is Verdict.UNKNOWN


def test_a_serial_number_that_matches_under_another_issuer_text_is_tried(forge):
    signer = forge.signer()
    document = parse_trust_list(forge.list(signer))
    other = document.header.value(6).replace(b";", b"/")
    data = forge.sign_again(with_header(document, replacing(6, other)), signer)
    verification = verify_data(data)
    assert (verification.verdict, verification.signer.record) == (Verdict.VALID, 1)
    assert "issuer-text" in codes(verification)


def test_a_signer_that_is_no_sast_is_noticed(forge):
    signer = forge.signer()
    verification = verify_data(forge.list(signer, [RecordSpec(Role.TFTP, signer.certificate)]))
    assert verification.verdict is Verdict.VALID
    assert "signer-not-sast" in codes(verification)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda e: None if e.tag == 12 else e, "no-signature"),
        (replacing(8, b"\x07"), "unknown-digest"),
        (lambda e: None if e.tag == 8 else e, "unknown-digest"),
        (replacing(10, b"\x01"), "unknown-algorithm"),
        (replacing(12, b"\x01"), "bad-signature"),
    ],
)
def test_a_header_that_no_key_can_verify_is_invalid(forge, change, code):
    document = parse_trust_list(forge.list())
    verification = verify_data(with_header(document, change))
    assert verification.verdict is Verdict.INVALID
    assert code in codes(verification)


def test_a_digest_of_code_2_is_verified_although_never_written(forge):
    """SHA-256 is in no real file; a list that has it is judged like any other."""
    signer = forge.signer()
    document = parse_trust_list(forge.list(signer))
    unsigned = with_header(document, replacing(8, b"\x02"))
    signed = forge.sign_again(unsigned, signer, hashes.SHA256())
    value = document_value(parse_trust_list(signed))
    assert (value["digest"], value["verdict"]) == ("sha256", "valid")
    assert show_text(parse_trust_list(signed)).endswith("file was verified successfully.\n")


def test_an_ec_signer_cannot_have_signed(forge):
    key = forge.ec_key()
    named = forge.certificate(key=key)
    verification = verify_data(forge.list(records=[RecordSpec(0, named)]))
    assert verification.verdict is Verdict.INVALID
    assert "signer-key" in codes(verification)


def test_a_signer_with_a_key_of_no_known_kind_cannot_have_signed(forge):
    document = parse_trust_list(forge.list())
    ed = forge.certificate(key=ed25519.Ed25519PrivateKey.generate())
    for octets in (b"", b"\x04junk"):
        kept = [e for e in document.records[0].elements if e.tag != 1]
        kept = [e._replace(value={7: octets, 9: ed}.get(e.tag, e.value)) for e in kept]
        length = 5 + sum(3 + len(e.value) for e in kept)
        record = encode_record([Element(1, length.to_bytes(2), 0), *kept])
        verification = verify_data(document.header.encode() + record)
        assert verification.verdict is Verdict.INVALID
        assert "signer-key" in codes(verification)


def test_an_address_of_another_length_is_shown_as_octets(forge):
    document = parse_trust_list(forge.list())
    first = document.records[0]
    kept = [e._replace(value=bytes(16)) if e.tag == 10 else e for e in first.elements if e.tag != 1]
    record = encode_record([Element(1, (first.length + 12).to_bytes(2), 0), *kept])
    data = document.header.encode() + record
    assert parse_trust_list(data).records[0].address == "00" * 16
    assert "address" in codes(verify_data(data))


def test_a_record_without_certificate_verifies_by_its_key(forge):
    document = parse_trust_list(forge.list())
    first = document.records[0]
    elements = [e for e in first.elements if e.tag not in {1, 9}]
    length = 5 + sum(3 + len(e.value) for e in elements)
    record = encode_record([Element(1, length.to_bytes(2), 0), *elements])
    data = forge.sign_again(document.header.encode() + record, forge.signer())
    verification = verify_data(data)
    assert verification.verdict is Verdict.VALID
    assert (verification.signer.record, verification.signer.certificate) == (1, None)


def test_findings_name_all_that_is_odd_at_once(forge):
    signer = forge.signer()
    past = datetime(2001, 1, 1, tzinfo=UTC)
    expired = forge.certificate(
        "CN=old", not_before=datetime(2000, 1, 1, tzinfo=UTC), not_after=past
    )
    future = forge.certificate("CN=new", not_before=datetime(2030, 1, 1, tzinfo=UTC))
    specs = [RecordSpec(0, signer.certificate)] * 3
    specs += [RecordSpec(9, expired), RecordSpec(21, future)]
    verification = verify_data(forge.list(signer, specs), now=NOW)
    assert verification.verdict is Verdict.VALID
    assert codes(verification) == {
        "weak-digest",
        "duplicate-record",
        "many-sasts",
        "unknown-role",
        "certificate-expired",
        "certificate-not-yet-valid",
    }


def test_dates_are_judged_only_against_a_time_given(forge):
    expired = forge.certificate(not_after=datetime(2021, 1, 1, tzinfo=UTC))
    signer = Signer(expired, forge.key(1024))
    assert "certificate-expired" not in codes(verify_data(forge.list(signer)))
    assert "certificate-expired" in codes(verify_data(forge.list(signer), now=NOW))


def test_a_list_too_long_for_phones_is_valid_and_noticed(forge):
    signer = forge.signer()
    specs = [RecordSpec(0, signer.certificate)]
    specs += [RecordSpec(21, forge.certificate(f"CN=n{i}"), f"n{i}") for i in range(100)]
    verification = verify_data(forge.list(signer, specs))
    assert verification.verdict is Verdict.VALID
    assert {"list-too-long", "too-many-certificates"} <= codes(verification)


def test_elements_that_belie_the_certificate_are_noticed(forge):
    document = parse_trust_list(forge.list())
    changed = [
        e._replace(value=e.value[::-1]) if e.tag in {6, 7} else e
        for e in document.records[0].elements
    ]
    data = document.header.encode() + encode_record(changed)
    texts = [f.text for f in verify_data(data).findings if f.code == "record-mismatch"]
    assert len(texts) == 2


def test_a_certificate_that_cannot_be_read_leaves_the_list_readable(forge):
    document = parse_trust_list(forge.list())
    broken = [
        e._replace(value=bytes(len(e.value))) if e.tag == 9 else e
        for e in document.records[0].elements
    ]
    verification = verify_data(document.header.encode() + encode_record(broken))
    assert verification.verdict is Verdict.INVALID
    assert "certificate-unreadable" in codes(verification)


@pytest.mark.parametrize("delta", [-1, 1, 200])
def test_group_lengths_that_lie_are_found(forge, delta):
    document = parse_trust_list(forge.list())
    group = next(e for e in document.header.elements if e.tag == 3)
    lie = (int.from_bytes(group.value) + delta).to_bytes(2)
    verification = verify_data(with_header(document, replacing(3, lie)))
    assert verification.verdict is Verdict.INVALID
    assert "group-length" in codes(verification)


def test_group_lengths_that_lie_under_a_good_signature_leave_it_valid(forge):
    signer = forge.signer()
    document = parse_trust_list(forge.list(signer))
    unsigned = with_header(document, replacing(9, b"\x00\x00"))
    verification = verify_data(forge.sign_again(unsigned, signer))
    assert verification.verdict is Verdict.VALID
    assert "group-length" in codes(verification)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b" ", "no-header"),
        (b"<device/>", "no-header"),
        (b"\x01\x00\x02\x01", "malformed"),
    ],
)
def test_what_has_no_header_is_malformed(data, code):
    verification = verify_data(data)
    assert (verification.verdict, verification.signer) == (Verdict.MALFORMED, None)
    assert codes(verification) == {code}


def test_a_signed_file_is_no_list(forge):
    data = sign_file(b"<device/>", name="x.cnf.xml.sgn", signer=forge.signer(), timestamp=1)
    verification = verify_data(data, lists_only=True)
    assert verification.verdict is Verdict.MALFORMED
    assert "no list but a file of the kind signed file" in verification.findings[0].text


def test_records_follow_each_other_without_gap(forge):
    records = parse_trust_list(forge.list()).records
    assert all(one.offset + one.length == two.offset for one, two in pairwise(records))
    assert describe(records[0].certificate).serial == records[0].serial


def test_a_sign_octet_before_a_serial_number_does_not_hide_the_signer(forge):
    signer = forge.signer(serial=0x83E9)
    document = parse_trust_list(forge.list(signer))
    data = forge.sign_again(with_header(document, replacing(5, b"\x00\x83\xe9")), signer)
    verification = verify_data(data)
    assert (verification.verdict, verification.signer.record) == (Verdict.VALID, 1)


def test_a_signer_of_3072_bits_is_verified_although_none_is_written(forge):
    signer = forge.signer(3072, serial=3)
    document = parse_trust_list(forge.list(records=[RecordSpec(0, signer.certificate)]))

    def named(element):
        new = {5: b"\x03", 11: b"\x09", 12: bytes(384)}.get(element.tag, element.value)
        return element._replace(value=new)

    data = forge.sign_again(with_header(document, named), signer)
    verification = verify_data(data)
    assert verification.verdict is Verdict.VALID
    assert {"modulus", "group-length"} <= codes(verification)
    assert "12\tSIGNATURE\t384" in show_text(parse_trust_list(data))


def test_a_certificate_given_that_is_out_of_date_is_noticed(forge):
    past = datetime(2001, 1, 1, tzinfo=UTC)
    old = forge.certificate(not_before=datetime(2000, 1, 1, tzinfo=UTC), not_after=past)
    signer = Signer(old, forge.key(1024))
    data = sign_file(b"x", name="a.sgn", signer=signer, timestamp=1)
    verification = verify_data(data, signer=old, now=NOW)
    assert verification.verdict is Verdict.VALID
    assert "certificate-expired" in codes(verification)


def test_a_broken_certificate_beside_a_good_key_leaves_the_verdict_to_the_key(forge):
    signer = forge.signer()
    document = parse_trust_list(forge.list(signer, [RecordSpec(0, signer.certificate)]))
    broken = [
        e._replace(value=bytes(len(e.value))) if e.tag == 9 else e
        for e in document.records[0].elements
    ]
    data = forge.sign_again(document.header.encode() + encode_record(broken), signer)
    verification = verify_data(data)
    assert verification.verdict is Verdict.VALID
    assert "certificate-unreadable" in codes(verification)


def test_a_record_with_neither_readable_certificate_nor_key_leaves_it_open(forge):
    document = parse_trust_list(forge.list())
    kept = [e for e in document.records[0].elements if e.tag not in {1, 7}]
    kept = [e._replace(value=b"\x30\x00") if e.tag == 9 else e for e in kept]
    length = 5 + sum(3 + len(e.value) for e in kept)
    record = encode_record([Element(1, length.to_bytes(2), 0), *kept])
    verification = verify_data(document.header.encode() + record)
    assert verification.verdict is Verdict.UNKNOWN
    assert {"signer-key", "unknown-signer"} <= codes(verification)


def test_an_unknown_element_is_named_once_a_record_however_often_it_stands_there(forge):
    document = parse_trust_list(forge.list())
    records = [record.encode() for record in document.records]
    length = int.from_bytes(records[0][3:5]) + 300
    records[0] = records[0][:3] + length.to_bytes(2) + records[0][5:] + b"\x63\x00\x00" * 100
    verification = verify_data(document.header.encode() + b"".join(records))
    named = [one for one in verification.findings if one.code == "unknown-element"]
    assert len(named) == 1
