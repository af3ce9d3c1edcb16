"""Our own servers pass every required and recommended check, under the daemon as users run it."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from lab.conformance.model import Timeline
from lab.conformance.tftp_wire import Known, TftpTarget, fetch
from tests.daemons import serving, trustlab


def test_our_tftp_server_conforms_over_ipv6(node: Path) -> None:
    with serving(node, "--address", "::1") as daemon:
        where = f"[{daemon.tftp[0]}]:{daemon.tftp[1]}"
        copy = f"known.bin={node / 'tftp' / 'known.bin'}"
        chosen = [
            item
            for name in ("tftp.ipv6", "tftp.rrq.*", "tftp.error.not-found", "tftp.tid.*")
            for item in ("--check", name)
        ]
        found = trustlab(
            "conformance", "tftp", where, "--ipv6", where, "--file", copy, *chosen, "--json"
        )
        report = json.loads(found.stdout)
        verdicts = {check["id"]: check["verdict"] for check in report["checks"]}
        assert (report["failed"], found.returncode) == ([], 0), found.stdout
        assert verdicts["tftp.ipv6"] == verdicts["tftp.rrq.octet"] == "pass"


def examined_tvs(node: Path, profile: str, *arguments: str) -> dict[str, Any]:
    identities = node / "identities"
    with serving(node, "--tls-profile", profile) as daemon:
        found = trustlab(
            "conformance",
            "tvs",
            f"127.0.0.1:{daemon.tvs[1]}",
            "--expect-cert",
            identities / "TVS.pem",
            "--known",
            identities / "CallManager.pem",
            "--at-once",
            "12",
            "--json",
            *arguments,
        )
    report: dict[str, Any] = json.loads(found.stdout)
    failed = [one for one in report["checks"] if one["id"] in report["failed"]]
    assert failed == []
    assert (report["verdict"], found.returncode) == ("pass", 0)
    return report


def test_our_tvs_conforms(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTLAB_SET_TVS__REQUEST_SECONDS", "2")  # one check waits for its end
    report = examined_tvs(node, "modern")
    assert report["counts"]["not applicable"] == report["counts"]["inconclusive"] == 0


def test_our_tvs_in_its_legacy_profile_serves_every_generation_of_phones(node: Path) -> None:
    names = ("tvs.tls.*", "tvs.cipher.*", "tvs.certificate.*", "tvs.query.*")
    chosen = [item for name in names for item in ("--check", name)]
    report = examined_tvs(node, "legacy", "--strict", *chosen)
    assert report["counts"]["pass"] == len(report["checks"])


def test_our_lists_and_signed_files_conform(node: Path, tmp_path: Path) -> None:
    names = ("ITLFile.tlv", "known.bin.sgn")
    with serving(node) as daemon:
        served = TftpTarget(daemon.tftp, Known("known.bin"))
        for name in names:
            got = trio.run(fetch, served, Timeline(), name)
            (tmp_path / name).write_bytes(got.payload)
    listed = trustlab("conformance", "list", tmp_path / names[0], "--strict", "--json")
    assert json.loads(listed.stdout)["failed"] == []
    assert listed.returncode == 0
    signer = node / "identities" / "CallManager.pem"
    signed = trustlab("conformance", "sgn", tmp_path / names[1], "--signer", signer, "--json")
    assert json.loads(signed.stdout)["failed"] == []
    assert signed.returncode == 0
