"""What the conformance suite says of a TVS whose answers are odd in one way."""

import pytest

from lab.conformance.model import Ruling, Timeline, Verdict
from lab.conformance.tvs_answers import answer_header, answer_roles
from lab.conformance.tvs_wire import TvsTarget
from tvs.server import Reply


@pytest.mark.parametrize(
    ("check", "change", "reason"),
    [
        (answer_header, lambda octets: octets + octets, "octets follow the length it tells: 57 01"),
        (answer_header, lambda octets: octets + b"\6\0\0", "3 octets follow"),
        (
            answer_roles,
            lambda octets: octets.replace(b"\x08\0\2\0\3", b"\x08\0\2\3\3"),
            "a role comes twice: 03 03",
        ),
    ],
    ids=["twice", "trailing", "roles"],
)
async def test_one_odd_thing_is_found(serve, check, change, reason) -> None:
    async with serve(reply_policy=lambda _, octets: Reply(change(octets))) as standing:
        target = TvsTarget(
            ("127.0.0.1", standing.port), standing.unknown.der, known=standing.trusted.der
        )
        with pytest.raises(Ruling, match=reason) as told:
            await check.probe(target, Timeline())
        assert told.value.verdict is Verdict.FAIL
