"""What phones refuse or may refuse is said before a list is written."""

from datetime import UTC, datetime

import pytest

from itl.errors import BuildError
from itl.limits import check_build, digest_guard
from itl.roles import Role
from itl.trustlist import RecordSpec

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def guards(forge):
    def check(certificate, records=None, *, length=1000, digest="sha1", families=()):
        specs = [RecordSpec(Role.SAST, certificate)] if records is None else records
        found = check_build(
            specs, bytes(length), signer=certificate, digest=digest, now=NOW, families=families
        )
        return {guard.code: guard.fatal for guard in found}

    return check


def test_a_usual_list_has_none(forge, guards):
    assert guards(forge.certificate()) == {}


@pytest.mark.parametrize(("length", "expected"), [(65_536, {}), (65_537, {"list-too-long": True})])
def test_the_longest_list_that_phones_load(forge, guards, length, expected):
    assert guards(forge.certificate(), length=length) == expected


@pytest.mark.parametrize(("number", "expected"), [(38, {}), (39, {"too-many-certificates": True})])
def test_the_most_certificates_that_phones_load(forge, guards, number, expected):
    certificate = forge.certificate()
    specs = [RecordSpec(Role.SAST, certificate)] + [RecordSpec(Role.TVS, certificate)] * number
    assert guards(certificate, specs) == expected


def test_a_signer_has_to_be_a_sast(forge, guards):
    certificate = forge.certificate()
    assert guards(certificate, [RecordSpec(Role.TFTP, certificate)]) == {"signer-not-sast": True}


def test_dates_of_the_signer(forge, guards):
    old = forge.certificate(not_after=datetime(2025, 1, 1, tzinfo=UTC))
    new = forge.certificate(not_before=datetime(2027, 1, 1, tzinfo=UTC))
    assert guards(old) == {"signer-expired": False}
    assert guards(new) == {"signer-not-yet-valid": False}


@pytest.mark.parametrize(
    ("families", "expected"),
    [
        ((), {"digest": False}),
        (("7900",), {"digest": True}),
        (("8800", "9900"), {"digest": True}),
        (("7800", "8800"), {}),
    ],
)
def test_digests_by_phone_family(forge, guards, families, expected):
    certificate = forge.certificate()
    assert guards(certificate, digest="sha512", families=families) == expected
    assert guards(certificate, families=families) == {}


def test_a_family_nobody_knows(forge):
    with pytest.raises(BuildError, match="phone family '5500'"):
        digest_guard("sha1", ["5500"])


def test_more_than_two_sasts_are_no_more_than_a_warning(forge, guards):
    certificate = forge.certificate()
    assert guards(certificate, [RecordSpec(Role.SAST, certificate)] * 3) == {"many-sasts": False}
