"""Renewing identities: which order keeps phones, and which is refused."""

import fcntl
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from conf import ConfError
from conf.creation import Request, create_node
from conf.identity import (
    IDENTITIES,
    TVS_ECDSA,
    IdentityError,
    encode_identity,
    identity_file,
    load_signer,
    load_tls_identity,
    waiting_identity_file,
)
from conf.node import Node, load_node, publish
from conf.renewal import Bridge, Plan, RenewalError, Step, plan, served
from conf.replacement import carry_out
from conf.selfsigned import self_signed
from lab.cli.main import run

Renew = Callable[..., tuple[Plan, Node]]
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, rsa_keys: Callable[[int], rsa.RSAPrivateKey]) -> Make:
    """Nodes whose identities share a key, since making keys is slow."""

    def do(name: str, **changes: object) -> Path:
        values = {
            "cluster": "alpha",
            "host": "pub",
            "address": "127.0.0.1",
            "secure": False,
            "list_signer": None,
            "identities": {},
        }
        values |= changes
        names = [one for one in IDENTITIES if "join" not in changes or one != "ITLRecovery"]
        for one in names:
            identity = self_signed(one, str(values["host"]), rsa_keys(0))
            (tmp_path / f"{name}-{one}.pem").write_bytes(encode_identity(identity))
        values["identities"] = {one: tmp_path / f"{name}-{one}.pem" for one in names}
        create_node(tmp_path / name, Request(**values))
        return tmp_path / name

    return do


@pytest.fixture
def state(make: Make) -> Path:
    return make("node")


@pytest.fixture
def renew(rsa_keys: Callable[[int], rsa.RSAPrivateKey]) -> Renew:
    def do(state: Path, name: str, **fetched: datetime) -> tuple[Plan, Node]:
        node = load_node(state)
        chosen = plan(node, name, fetched)
        chosen.check()
        makes = chosen.step in {Step.INTRODUCE, Step.REPLACE}
        brought = self_signed(name, node.host, rsa_keys(0)) if makes else None
        carry_out(node, chosen, brought)
        return chosen, load_node(state)

    return do


def now() -> datetime:
    return datetime.now(UTC)


def later() -> datetime:
    return now() + timedelta(hours=1)


def test_callmanager_changes_while_the_recovery_key_still_signs(state: Path, renew: Renew) -> None:
    before = load_node(state)
    recovery = load_signer(state, "ITLRecovery").certificate
    chosen, after = renew(state, "CallManager")
    assert (chosen.step, chosen.later) == (Step.REPLACE, (Step.RETIRE,))
    assert [some.bridge for some in chosen.holders] == [Bridge.SIGNER]
    assert load_signer(state, "ITLRecovery").certificate == recovery
    old, new = (node.own.certificates["CallManager"] for node in (before, after))
    assert old != new == load_signer(state, "CallManager").certificate
    assert after.overlap == (old,)
    chosen, after = renew(state, "CallManager")
    assert chosen.step is Step.RETIRE
    assert after.overlap == ()


def test_the_list_signer_stands_beside_the_old_one_before_it_signs(
    state: Path, renew: Renew
) -> None:
    before = load_node(state)
    first, node = renew(state, "ITLRecovery")
    assert (first.step, first.later) == (Step.INTRODUCE, (Step.SWITCH, Step.RETIRE))
    old = before.own.certificates["ITLRecovery"]
    assert load_signer(state, "ITLRecovery").certificate == old
    assert node.own.certificates["ITLRecovery"] == old
    (new,) = node.overlap
    second, node = renew(state, "ITLRecovery")
    assert second.step is Step.SWITCH
    assert load_signer(state, "ITLRecovery").certificate == new
    assert node.own.certificates["ITLRecovery"] == new
    assert node.overlap == (old,)
    third, node = renew(state, "ITLRecovery", SEP001122334455=later())
    assert third.step is Step.RETIRE
    assert node.overlap == ()


