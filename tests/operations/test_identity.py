"""`trustlab identity`: phones survive the right order, and are lost by the wrong one."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import rsa

from conf.identity import encode_identity
from conf.node import load_node
from conf.renewal import fingerprint, served
from conf.selfsigned import self_signed
from itl.roles import Role
from itl.trustlist import parse_trust_list
from lab.cli.main import run
from tests.daemons import Daemon, new_node, serving
from tftp.client import get

PHONE = "SEP001122334455"
PATIENCE = 15.0


class Cluster:
    """A served node, one phone, and the commands of an administrator."""

    def __init__(
        self,
        daemon: Daemon,
        phone: Path,
        key: rsa.RSAPrivateKey,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.daemon, self.phone, self.key, self.capsys = daemon, phone, key, capsys
        self.printed = self.said = ""

    def say(self, *words: str) -> int:
        """Run a command; answers its exit code."""
        self.capsys.readouterr()
        code = run(list(words))
        self.printed, self.said = self.capsys.readouterr()
        return code

    def boot(self) -> dict[str, object]:
        """The phone boots at this node."""
        host, port = self.daemon.tftp
        where = ("--tftp", f"{host}:{port}", "--phone-dir", str(self.phone))
        self.say("phone", "boot", *where, "--mac", PHONE[3:], "--json")
        return json.loads(self.printed)

    def renew(self, name: str, *options: str) -> int:
        """The next step for ``name``; the daemon has taken it up when this returns."""
        path = self.phone.with_suffix(".pem")
        path.write_bytes(encode_identity(self_signed(name, "pub", self.key)))
        waits = list((self.daemon.state / "identities").glob(f"{name}.*.pem"))
        brought = () if waits else ("--from", str(path))
        code = self.say(
            "--state",
            str(self.daemon.state),
            "identity",
            "renew",
            name,
            *brought,
            "--yes",
            *options,
        )
        if code == 0:
            begin = time.monotonic()
            while self.anchors_served() != self.anchors_on_disk():
                assert time.monotonic() - begin < PATIENCE
        return code

    def anchors_on_disk(self) -> tuple[set[str], ...]:
        """What the list ought to hold: signer, SASTs, TVS servers, CAPF."""
        node = load_node(self.daemon.state)
        past = served(node)[-1]
        capf = fingerprint(node.own.certificates["CAPF"])
        return {past.signer}, set(past.sasts), set(past.tvs), {capf}

    def anchors_served(self) -> tuple[set[str], ...]:
        """What it does hold."""
        held = parse_trust_list(trio.run(get, *self.daemon.tftp, "ITLFile.tlv"))
        signer = {
            fingerprint(one.certificate)
            for one in held.records
            if one.role == Role.SAST and one.serial == held.header.signer_serial
        }
        roles = (Role.SAST, Role.TVS, Role.CAPF)
        return signer, *(
            {fingerprint(one.certificate) for one in held.records if one.role == role}
            for role in roles
        )


@pytest.fixture
def cluster(
    node: Path,
    tmp_path: Path,
    rsa_keys: Callable[[int], rsa.RSAPrivateKey],
    setting: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Cluster]:
    setting("phones.macs", [PHONE[3:]])
    with serving(node) as daemon:
        yield Cluster(daemon, tmp_path / "phone", rsa_keys(0), capsys)


def test_a_phone_survives_the_renewal_of_everything(cluster: Cluster) -> None:
    assert cluster.boot()["verdict"] == "updated"  # its first list
    for name in ["CallManager", "ITLRecovery", "CAPF", "TVS", "ITLRecovery", "ITLRecovery"]:
        assert cluster.renew(name) == 0, cluster.said
        booted = cluster.boot()
        assert booted["verdict"] == "updated", (name, booted)
        assert booted["tvs"] == [], name  # the list alone carried it over
    left = [path.name for path in (cluster.daemon.state / "identities").glob("*.*.pem")]
    assert left == ["CallManager.old.pem"]  # in the list still, until it is retired


def test_the_wrong_order_is_refused_and_loses_the_phone_by_force(cluster: Cluster) -> None:
    assert cluster.boot()["verdict"] == "updated"
    for _ in range(2):  # introduced, and signing at once: only TVS can carry the phone over now
        assert cluster.renew("ITLRecovery") == 0
    assert "TVS has to be within reach" in cluster.printed
    before = (cluster.daemon.state / "identities" / "TVS.pem").read_bytes()
    assert cluster.renew("TVS") == 1
    assert f"would lose phones that hold the list served since the beginning ({PHONE})" in (
        " ".join(cluster.said.split())
    )
    assert (cluster.daemon.state / "identities" / "TVS.pem").read_bytes() == before
    assert cluster.renew("TVS", "--force") == 0
    booted = cluster.boot()
    assert booted["verdict"] == "refused"
    assert "Trust List update failed" in json.dumps(booted["messages"])


def test_tvs_carries_over_a_phone_that_missed_a_step(cluster: Cluster) -> None:
    cluster.boot()
    for _ in range(2):
        assert cluster.renew("ITLRecovery") == 0
    booted = cluster.boot()
    assert booted["verdict"] == "updated"
    assert len(booted["tvs"]) == 1
    assert cluster.renew("TVS") == 0  # it has come: nobody is left behind
    assert cluster.boot()["verdict"] == "updated"


def test_a_phone_of_a_secure_cluster_survives_too(
    tmp_path: Path,
    rsa_keys: Callable[[int], rsa.RSAPrivateKey],
    setting: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    setting("phones.macs", [PHONE[3:]])
    with serving(new_node(tmp_path / "secure", "--secure")) as daemon:
        cluster = Cluster(daemon, tmp_path / "phone", rsa_keys(0), capsys)
        assert set(cluster.boot()["installed"]) >= {"CTLFile.tlv", "ITLFile.tlv"}
        for name in ["CallManager", "ITLRecovery", "TVS", "ITLRecovery", "ITLRecovery"]:
            assert cluster.renew(name) == 0, cluster.said
            booted = cluster.boot()
            assert booted["verdict"] == "updated", (name, booted)
            assert booted["tvs"] == [], name


def test_the_plan_is_printed_before_anything_is_done(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in (node / "identities").iterdir()}
    assert run(["--state", str(node), "identity", "renew", "CallManager", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "CallManager of pub: replace" in printed
    assert "after that, step 1: retire" in printed
    assert "ITLRecovery is not touched" in printed
    assert run(["--state", str(node), "identity", "renew", "CallManager"]) == 2  # nobody to ask
    assert {path: path.read_bytes() for path in (node / "identities").iterdir()} == before
    capsys.readouterr()
    assert (
        run(["--state", str(node), "identity", "renew", "ITLRecovery", "--json", "--dry-run"]) == 0
    )
    shown = json.loads(capsys.readouterr().out)
    assert (shown["step"], shown["later"]) == ("introduce", ["switch", "retire"])
    assert shown["loses_phones"] is False


def test_identities_are_listed_with_their_days(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--state", str(node), "identity", "list", "--json"]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    signers = [one["identity"] for one in shown if one["signs_lists"]]
    assert (signers, len(shown)) == (["ITLRecovery"], 5)
    assert all(one["days"] > 1800 for one in shown)
