"""Two lists: what trust changes, and what a phone that holds the first makes of the second."""

import pytest
from cryptography.hazmat.primitives import hashes

from conf.signer import Signer
from itl.difference import Reaction, compare
from itl.roles import Role
from itl.trustlist import RecordSpec, parse_trust_list


@pytest.fixture
def old(forge) -> Signer:
    return forge.signer(1024, subject="CN=old", serial=11)


@pytest.fixture
def new(forge) -> Signer:
    return forge.signer(2048, subject="CN=new", serial=22)


def of(forge, signer, *specs, **keywords):
    records = [RecordSpec(Role.SAST, signer.certificate), *specs]
    return parse_trust_list(forge.list(signer, records, **keywords))


@pytest.fixture
def tvs(forge) -> RecordSpec:
    return RecordSpec(Role.TVS, forge.certificate("CN=tvs", serial=33), "tvs")


def test_the_same_list_changes_nothing(forge, old, tvs):
    document = of(forge, old, tvs)
    comparison = compare(document, document)
    assert comparison.same_trust
    assert comparison.reaction is Reaction.UNCHANGED


def test_a_list_of_the_same_signer_is_accepted(forge, old, tvs):
    later = of(forge, old, tvs, timestamp=2)
    comparison = compare(of(forge, old, tvs), later)
    assert comparison.same_trust
    assert comparison.reaction is Reaction.ACCEPTS


def test_the_order_of_records_is_no_change(forge, old, tvs):
    more = RecordSpec(Role.TFTP, old.certificate)
    comparison = compare(of(forge, old, tvs, more), of(forge, old, more, tvs))
    assert comparison.same_trust


def test_what_comes_goes_and_changes_is_told_apart(forge, old, tvs):
    renewed = RecordSpec(Role.TVS, forge.certificate("CN=tvs", serial=34), "tvs")
    goes = RecordSpec(Role.CAPF, forge.certificate("CN=capf"))
    comes = RecordSpec(Role.TFTP, old.certificate)
    comparison = compare(of(forge, old, tvs, goes), of(forge, old, renewed, comes))
    assert [record.role for record in comparison.gone] == [Role.CAPF]
    assert [record.role for record in comparison.come] == [Role.TFTP]
    (change,) = comparison.changed
    assert (change.before.serial, change.after.serial) == (b"\x21", b"\x22")


@pytest.mark.timeout(10)
def test_comparing_takes_time_in_proportion_to_the_lists(forge, old):
    """6000 records without certificate, each with another address in the other list.

    They stand there last to first: whoever looks for each from the beginning passes all the others.
    """
    lists = [
        of(
            forge,
            old,
            *(RecordSpec(Role.TFTP, None, f"n{number}", address) for number in numbers),
        )
        for numbers, address in (
            (range(6000), "10.0.0.1"),
            (reversed(range(6000)), "10.0.0.2"),
        )
    ]
    comparison = compare(*lists)
    assert not comparison.gone
    assert not comparison.come
    assert len(comparison.changed) == 6000


def test_a_foreign_signer_needs_tvs_and_is_named(forge, old, new, tvs):
    comparison = compare(of(forge, old, tvs), of(forge, new))
    assert comparison.reaction is Reaction.NEEDS_TVS
    assert comparison.vouched.serial == b"\x16"
    assert comparison.vouched.certificate == new.certificate


def test_a_foreign_signer_is_refused_where_no_tvs_can_be_asked(forge, old, new):
    held = of(forge, old, RecordSpec(Role.TFTP, old.certificate))
    assert compare(held, of(forge, new)).reaction is Reaction.REFUSES


def test_a_ctl_leaves_tvs_to_the_itl(forge, old, new):
    held = of(forge, old, RecordSpec(Role.CCM_TFTP, old.certificate), filename="CTLFile.tlv")
    comparison = compare(held, of(forge, new, filename="CTLFile.tlv"))
    assert comparison.reaction is Reaction.NEEDS_TVS
    assert "ITL" in comparison.reason


def test_a_list_with_a_bad_signature_is_refused(forge, old, tvs):
    offered = bytearray(of(forge, old, tvs).raw)
    offered[-1] ^= 1
    assert (
        compare(of(forge, old, tvs), parse_trust_list(bytes(offered))).reaction is Reaction.REFUSES
    )


def test_a_stranger_under_a_known_name_and_serial_is_refused(forge, old, tvs):
    fake = forge.signer(2048, subject="CN=old", serial=11)
    comparison = compare(of(forge, old, tvs), of(forge, fake, tvs))
    assert comparison.reaction is Reaction.REFUSES
    assert "did not sign" in comparison.reason


def test_an_emptied_itl_accepts_any_other(forge, old, new):
    """The parameter for a rollback to releases before 8.0 empties the TFTP and TVS sections."""
    held = of(forge, old, RecordSpec(Role.TFTP, None, "n"), RecordSpec(Role.TVS, None, "n"))
    assert compare(held, of(forge, new)).reaction is Reaction.ACCEPTS


def test_a_list_phones_cannot_load_is_refused(forge, old, tvs):
    many = [RecordSpec(Role.TVS, forge.certificate(f"CN=n{i}"), f"n{i}") for i in range(40)]
    comparison = compare(of(forge, old, tvs), of(forge, old, tvs, *many))
    assert comparison.reaction is Reaction.REFUSES
    assert "39" in comparison.reason


def test_a_ctl_may_hold_the_signer_of_an_itl_as_ccm_tftp(forge, old, new):
    held = of(forge, old, RecordSpec(Role.CCM_TFTP, new.certificate), filename="CTLFile.tlv")
    assert compare(held, of(forge, new)).reaction is Reaction.ACCEPTS
    assert compare(held, of(forge, new, filename="CTLFile.tlv")).reaction is Reaction.NEEDS_TVS


def test_tvs_is_not_asked_about_itself(forge, old, new):
    held = of(forge, old, RecordSpec(Role.TVS, new.certificate))
    comparison = compare(held, of(forge, new))
    assert comparison.reaction is Reaction.REFUSES
    assert "itself" in comparison.reason


@pytest.mark.parametrize(
    ("octets", "others", "digest", "reason"),
    [
        ("080001" + "01", "080001" + "02", hashes.SHA256(), "sha256"),
        ("0a0001" + "00", "0a0001" + "01", None, "no signature that verifies"),
        (b"ITLFile.tlv".hex(), b"ITLFile.tly".hex(), None, "ITLFile.tly"),
    ],
    ids=["digest", "algorithm", "name"],
)
def test_what_no_phone_can_verify_or_asks_for_is_refused(
    forge, old, tvs, octets, others, digest, reason
):
    """The signature is good each time, by the key that the list held has for its signer."""
    held = of(forge, old, tvs)
    changed = of(forge, old, timestamp=2).raw.replace(*map(bytes.fromhex, (octets, others)), 1)
    offered = parse_trust_list(forge.sign_again(changed, old, digest))
    comparison = compare(held, offered)
    assert comparison.reaction is Reaction.REFUSES
    assert reason in comparison.reason


def test_a_signer_named_in_commas_is_the_one_held_with_semicolons(forge, tvs):
    signer = forge.signer(1024, subject="CN=old,O=lab", serial=11)
    offered = of(forge, signer, style="certutils")
    assert compare(of(forge, signer, tvs), offered).reaction is Reaction.ACCEPTS
