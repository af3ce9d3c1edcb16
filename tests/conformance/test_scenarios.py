"""Fault scenarios: the emulated phone passes them all, and broken ones are caught."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec
import pytest
import trio

from itl import acceptance
from lab.phone import boot as phone_boot
from lab.phone import inquiry as phone_inquiry
from lab.phone import trust as phone_trust
from lab.phone.boot import BootVerdict
from lab.phone.trust import Outcome, Reason, Verdict
from lab.scenarios.judgement import Conduct, Met, judge
from lab.scenarios.model import (
    ListFault,
    Scenario,
    ScenarioError,
    TransferFault,
    TvsFault,
    find_scenario,
    parse_scenario,
    shipped,
)
from lab.scenarios.rehearsal import MAC, stages

CATALOGUE = {scenario.name: scenario for scenario in shipped()}

MINIMAL = b"""
name = "one-line"
title = "t"
why = "w"
source = "s"
[[expect]]
boot = 1
asks = "ITL{device}.tlv"
"""


def test_the_catalogue_is_large_and_says_why() -> None:
    assert len(CATALOGUE) >= 25
    for scenario in CATALOGUE.values():
        assert len(scenario.why) > 20
        assert scenario.source
        assert any(one.boot == 1 and one.takes == "good" for one in scenario.expect)
        assert any(one.boot >= 2 for one in scenario.expect)
    faults = [fault for one in CATALOGUE.values() for fault in one.fault]
    for kind, key in ((ListFault, "what"), (TransferFault, "what"), (TvsFault, "answer")):
        played = {getattr(fault, key) for fault in faults if isinstance(fault, kind)}
        assert played | {"true"} == {*get_args(get_type_hints(kind)[key]), "true"}


def skips_the_signature(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(acceptance, "signed_by", lambda *_: True)
    patch.setattr(phone_trust, "signed_by", lambda *_: True)


def ignores_the_no_of_tvs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(phone_trust, "_check_answer", lambda *_: None)


def trusts_any_tvs_certificate(patch: pytest.MonkeyPatch) -> None:
    class Anything(frozenset):
        def __contains__(self, _: object) -> bool:
            return True

    truly = phone_trust.tvs_certificates
    anything = lambda held: Anything(truly(held))  # noqa: E731  it stands in two places
    patch.setattr(phone_trust, "tvs_certificates", anything)
    patch.setattr(phone_boot, "tvs_certificates", anything)


def takes_any_role(patch: pytest.MonkeyPatch) -> None:
    check = phone_trust._check_answer

    def lax(held, document, question, answer):
        roles = tuple(question.roles) if answer.status == 0 else answer.roles
        check(held, document, question, replace(answer, roles=roles))

    patch.setattr(phone_trust, "_check_answer", lax)


def takes_whatever_certificate_comes(patch: pytest.MonkeyPatch) -> None:
    check = phone_trust._check_answer

    def lax(held, document, question, answer):
        if answer.status != 0:
            check(held, document, question, answer)

    patch.setattr(phone_trust, "_check_answer", lax)


def takes_unsigned_configurations(patch: pytest.MonkeyPatch) -> None:
    truly = phone_boot.judge_file

    def lax(held, name, data, answer=None):
        if data.startswith(b"<?xml"):
            return Verdict(Outcome.INSTALL, Reason.UNSIGNED)
        return truly(held, name, data, answer)

    patch.setattr(phone_boot, "judge_file", lax)


def compares_no_names(patch: pytest.MonkeyPatch) -> None:
    truly = phone_trust._fit

    def lax(held, name, parse, data):
        return truly(held, parse(data).header.filename, parse, data)

    patch.setattr(phone_trust, "_fit", lax)


def believes_to_know_sha512(patch: pytest.MonkeyPatch) -> None:
    truly = phone_trust._fit

    def lax(held, name, parse, data):
        return truly(replace(held, digests=frozenset({"sha1", "sha512"})), name, parse, data)

    patch.setattr(phone_trust, "_fit", lax)


def loads_lists_of_any_length(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(phone_trust, "load_guards", lambda _: [])


def never_asks_tvs(patch: pytest.MonkeyPatch) -> None:
    async def nobody(*_: object, **__: object) -> list[object]:
        return []

    patch.setattr(phone_boot, "inquire", nobody)


def asks_the_first_tvs_only(patch: pytest.MonkeyPatch) -> None:
    truly = phone_inquiry.inquire

    async def first(question, servers, **options):
        return await truly(question, servers[:1], **options)

    patch.setattr(phone_boot, "inquire", first)


def forgets_its_lists(patch: pytest.MonkeyPatch) -> None:
    del patch


async def forgetful_boot(phone, *arguments, **options):
    done = await phone_boot.boot(phone, *arguments, **options)
    if done.verdict is BootVerdict.REFUSED:
        phone.ctl = phone.itl = None
    return done


MUTANTS = [
    (skips_the_signature, "itl-bit-in-record"),
    (skips_the_signature, "configuration-altered"),
    (ignores_the_no_of_tvs, "tvs-no"),
    (trusts_any_tvs_certificate, "tvs-shows-stranger"),
    (takes_any_role, "tvs-other-roles"),
    (takes_whatever_certificate_comes, "tvs-no-certificate"),
    (takes_unsigned_configurations, "configuration-unsigned"),
    (compares_no_names, "itl-wrong-name"),
    (compares_no_names, "configuration-wrong-name"),
    (believes_to_know_sha512, "itl-sha512-old-phone"),
    (loads_lists_of_any_length, "itl-oversized"),
    (never_asks_tvs, "tvs-yes"),
    (asks_the_first_tvs_only, "tvs-first-down"),
    (forgets_its_lists, "itl-missing-afterwards"),
]


async def play_all(folder: Path) -> dict[tuple[str, str], Conduct]:
    """Every scenario with the emulated phone, and each mutant in the scenario made for it."""
    found = {}
    async with stages(folder) as ready:
        for scenario in CATALOGUE.values():
            found["", scenario.name] = await ready.play(scenario)
        for mutant, name in MUTANTS:
            with pytest.MonkeyPatch.context() as patch:
                mutant(patch)
                boot = forgetful_boot if mutant is forgets_its_lists else phone_boot.boot
                found[mutant.__name__, name] = await ready.play(CATALOGUE[name], boot=boot)
    return found


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Conduct]:
    """All in one run, on the same few daemons: most of the time is keys' and waiting's."""
    return trio.run(play_all, tmp_path_factory.mktemp("scenarios"))


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_emulated_phone_does_what_a_correct_phone_must(
    name: str, played: dict[tuple[str, str], Conduct]
) -> None:
    conduct = played["", name]
    assert [one.as_json() for one in conduct.judged if one.met is not Met.MET] == []
    assert conduct.exit_code == 0


@pytest.mark.parametrize(("mutant", "name"), MUTANTS)
def test_a_broken_phone_is_caught(
    mutant: Callable[[pytest.MonkeyPatch], None],
    name: str,
    played: dict[tuple[str, str], Conduct],
) -> None:
    conduct = played[mutant.__name__, name]
    assert conduct.exit_code == 1, conduct.as_json()


def asked(boot: int, second: int, **more: object) -> dict[str, object]:
    return {
        "event": "scenario.asked",
        "time": f"2026-01-01T00:00:{second:02}.000Z",
        "device": more.pop("device", "SEP00005E005301"),
        "boot": boot,
        "outcome": "as it is",
        **more,
    }


def outcomes(
    scenario: Scenario, events: list[dict[str, object]], *, ended: bool = False
) -> list[str]:
    (conduct,) = judge(scenario, events, ended=ended)
    return [one.met.value for one in conduct.judged]


def scenario_of(*expect: dict[str, object]) -> Scenario:
    plain = {"name": "x", "title": "t", "why": "w", "source": "s", "expect": expect}
    return msgspec.convert(plain, Scenario)


def test_what_must_be_has_an_order_and_a_time() -> None:
    scenario = scenario_of(
        {"boot": 1, "asks": "a", "within_seconds": 5.0},
        {"boot": 1, "asks": "b", "within_seconds": 5.0},
    )
    begin = {"event": "scenario.started", "time": "2026-01-01T00:00:00.000Z"}
    first, second = asked(1, 1, file="a"), asked(1, 2, file="b")
    assert outcomes(scenario, [begin, first, second]) == ["met", "met"]
    assert outcomes(scenario, [second, first], ended=True) == ["met", "not met"]
    late = asked(1, 20, file="b")
    assert outcomes(scenario, [first, late]) == ["met", "not met"]
    assert outcomes(scenario, [first]) == ["met", "not observed"]
    assert judge(scenario, [first, begin], ended=True) == []


def test_what_must_not_be_is_settled_when_the_boot_is_over() -> None:
    scenario = scenario_of({"boot": 1, "must_not_take": "evil"}, {"boot": 2, "takes": "good"})
    start = asked(1, 1, file="CTLSEP00005E005301.tlv")
    assert outcomes(scenario, [start]) == ["not observed", "not observed"]
    again = asked(2, 2, file="CTLSEP00005E005301.tlv")
    assert outcomes(scenario, [start, again]) == ["met", "not observed"]
    evil = asked(1, 1, file="trustlab-evil.loads")
    good = asked(2, 3, file="trustlab-good.loads")
    assert outcomes(scenario, [start, evil, again, good]) == ["not met", "met"]


def test_each_phone_is_judged_for_itself() -> None:
    scenario = scenario_of({"boot": 1, "asks_tvs": "anyone"})
    events = [
        asked(1, 1, about="stranger"),
        asked(1, 2, device="SEP00005E005302", file="x"),
        asked(1, 3, device="SEP00005E005303", about="nothing yet"),
    ]
    conducts = judge(scenario, events, ended=True)
    assert [(one.device[-1], one.exit_code) for one in conducts] == [("1", 0), ("2", 1), ("3", 1)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (b"[[expect]]\nboot = 1\n", "an expectation has one of"),
        (b'[[fault]]\non = "list"\nboots = [1]\nwhat = "nothing known"\n', "nothing known"),
        (b'[[fault]]\non = "list"\nboots = [0]\nwhat = "stranger"\n', "counted from 1"),
        (b'[[fault]]\non = "list"\nboots = [1]\nwhat = "blank"\nfiel = "CTL"\n', "fiel"),
        (b"[", "no TOML"),
        (b"\xff", "no TOML"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(change: bytes, told: str) -> None:
    with pytest.raises(ScenarioError, match=told) as raised:
        parse_scenario(MINIMAL + change, "mine.toml")
    assert str(raised.value).startswith("mine.toml: ")


def test_a_file_of_ones_own_is_found(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(MINIMAL)
    assert find_scenario(str(path)).name == "one-line"
    with pytest.raises(ScenarioError, match="no scenario is called mine"):
        find_scenario("mine")
    assert json.dumps(msgspec.to_builtins(find_scenario(str(path))))


def test_the_scenario_written_out_in_the_documentation_concerns_the_emulated_phone() -> None:
    text = (Path(__file__).parent.parent.parent / "docs" / "fault-scenarios.md").read_text()
    written = text.split("```toml\n")[1].split("```")[0]
    scenario = parse_scenario(written.encode(), "fault-scenarios.md")
    assert MAC in scenario.fault[0].phones
