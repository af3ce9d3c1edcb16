"""What a phone believes: every reason it can give, made to happen."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itl.difference import Reaction, react
from itl.limits import MAX_CERTIFICATES, MAX_LIST_OCTETS
from itl.names import same_name
from itl.roles import Role
from itl.trustlist import CTL_FILENAME, ITL_FILENAME, parse_trust_list
from lab.phone.cache import recall, remember
from lab.phone.trust import (
    Answer,
    Held,
    Outcome,
    Reason,
    judge_file,
    judge_list,
    tvs_certificates,
    wants_signed,
)
from tests.phone.clusters import NOW, listing, signed

CONFIGURATION = "SEP00005E005301.cnf.xml.sgn"


def holding(*, itl=None, ctl=None, digests=("sha1", "sha512")) -> Held:
    return Held(
        ctl=ctl and parse_trust_list(ctl),
        itl=itl and parse_trust_list(itl),
        digests=frozenset(digests),
    )


def vouching(tvs, signer, *, roles=(0, 3), status=0) -> Answer:
    certificate = signer and signer.certificate
    return Answer(tvs.certificate, status, tuple(roles), certificate, 86400)


def refused(verdict, reason) -> bool:
    return (verdict.outcome, verdict.reason) == (Outcome.REFUSE, reason)


def installed(verdict, reason) -> bool:
    return (verdict.outcome, verdict.reason) == (Outcome.INSTALL, reason)


def with_signature_broken(data) -> bytes:
    """A bit of the last octet, which the signature covers."""
    return data[:-1] + bytes([data[-1] ^ 1])


# A list, nothing held


def test_the_first_list_is_installed_without_proof(source):
    held = holding()
    assert installed(judge_list(held, ITL_FILENAME, source.itl()), Reason.LEAP_OF_FAITH)
    assert installed(judge_list(held, CTL_FILENAME, source.ctl()), Reason.LEAP_OF_FAITH)


def test_the_first_list_is_not_checked_for_its_signature_either(source):
    tampered = with_signature_broken(source.itl())
    assert installed(judge_list(holding(), ITL_FILENAME, tampered), Reason.LEAP_OF_FAITH)


@pytest.mark.parametrize("data", [b"garbage", b"\x01\x00\x02\x01\x02\x02", b"<xml/>"])
def test_what_is_no_list_is_refused_by_a_new_phone_too(data):
    assert refused(judge_list(holding(), ITL_FILENAME, data), Reason.MALFORMED)


@pytest.mark.parametrize("data", [b"", b" ", b"\0\0\n"])
def test_a_file_of_blanks_is_passed_over(data):
    assert judge_list(holding(), CTL_FILENAME, data).outcome is Outcome.PASS_OVER


def test_a_list_of_the_other_kind_is_refused(source):
    assert refused(judge_list(holding(), CTL_FILENAME, source.itl()), Reason.WRONG_NAME)
    assert refused(judge_list(holding(), ITL_FILENAME, source.ctl()), Reason.WRONG_NAME)


def test_a_list_phones_cannot_load_is_refused(source):
    records = [(Role.SAST, source.recovery)] * 60
    data = source.itl(records=records)
    assert len(data) > MAX_LIST_OCTETS
    assert refused(judge_list(holding(), ITL_FILENAME, data), Reason.TOO_LONG)


@pytest.mark.parametrize("more", [0, 1])
def test_a_list_with_more_certificates_than_phones_can_load_is_refused(source, more):
    records = [(Role.SAST, source.recovery)] * (MAX_CERTIFICATES + more)
    data = source.itl(records=records)
    assert len(data) < MAX_LIST_OCTETS
    held = holding(itl=source.itl())
    verdict = judge_list(held, ITL_FILENAME, data)
    reaction, _ = react(held.itl, parse_trust_list(data))
    if more:
        assert refused(verdict, Reason.TOO_MANY)
        assert reaction is Reaction.REFUSES
    else:
        assert installed(verdict, Reason.HELD_SIGNER)
        assert reaction is Reaction.ACCEPTS


def test_a_sha1_phone_refuses_sha512_and_others_take_it(source):
    data = source.itl(digest="sha512")
    assert refused(judge_list(holding(digests=["sha1"]), ITL_FILENAME, data), Reason.DIGEST)
    assert judge_list(holding(), ITL_FILENAME, data).accepted


# A list, a list held


def test_the_same_octets_change_nothing(source):
    data = source.itl()
    assert judge_list(holding(itl=data), ITL_FILENAME, data).outcome is Outcome.UNCHANGED


def test_a_new_list_of_a_signer_held_is_installed(source):
    held = holding(itl=source.itl())
    newer = source.itl(timestamp=1_800_000_000)
    assert installed(judge_list(held, ITL_FILENAME, newer), Reason.HELD_SIGNER)


def test_every_sast_held_may_sign(source):
    held = holding(itl=source.itl())
    by_callmanager = source.itl(signer=source.callmanager)
    assert installed(judge_list(held, ITL_FILENAME, by_callmanager), Reason.HELD_SIGNER)


@given(data=st.data())
@settings(max_examples=60)
def test_no_octet_of_a_list_can_be_changed(source, data):
    held = holding(itl=source.itl())
    octets = bytearray(source.itl(timestamp=1_800_000_000))
    place = data.draw(st.integers(0, len(octets) - 1))
    octets[place] ^= data.draw(st.integers(1, 255))
    assert not judge_list(held, ITL_FILENAME, bytes(octets)).accepted


def test_the_name_of_a_signer_held_does_not_help_another_key(source, make_signer):
    own = source.itl()
    serial = int.from_bytes(parse_trust_list(own).header.signer_serial)
    pretender = make_signer("ITLRECOVERY_source", 4, serial=serial)
    verdict = judge_list(holding(itl=own), ITL_FILENAME, source.itl(signer=pretender))
    assert refused(verdict, Reason.BAD_SIGNATURE)


@pytest.mark.parametrize("role", [Role.TFTP, Role.CAPF, Role.TVS, Role.CCM])
def test_no_other_role_than_sast_signs_a_list(source, role):
    records = [(Role.SAST, source.recovery), (role, source.callmanager), (Role.TVS, source.tvs)]
    held = holding(itl=source.itl(records=records))
    verdict = judge_list(held, ITL_FILENAME, source.itl(signer=source.callmanager))
    assert verdict.outcome is not Outcome.INSTALL


# A list, TVS asked


def test_an_unknown_signer_is_asked_about_by_names_and_serial(source, destination):
    verdict = judge_list(holding(itl=source.itl()), ITL_FILENAME, destination.itl())
    header = parse_trust_list(destination.itl()).header
    assert verdict.outcome is Outcome.ASK
    assert verdict.question is not None
    assert verdict.question.subject == header.signer_name
    assert verdict.question.issuer == header.signer_issuer
    assert verdict.question.serial == header.signer_serial
    assert verdict.question.roles == {Role.SAST}


def test_a_vouched_list_is_installed(source, destination):
    answer = vouching(source.tvs, destination.recovery)
    verdict = judge_list(holding(itl=source.itl()), ITL_FILENAME, destination.itl(), answer)
    assert installed(verdict, Reason.VOUCHED)


def test_a_vouched_name_does_not_help_a_tampered_list(source, destination):
    answer = vouching(source.tvs, destination.recovery)
    tampered = with_signature_broken(destination.itl())
    verdict = judge_list(holding(itl=source.itl()), ITL_FILENAME, tampered, answer)
    assert refused(verdict, Reason.BAD_SIGNATURE)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": 1}, Reason.NOT_VOUCHED),
        ({"certificate": None}, Reason.OTHER_CERTIFICATE),
        ({"certificate": b"0\x82garbage"}, Reason.OTHER_CERTIFICATE),
        ({"roles": ()}, Reason.WRONG_ROLE),
        ({"roles": (3,)}, Reason.WRONG_ROLE),
        ({"roles": (2, 4, 7, 21)}, Reason.WRONG_ROLE),
        ({"server_certificate": b"another"}, Reason.TVS_STRANGER),
    ],
)
def test_an_answer_that_does_not_fit_is_a_refusal(source, destination, change, reason):
    answer = replace(vouching(source.tvs, destination.recovery), **change)
    verdict = judge_list(holding(itl=source.itl()), ITL_FILENAME, destination.itl(), answer)
    assert refused(verdict, reason)


@pytest.mark.parametrize("other", ["callmanager", "tvs"])
def test_a_certificate_that_was_not_asked_for_is_a_refusal(source, destination, other):
    answer = vouching(source.tvs, getattr(destination, other))
    verdict = judge_list(holding(itl=source.itl()), ITL_FILENAME, destination.itl(), answer)
    assert refused(verdict, Reason.OTHER_CERTIFICATE)


def test_the_right_names_with_another_key_do_not_verify(source, destination, make_signer):
    serial = int.from_bytes(parse_trust_list(destination.itl()).header.signer_serial)
    twin = make_signer("ITLRECOVERY_destination", 5, serial=serial)
    answer = vouching(source.tvs, twin)
    verdict = judge_list(holding(itl=source.itl()), ITL_FILENAME, destination.itl(), answer)
    assert refused(verdict, Reason.BAD_SIGNATURE)


def test_the_destinations_own_tvs_is_a_stranger(source, destination):
    answer = vouching(destination.tvs, destination.recovery)
    verdict = judge_list(holding(itl=source.itl()), ITL_FILENAME, destination.itl(), answer)
    assert refused(verdict, Reason.TVS_STRANGER)


def test_a_list_without_tvs_asks_none(source, destination):
    own = source.itl(records=[(Role.SAST, source.recovery), (Role.TFTP, source.callmanager)])
    verdict = judge_list(holding(itl=own), ITL_FILENAME, destination.itl())
    assert refused(verdict, Reason.NO_TVS_IN_LIST)


def test_tvs_is_never_asked_about_its_own_certificate(source):
    verdict = judge_list(holding(itl=source.itl()), ITL_FILENAME, source.itl(signer=source.tvs))
    assert refused(verdict, Reason.SIGNED_BY_TVS)


def test_a_signer_held_is_never_asked_about(source):
    held = holding(itl=source.itl())
    broken = with_signature_broken(source.itl(timestamp=1_800_000_000))
    assert refused(judge_list(held, ITL_FILENAME, broken), Reason.BAD_SIGNATURE)


def test_only_the_very_octets_of_a_tvs_certificate_count(source, make_signer):
    held = holding(itl=source.itl())
    assert tvs_certificates(held) == {source.tvs.certificate}
    assert make_signer("source-TVS", 2, serial=7).certificate not in tvs_certificates(held)


# With a CTL


def test_an_itl_is_checked_against_the_ctl_without_tvs(secure_destination):
    held = holding(ctl=secure_destination.ctl())
    assert installed(judge_list(held, ITL_FILENAME, secure_destination.itl()), Reason.HELD_SIGNER)
    by_callmanager = secure_destination.itl(signer=secure_destination.callmanager)
    assert installed(judge_list(held, ITL_FILENAME, by_callmanager), Reason.HELD_SIGNER)


def test_a_ctl_is_not_signed_by_what_only_signs_files(secure_source):
    held = holding(ctl=secure_source.ctl())
    by_callmanager = secure_source.ctl(signer=secure_source.callmanager)
    assert refused(judge_list(held, CTL_FILENAME, by_callmanager), Reason.NO_TVS_IN_LIST)


def test_a_ctl_of_another_cluster_needs_the_tvs_of_the_itl_held(secure_source, secure_destination):
    held = holding(ctl=secure_source.ctl(), itl=secure_source.itl())
    data = secure_destination.ctl()
    assert judge_list(held, CTL_FILENAME, data).outcome is Outcome.ASK
    answer = vouching(secure_source.tvs, secure_destination.recovery)
    assert installed(judge_list(held, CTL_FILENAME, data, answer), Reason.VOUCHED)


# Rollback, deleted lists


def test_an_empty_itl_takes_any_new_list_and_unsigned_files(source, destination):
    held = holding(itl=source.rollback_itl())
    assert installed(judge_list(held, ITL_FILENAME, destination.itl()), Reason.ROLLBACK)
    assert not wants_signed(held)


def test_an_empty_itl_does_not_loosen_a_ctl(secure_source, secure_destination):
    held = holding(ctl=secure_source.ctl(), itl=secure_source.rollback_itl())
    for name, data in (
        (CTL_FILENAME, secure_destination.ctl()),
        (ITL_FILENAME, secure_destination.itl()),
    ):
        assert refused(judge_list(held, name, data), Reason.NO_TVS_IN_LIST)
    assert wants_signed(held)


def test_a_deleted_itl_beside_a_ctl_is_no_leap_of_faith(secure_source, secure_destination):
    held = holding(ctl=secure_source.ctl())
    assert judge_list(held, ITL_FILENAME, secure_source.itl()).accepted
    verdict = judge_list(held, ITL_FILENAME, secure_destination.itl())
    assert refused(verdict, Reason.NO_TVS_IN_LIST)


# Other files


@pytest.mark.parametrize("cluster", ["source", "secure_source"])
def test_a_configuration_is_signed_by_a_tftp_certificate_held(request, cluster):
    cluster = request.getfixturevalue(cluster)
    held = holding(itl=cluster.itl())
    assert wants_signed(held)
    verdict = judge_file(held, CONFIGURATION, signed(CONFIGURATION, cluster.callmanager))
    assert installed(verdict, Reason.HELD_SIGNER)


def test_the_ctl_names_signers_of_configurations_too(secure_source):
    held = holding(ctl=secure_source.ctl())
    verdict = judge_file(held, CONFIGURATION, signed(CONFIGURATION, secure_source.callmanager))
    assert installed(verdict, Reason.HELD_SIGNER)


def test_a_sast_alone_does_not_sign_a_configuration(source):
    verdict = judge_file(
        holding(itl=source.itl()), CONFIGURATION, signed(CONFIGURATION, source.recovery)
    )
    assert verdict.outcome is Outcome.ASK


def test_a_configuration_for_another_phone_is_refused(source):
    data = signed("SEP00005E005302.cnf.xml.sgn", source.callmanager)
    verdict = judge_file(holding(itl=source.itl()), CONFIGURATION, data)
    assert refused(verdict, Reason.WRONG_NAME)


def test_a_strangers_configuration_needs_tvs_and_role_2_or_3(source, destination):
    held = holding(itl=source.itl())
    data = signed(CONFIGURATION, destination.callmanager)
    assert judge_file(held, CONFIGURATION, data).outcome is Outcome.ASK
    for roles, accepted in (((0,), False), ((0, 3), True), ((2,), True), ((4, 21), False)):
        answer = vouching(source.tvs, destination.callmanager, roles=roles)
        assert judge_file(held, CONFIGURATION, data, answer).accepted is accepted


@given(data=st.data())
@settings(max_examples=60)
def test_no_octet_of_a_configuration_can_be_changed(source, data):
    octets = bytearray(signed(CONFIGURATION, source.callmanager))
    place = data.draw(st.integers(0, len(octets) - 1))
    octets[place] ^= data.draw(st.integers(1, 255))
    assert not judge_file(holding(itl=source.itl()), CONFIGURATION, bytes(octets)).accepted


# The cache


def test_an_answer_is_kept_for_its_lifetime_and_as_long_as_its_tvs_is_in_the_list(
    source, destination
):
    held = holding(itl=source.itl())
    question = judge_list(held, ITL_FILENAME, destination.itl()).question
    answer = vouching(source.tvs, destination.recovery)
    cache = remember((), question, answer, NOW)
    almost, over = NOW + timedelta(seconds=86399), NOW + timedelta(seconds=86400)
    assert recall(cache, held, question, almost) == answer
    assert recall(cache, held, question, over) is None
    assert recall(cache, holding(itl=destination.itl()), question, NOW) is None
    assert remember(cache, question, answer, over)[0].expires > over


def test_a_real_list_is_believed_as_the_first_one(real_files):
    data = (real_files / "trustlists" / "CTLFile.gigantic-6.tlv").read_bytes()
    verdict = judge_list(holding(), CTL_FILENAME, data)
    assert installed(verdict, Reason.LEAP_OF_FAITH)
    held = holding(ctl=data)
    assert judge_list(held, CTL_FILENAME, data).outcome is Outcome.UNCHANGED
    assert refused(
        judge_list(held, CTL_FILENAME, with_signature_broken(data)), Reason.BAD_SIGNATURE
    )


def test_a_list_and_an_answer_in_the_other_style_are_understood(source, destination):
    """usecallmanagernz/certutils joins names with commas, in the certificate's order."""
    held = holding(itl=source.itl())
    records = [(Role.SAST, destination.recovery), (Role.TFTP, destination.callmanager)]
    data = listing(ITL_FILENAME, records, destination.recovery, style="certutils")
    verdict = judge_list(held, ITL_FILENAME, data)
    assert verdict.question is not None
    assert verdict.question.issuer == "C=AU,O=Lab,CN=ITLRECOVERY_destination"
    answer = vouching(source.tvs, destination.recovery)
    assert installed(judge_list(held, ITL_FILENAME, data, answer), Reason.VOUCHED)
    again = listing(ITL_FILENAME, records, destination.recovery, timestamp=1_800_000_000)
    assert installed(judge_list(holding(itl=data), ITL_FILENAME, again), Reason.HELD_SIGNER)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("CN=a;O=b", "O=b,CN=a", True),
        ("CN=a;O=b", "O=b,CN=a,emailAddress=x", True),
        ("CN=a;O=b", "CN=a", False),
        ("CN=a", "cn = A", True),
        ("CN=a;O=b, c", "O=b, c,CN=a", True),
        ("CN=a;O=b, c", "CN=a;O=b, d", False),
        ("UID=a", "UID=b", False),
        ("x", "y", False),
        ("x", "", False),
    ],
)
def test_names_mean_the_same_whatever_their_joiner_and_order(one, other, same):
    assert same_name(one, other) is same


def test_signed_files_are_wanted_as_soon_as_a_list_is_not_empty(source, secure_source):
    only_tvs = source.itl(records=[(Role.SAST, source.recovery), (Role.TVS, source.tvs)])
    left_over = secure_source.ctl(
        records=[(Role.SAST, secure_source.recovery), (Role.CCM_TFTP, None)]
    )
    assert not wants_signed(holding())
    assert not wants_signed(holding(ctl=left_over))
    assert wants_signed(holding(ctl=left_over, itl=source.itl()))
    assert wants_signed(holding(itl=only_tvs))