def test_a_switch_that_is_broken_off_keeps_the_old_signer(
    state: Path, renew: Renew, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = load_node(state).own.certificates["ITLRecovery"]
    renew(state, "ITLRecovery")

    def broken(path: Path) -> None:
        raise OSError(5, "Input/output error", str(path))

    with monkeypatch.context() as patched, suppress(OSError):
        patched.setattr(Path, "unlink", broken)
        renew(state, "ITLRecovery")
    if load_node(state).own.certificates["ITLRecovery"] == old:
        renew(state, "ITLRecovery")
    assert load_node(state).overlap == (old,)


def test_tvs_right_after_the_signer_is_refused_until_phones_came(state: Path, renew: Renew) -> None:
    renew(state, "ITLRecovery")
    renew(state, "ITLRecovery")
    with pytest.raises(RenewalError, match="TVS: to replace it now would lose phones"):
        renew(state, "TVS", SEP001122334455=now() - timedelta(days=3))
    chosen, _ = renew(state, "TVS", SEP001122334455=later())
    assert {some.bridge for some in chosen.holders} == {Bridge.SIGNER}


def test_a_phone_that_stayed_away_is_named(state: Path, renew: Renew) -> None:
    long_ago = now() - timedelta(days=30)
    renew(state, "ITLRecovery")
    renew(state, "ITLRecovery")
    node = load_node(state)
    chosen = plan(node, "TVS", {"SEPAAAAAAAAAAAA": long_ago, "SEPBBBBBBBBBBBB": later()})
    (lost,) = chosen.lost
    assert lost.phones == ("SEPAAAAAAAAAAAA",)
    with pytest.raises(RenewalError, match="SEPAAAAAAAAAAAA"):
        chosen.check()


def test_one_node_of_two_may_change_its_tvs_at_any_time(make: Make, renew: Renew) -> None:
    first = make("first")
    second = make("second", cluster=None, host="sub", join=first)
    for _ in range(2):
        renew(first, "ITLRecovery")
    chosen, _ = renew(first, "TVS")
    assert Bridge.TVS in {some.bridge for some in chosen.holders}  # the other node's
    with pytest.raises(RenewalError, match="any phone that has not come back"):
        renew(second, "TVS")
    assert len({load_signer(state, "ITLRecovery").certificate for state in (first, second)}) == 1
    assert load_node(first).members == load_node(second).members


def test_a_step_that_breaks_off_between_two_nodes_is_ended_by_the_same_call(
    make: Make, renew: Renew, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make("first")
    second = make("second", cluster=None, host="sub", join=first)
    old = load_node(first).own.certificates["ITLRecovery"]
    renew(first, "ITLRecovery")
    (new,) = load_node(first).overlap
    whole, changed = Path.replace, []

    def broken(path: Path, target: Path) -> Path:
        if path.name == "ITLRecovery.next.pem":
            changed.append(path)
            if len(changed) == 2:
                raise OSError(28, "No space left on device", str(path))
        return whole(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", broken)
        with pytest.raises(OSError, match="No space"):
            renew(first, "ITLRecovery")
    chosen, _ = renew(first, "ITLRecovery")
    assert chosen.step is Step.SWITCH
    for state in (first, second):
        assert load_signer(state, "ITLRecovery").certificate == new
        assert load_node(state).overlap == (old,)
        assert {one.certificates["ITLRecovery"] for one in load_node(state).members} == {new}


class BrokenOff:
    """Lets the ``at``-th file that would be renamed be the end of a step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._whole = Path.replace

    def __call__(self, at: int, step: Callable[[], object]) -> bool:
        """Do ``step``; answers whether it broke off."""
        count = 0

        def broken(path: Path, target: Path) -> Path:
            nonlocal count
            count += 1
            if count == at:
                raise OSError(28, "No space left on device", str(path))
            return self._whole(path, target)

        with self._monkeypatch.context() as patched:
            patched.setattr(Path, "replace", broken)
            try:
                step()
            except OSError:
                return True
            return False


@pytest.fixture
def broken_off(monkeypatch: pytest.MonkeyPatch) -> BrokenOff:
    return BrokenOff(monkeypatch)


def test_what_broke_off_at_one_node_is_not_gone_on_with_at_another(
    make: Make, renew: Renew, broken_off: BrokenOff
) -> None:
    first = make("first")
    second = make("second", cluster=None, host="sub", join=first)
    for step, at in ((Step.INTRODUCE, 2), (Step.SWITCH, 3)):
        assert broken_off(at, lambda: renew(first, "ITLRecovery"))
        before = load_node(second)
        with pytest.raises(IdentityError, match=f"end that first: trustlab --state {first} "):
            renew(second, "ITLRecovery")
        assert load_node(second) == before
        chosen, _ = renew(first, "ITLRecovery")
        assert chosen.step is step
        assert load_node(first).overlap == load_node(second).overlap
        assert len({load_signer(one, "ITLRecovery").certificate for one in (first, second)}) == 1
    renew(second, "ITLRecovery")
    assert load_node(first).overlap == load_node(second).overlap == ()


def test_a_replacement_that_breaks_off_is_taken_for_done_only_when_it_is(
    make: Make, renew: Renew, broken_off: BrokenOff
) -> None:
    for at in range(1, 9):
        state = make(f"node{at}")
        old = load_signer(state, "CallManager").certificate
        broke = broken_off(at, lambda state=state: renew(state, "CallManager"))
        in_force = load_signer(state, "CallManager").certificate
        assert load_node(state).own.certificates["CallManager"] == in_force
        while (chosen := plan(load_node(state), "CallManager", {})).step is not Step.RETIRE:
            assert broke, chosen.step
            renew(state, "CallManager")
        assert load_node(state).overlap == (old,)
        assert load_signer(state, "CallManager").certificate != old
    assert not broke  # at the last place there was nothing left to break


def test_what_a_renewal_left_untold_is_told_by_the_next(
    make: Make, renew: Renew, broken_off: BrokenOff
) -> None:
    first = make("first")
    second = make("second", cluster=None, host="sub", join=first)
    assert broken_off(2, lambda: renew(first, "TVS"))
    renew(first, "CAPF")
    shown = load_tls_identity(first, "TVS").chain[0]
    assert load_node(second).members[0].certificates["TVS"] == shown


def test_two_renewals_at_once_do_not_mix(make: Make, renew: Renew) -> None:
    first = make("first")
    second = make("second", cluster=None, host="sub", join=first)
    node = load_node(first)
    chosen = plan(node, "ITLRecovery", {})
    folder = os.open(second / "identities", os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with pytest.raises(ConfError, match="second/identities: another command is changing it"):
        renew(first, "ITLRecovery")
    os.close(folder)
    assert not waiting_identity_file(second, "ITLRecovery", "next").exists()
    renew(second, "ITLRecovery")
    introduced = load_node(first).overlap
    with pytest.raises(IdentityError, match="has renewed it meanwhile; nothing was changed"):
        carry_out(node, chosen, None)
    assert load_node(first).overlap == introduced


def test_what_signs_lists_elsewhere_is_not_replaced_at_once(make: Make, renew: Renew) -> None:
    first = make("first")
    second = make("second", cluster=None, host="sub", join=first)
    settings = second / "trustlab.toml"
    text = settings.read_text()
    assert 'list_signer = "ITLRecovery"' in text
    settings.write_text(text.replace('list_signer = "ITLRecovery"', 'list_signer = "CallManager"'))
    with pytest.raises(IdentityError, match=r"signs the lists of .*first, .* nothing was changed"):
        renew(second, "ITLRecovery")
    held = load_node(first).own.certificates["ITLRecovery"]
    assert [renew(first, "ITLRecovery")[0].step for _ in range(3)] == [
        Step.INTRODUCE,
        Step.SWITCH,
        Step.RETIRE,
    ]
    now = [load_node(state).own.certificates["ITLRecovery"] for state in (first, second)]
    assert now[0] == now[1] != held


def test_a_copy_of_a_cluster_changes_nothing_in_the_original(
    make: Make, renew: Renew, tmp_path: Path
) -> None:
    first = make("first")
    second = make("second", cluster=None, host="sub", join=first)

    def octets() -> dict[Path, bytes]:
        files = [path for path in second.rglob("*") if path.is_file()]
        return {path: path.read_bytes() for path in files}

    before = octets()
    copy = shutil.copytree(first, tmp_path / "copy")
    node = load_node(copy)
    assert publish(node, replace(node.own, state=copy, tvs_port=1)) == (second,)
    for name in ("ITLRecovery", "TVS"):
        with pytest.raises(IdentityError, match=f"copy: a copy of {first}: .* nothing was changed"):
            renew(copy, name)
    with pytest.raises(IdentityError, match=f"copy: a copy of {first}"):
        make("third", cluster=None, host="third", join=copy)
    assert octets() == before
    first.rename(tmp_path / "away")  # then it is no copy: the node has moved
    renew(copy, "ITLRecovery")
    assert octets() != before


def test_a_node_that_cannot_be_told_is_named(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    first = make("first")
    second = make("second", cluster=None, host="sub", join=first)
    (second / "cluster").rename(second / "away")
    assert run(["--state", str(first), "identity", "renew", "TVS", "--yes", "--force"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"{second} cannot be written: the lists there name the old TVS until" in said


def test_a_node_that_joins_amid_a_renewal_is_in_step(make: Make, renew: Renew) -> None:
    first = make("first")
    for step in (Step.SWITCH, Step.RETIRE):
        renew(first, "ITLRecovery")
        joined = load_node(make(step.value, cluster=None, host=step.value, join=first))
        assert joined.overlap == load_node(first).overlap != ()
        assert plan(joined, "ITLRecovery", {}).step is step
    renew(first, "ITLRecovery")
    assert joined.overlap != load_node(joined.state).overlap == ()


def test_a_renewal_that_was_planned_before_a_node_joined_is_planned_anew(make: Make) -> None:
    first = make("first")
    node = load_node(first)
    chosen = plan(node, "ITLRecovery", {})
    make("second", cluster=None, host="sub", join=first)
    with pytest.raises(IdentityError, match=r"a node has joined, .* nothing was changed"):
        carry_out(node, chosen)
    assert load_node(first).overlap == ()


def test_a_damaged_file_hinders_who_needs_its_key_alone(state: Path, renew: Renew) -> None:
    held = load_node(state).own.certificates
    for name in ("CAPF", "tomcat"):
        identity_file(state, name).write_text("damaged")
    assert load_node(state).own.certificates == held
    assert run(["--state", str(state), "config", "check"]) == 0
    renew(state, "tomcat")
    assert (
        load_node(state).own.certificates["tomcat"] == load_tls_identity(state, "tomcat").chain[0]
    )
    identity_file(state, "CallManager").write_text("damaged")
    with pytest.raises(IdentityError, match=r"CallManager\.pem: no certificate"):
        renew(state, "CallManager")
    assert load_node(state).overlap == ()
    assert run(["--state", str(state), "config", "check"]) == 2


def test_callmanager_as_list_signer_takes_three_steps(make: Make, renew: Renew) -> None:
    state = make("node", list_signer="CallManager")
    steps = [renew(state, "CallManager", SEP001122334455=later())[0].step for _ in range(3)]
    assert steps == [Step.INTRODUCE, Step.SWITCH, Step.RETIRE]


def test_an_identity_no_list_is_signed_with_changes_at_once(make: Make, renew: Renew) -> None:
    state = make("node", ecdsa=True)
    for name in ("CAPF", "tomcat", "CallManager-ECDSA", "TVS"):
        chosen, node = renew(state, name)
        assert (chosen.step, chosen.later) == (Step.REPLACE, ())
        assert node.overlap == ()
        assert {some.bridge for some in chosen.holders} == {Bridge.SIGNER}


def test_nothing_changes_where_a_node_of_the_cluster_is_out_of_reach(
    make: Make, renew: Renew
) -> None:
    first = make("first")
    second = make("second", cluster=None, host="sub", join=first)
    second.rename(second.with_name("elsewhere"))
    with pytest.raises(IdentityError, match="nothing was changed"):
        renew(first, "ITLRecovery")
    assert not waiting_identity_file(first, "ITLRecovery", "next").exists()
    renew(first, "CallManager")


def prepare_rollback(state: Path) -> None:
    with (state / "trustlab.toml").open("a") as file:
        file.write("\n[lists]\nrollback = true\n")


def test_a_phone_with_an_emptied_itl_and_a_ctl_has_no_tvs_that_could_vouch(
    make: Make, renew: Renew
) -> None:
    state = make("node", secure=True)
    prepare_rollback(state)
    renew(state, "ITLRecovery")
    with pytest.raises(RenewalError, match="to switch it now would lose phones"):
        renew(state, "ITLRecovery")


def test_a_phone_with_an_emptied_itl_alone_takes_any_list(state: Path, renew: Renew) -> None:
    prepare_rollback(state)
    renew(state, "ITLRecovery")
    chosen, _ = renew(state, "ITLRecovery")
    assert [some.bridge for some in chosen.holders] == [Bridge.EMPTIED, Bridge.SIGNER]
    chosen, _ = renew(state, "CallManager")
    assert {some.bridge for some in chosen.holders} == {Bridge.EMPTIED, Bridge.SIGNER}


def test_a_phone_may_hold_lists_that_other_settings_made_meanwhile(
    make: Make, renew: Renew
) -> None:
    state = make("node", secure=True)
    renew(state, "CAPF")
    prepare_rollback(state)
    came = now()
    renew(state, "ITLRecovery", SEP001122334455=came)
    chosen = plan(load_node(state), "ITLRecovery", {"SEP001122334455": came})
    before, meanwhile, *_ = chosen.holders
    assert before.phones == meanwhile.phones == ("SEP001122334455",)
    assert (before.bridge, meanwhile.bridge) == (Bridge.TVS, Bridge.NONE)


def test_a_tvs_counts_only_if_whichever_certificate_it_shows_is_held(
    state: Path, renew: Renew, rsa_keys: Callable[[int], rsa.RSAPrivateKey]
) -> None:
    def show_beside(number: int) -> None:
        node = load_node(state)
        beside = self_signed("TVS", "pub", rsa_keys(number)).chain[0]
        publish(node, replace(node.own, certificates={**node.own.certificates, TVS_ECDSA: beside}))

    show_beside(1)
    renew(state, "ITLRecovery")
    chosen = plan(load_node(state), "ITLRecovery", {})
    assert [some.bridge for some in chosen.holders] == [Bridge.TVS, Bridge.SIGNER]
    show_beside(2)
    chosen = plan(load_node(state), "ITLRecovery", {})
    assert chosen.holders[0].bridge is Bridge.NONE


def test_an_unknown_identity_and_a_broken_history_are_named(state: Path, renew: Renew) -> None:
    with pytest.raises(IdentityError, match="no such identity"):
        renew(state, "CallManager-ECDSA")
    renew(state, "ITLRecovery")
    with pytest.raises(IdentityError, match="no such identity"):
        renew(state, "ITLRecovery.next")
    history = state / "identities" / "history.json"
    for broken in ("[", history.read_text().replace("Z", "")):
        history.write_text(broken)
        with pytest.raises(IdentityError, match=r"history\.json: not a history"):
            served(load_node(state))
