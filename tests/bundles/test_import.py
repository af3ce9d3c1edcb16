"""What an import does with certificates of unknown origin, with doubts, and with signers."""

import io
import os
import pty
import subprocess
import sys
import zipfile
from contextlib import closing

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from itl.certificates import describe
from lab.preflight.bundles import plan_imports, read_bundles
from tests.bundles.samples import certificates_of, stored, to_pem
from tests.bundles.test_material import tvsd_database
from tvs.answers import AnswerPolicy
from tvs.store import STORE_FILE, TrustStore


def sha256(der: bytes) -> str:
    return describe(der).sha256


def signers_of(state) -> list[str]:
    return [
        fingerprint
        for fingerprint, name in certificates_of(state).items()
        if name.startswith(("CallManager", "ITLRecovery"))
    ]


def test_twenty_six_certificates_without_a_label_need_a_type(
    clusters, trustlab, make_certificate, tmp_path
):
    ders = [make_certificate(f"host-{number}") for number in range(26)]
    done = subprocess.run(
        ["openssl", "pkcs12", "-export", "-nokeys", "-passout", "pass:", "-legacy"],
        input=b"".join(map(to_pem, ders)),
        capture_output=True,
        check=True,
    )
    bundle = tmp_path / "bundle"
    bundle.write_bytes(done.stdout)
    refused = trustlab(clusters.a, "bundle", "import", bundle, "--yes", "--json")
    assert refused.code == 2
    assert refused.one["outcome"] == "refused"
    reasons = {(line["state"], line["reason"]) for line in refused.one["certificates"]}
    assert reasons == {("refused", "nothing in it tells its type: say it with --type")}
    assert stored(trustlab, clusters.a) == {}
    typed = ("bundle", "import", bundle, "--yes", "--json", "--type", "CallManager")
    done = trustlab(clusters.a, *typed)
    assert done.code == 0
    entries = stored(trustlab, clusters.a)
    assert set(entries) == set(map(sha256, ders))
    for entry in entries.values():
        assert entry["stores"] == ["CallManager-trust", "Phone-SAST-trust"]
        assert entry["source"] == "bundle"


def test_cucm_s_own_forms_of_subjects_tell_the_type(clusters, trustlab, make_certificate, tmp_path):
    ders = {
        "CAPF": make_certificate("CAPF-0123abcd"),
        "ITLRecovery": make_certificate("ITLRECOVERY_cucm-pub"),
    }
    bundle = tmp_path / "both.pem"
    bundle.write_bytes(b"".join(map(to_pem, ders.values())))
    receipt = trustlab(clusters.a, "bundle", "import", bundle, "--yes", "--json").one
    assert {line["type"]: line["type_from"] for line in receipt["certificates"]} == {
        "CAPF": "subject",
        "ITLRecovery": "subject",
    }
    entries = stored(trustlab, clusters.a)
    assert entries[sha256(ders["CAPF"])]["roles"] == [{"code": 4, "name": "CAPF"}]
    only = trustlab(clusters.b, "bundle", "import", bundle, "--type", "CallManager", "--json").one
    assert {line["state"] for line in only["certificates"]} == {"skipped"}


def test_a_certificate_of_two_types_signs_if_one_of_them_does(
    clusters, trustlab, make_certificate, tmp_path
):
    """CUCM 14 lets CallManager use tomcat's certificate."""
    path = tmp_path / "shared.pem"
    path.write_bytes(to_pem(make_certificate("cucm-pub")))
    imports = ("bundle", "import", path, "--json")
    tomcat = trustlab(clusters.a, *imports, "--type", "tomcat").one
    assert [line["state"] for line in tomcat["certificates"]] == ["new"]
    unconfirmed = trustlab(clusters.a, *imports, "--type", "CallManager")
    assert unconfirmed.code == 2
    signer = trustlab(clusters.a, *imports, "--type", "CallManager", "--yes").one
    (line,) = signer["certificates"]
    assert (line["state"], line["reason"]) == (
        "replaced",
        "was known as tomcat, now as CallManager",
    )
    again = trustlab(clusters.a, *imports, "--type", "tomcat").one
    assert again["certificates"][0]["reason"] == "stays known as CallManager"
    (entry,) = stored(trustlab, clusters.a).values()
    assert entry["stores"] == ["CallManager-trust", "Phone-SAST-trust", "tomcat-trust"]
    assert [role["code"] for role in entry["roles"]] == [0, 3]
    undone = trustlab(clusters.a, "bundle", "undo", signer["receipt"], "--json").one
    assert undone["left_alone"] == []
    (entry,) = stored(trustlab, clusters.a).values()
    assert (entry["type"], entry["stores"]) == ("tomcat", ["tomcat-trust"])


def test_one_unreadable_file_stops_the_whole_import(exchanged, trustlab):
    bundle = next(exchanged.shared.glob("SiteA*cucm-a1_CallManager.p12"))
    bundle.write_bytes(bundle.read_bytes()[:-40])
    result = trustlab(exchanged.b, "bundle", "import", exchanged.shared, "--yes", "--json")
    assert result.code == 3
    assert result.one["outcome"] == "refused"
    (file,) = result.one["unreadable"]
    assert file["file"] == bundle.name
    assert "UNREADABLE" in result.err
    assert stored(trustlab, exchanged.b) == {}
    assert trustlab(exchanged.b, "bundle", "consolidate", exchanged.shared).code == 3


def test_other_files_are_passed_over_and_said_so(exchanged, trustlab):
    (exchanged.shared / "README.txt").write_text("certificates of the two clusters")
    (exchanged.shared / "dangling").symlink_to("nowhere")
    (exchanged.shared / ".part").write_bytes(b"\x30\x82")
    result = trustlab(exchanged.b, "bundle", "import", exchanged.shared, "--yes")
    assert result.code == 0
    assert "passed over: README.txt" in result.err


def test_names_in_files_cannot_drive_a_terminal(clusters, trustlab, make_certificate, tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("\x1b[31mred.pem", to_pem(make_certificate("CAPF-00000000;\nO=x\x1b")))
    path = tmp_path / "\x1b]0;title\x07.zip"
    path.write_bytes(archive.getvalue())
    for command in (("bundle", "list", path), ("bundle", "import", path), ("store", "list")):
        shown = trustlab(clusters.a, *command)
        assert shown.code == 0
        assert "\x1b" not in shown.out + shown.err
        assert "\nO=x" not in shown.out + shown.err


def test_two_clusters_of_one_name_do_not_overwrite_each_other(
    clusters, trustlab, built_clusters, tmp_path
):
    """The same cluster name and host names, other keys: the fingerprints keep them apart."""
    settings = clusters.b / "trustlab.toml"
    settings.write_text(settings.read_text().replace("SiteB", "SiteA"))
    trustlab(clusters.b, "bundle", "export", clusters.shared)
    trustlab(clusters.a, "bundle", "export", clusters.shared)
    assert len(list(clusters.shared.iterdir())) == 12
    assert trustlab(clusters.a, "bundle", "consolidate", clusters.shared).code == 0
    for state, count in ((clusters.a, 4), (clusters.b, 7)):
        receipt = trustlab(state, "bundle", "import", clusters.shared, "--yes", "--json").one
        assert receipt["missing"] == []
        assert len(stored(trustlab, state)) == count


def test_same_issuer_and_serial_with_another_key_are_two(
    clusters, trustlab, make_certificate, tmp_path
):
    ders = [
        make_certificate("CAPF-01234567", serial=1, key=ec.generate_private_key(ec.SECP256R1()))
        for _ in range(2)
    ]
    path = tmp_path / "two.pem"
    path.write_bytes(b"".join(map(to_pem, ders)))
    assert trustlab(clusters.a, "bundle", "import", path).code == 0
    assert set(stored(trustlab, clusters.a)) == set(map(sha256, ders))


def test_the_database_of_tvsd_comes_over_in_one_import(
    clusters, trustlab, make_certificate, tmp_path
):
    roles = {
        "SAST,CCM+TFTP": ("CallManager", ["CallManager-trust", "Phone-SAST-trust"], [0, 3]),
        "SAST": (None, ["Phone-SAST-trust"], [0, 3]),
        "TFTP": (None, ["CallManager-trust"], [3]),
        "CAPF": ("CAPF", ["CAPF-trust"], [4]),
        "APP-SERVER": ("tomcat", ["tomcat-trust"], [7]),
        "TVS": ("TVS", ["TVS-trust"], [21]),
    }
    ders = {text: make_certificate(f"host-{text}") for text in roles}
    path = tmp_path / "tvs.sqlite3"
    tvsd_database(path, [(to_pem(der), text) for text, der in ders.items()])
    before = path.read_bytes()
    receipt = trustlab(clusters.a, "bundle", "import", path, "--yes", "--json").one
    assert receipt["outcome"] == "imported"
    entries = stored(trustlab, clusters.a)
    for text, (type_name, stores, codes) in roles.items():
        entry = entries[sha256(ders[text])]
        assert (entry["type"], entry["stores"]) == (type_name, stores)
        assert [role["code"] for role in entry["roles"]] == codes
    assert path.read_bytes() == before
    assert {p.name for p in tmp_path.glob("tvs.*")} == {"tvs.sqlite3"}


def test_new_signers_are_confirmed_by_fingerprint(exchanged, trustlab, tmp_path):
    imports = ("bundle", "import", exchanged.shared, "--json")
    unconfirmed = trustlab(exchanged.b, *imports)
    assert unconfirmed.code == 2
    assert unconfirmed.out == ""
    assert "--expect-fingerprints" in unconfirmed.err
    expected = tmp_path / "expected"
    wanted = signers_of(exchanged.a)
    colons = [":".join(f[i : i + 2] for i in range(0, 64, 2)).upper() for f in wanted]
    expected.write_text("# read out over the telephone\n" + " node a\n".join(colons[1:]))
    strangers = trustlab(exchanged.b, *imports, "--expect-fingerprints", expected)
    assert strangers.code == 1
    assert f"does not name {wanted[0]}" in strangers.err
    assert stored(trustlab, exchanged.b) == {}
    expected.write_text(" node a\n".join(colons))
    confirmed = trustlab(exchanged.b, *imports, "--expect-fingerprints", expected)
    assert confirmed.code == 0
    assert confirmed.one["confirmed_by"] == "--expect-fingerprints"
    flagged = {line["sha256"] for line in confirmed.one["certificates"] if line["new_signer"]}
    assert flagged == set(wanted)
    expected.write_text("not a fingerprint")
    assert trustlab(exchanged.a, *imports, "--expect-fingerprints", expected).code == 2


def test_without_new_signers_nothing_is_asked(exchanged, trustlab):
    imports = ("bundle", "import", exchanged.shared, "--type", "CAPF", "--type", "tomcat")
    result = trustlab(exchanged.b, *imports)
    assert result.code == 0
    assert len(stored(trustlab, exchanged.b)) == 4


def on_terminal(state, *command, answers) -> tuple[int, bytes]:
    """Run the program with a terminal for input and messages.

    ``answers`` are pairs of the text that is waited for and the line then typed. Answers the exit
    code and what was shown.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", "--state", state, *command],
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    for text, line in answers:
        seen = len(shown)
        while text.encode() not in shown[seen:]:
            shown += os.read(ours, 4096)
        os.write(ours, f"{line}\n".encode())
    code = process.wait(30)
    os.close(ours)
    return code, shown


@pytest.mark.parametrize(("typed", "code", "held"), [("yes", 0, 7), ("y", 1, 0)])
def test_on_a_terminal_signers_are_asked_for(typed, code, held, exchanged, trustlab):
    command = ("bundle", "import", exchanged.shared)
    ended, shown = on_terminal(exchanged.b, *command, answers=[("Type yes: ", typed)])
    assert ended == code
    for fingerprint in signers_of(exchanged.a):
        spaced = ":".join(fingerprint[i : i + 2] for i in range(0, 64, 2)).upper()
        assert spaced.encode() in shown
    assert len(stored(trustlab, exchanged.b)) == held


def test_on_a_terminal_passwords_are_asked_for(clusters, trustlab, monkeypatch, tmp_path):
    monkeypatch.setenv("TRUSTLAB_BUNDLE_PASSWORD", "open sesame")
    trustlab(clusters.a, "bundle", "export", clusters.shared, "--type", "CAPF")
    monkeypatch.delenv("TRUSTLAB_BUNDLE_PASSWORD")
    prompt = "_CAPF.p12 (empty: give up): "
    command = ("bundle", "import", clusters.shared)
    answers = [(prompt, "wrong"), (prompt, "open sesame")]  # which opens the second file too
    code, shown = on_terminal(clusters.b, *command, answers=answers)
    assert code == 0
    assert b"sesame" not in shown
    assert len(stored(trustlab, clusters.b)) == 2


def test_undo_takes_an_import_back(exchanged, trustlab):
    receipt = trustlab(exchanged.b, "bundle", "import", exchanged.shared, "--yes", "--json").one
    (listed,) = trustlab(exchanged.b, "bundle", "receipts", "--json").json
    assert (listed["receipt"], listed["action"]) == (receipt["receipt"], "import")
    assert trustlab(exchanged.b, "bundle", "receipts", receipt["receipt"], "--json").one == receipt
    undone = trustlab(exchanged.b, "bundle", "undo", receipt["receipt"], "--json")
    assert undone.code == 0
    assert stored(trustlab, exchanged.b) == {}
    again = trustlab(exchanged.b, "bundle", "undo", receipt["receipt"])
    assert again.code == 1
    assert "taken back already" in again.err
    assert trustlab(exchanged.b, "bundle", "undo", "20200101T000000Z-abcdef").code == 1
    anew = trustlab(exchanged.b, "bundle", "import", exchanged.shared, "--yes", "--json").one
    assert [line["state"] for line in anew["certificates"]] == [
        line["state"] for line in receipt["certificates"]
    ]


def test_the_mapping_is_a_setting(exchanged, trustlab):
    with (exchanged.b / "trustlab.toml").open("a") as settings:
        settings.write('[bundles.stores]\nITLRecovery = ["Phone-SAST-trust"]\nCAPF = []\n')
    bundles = read_bundles([exchanged.shared], ["trustlab"])
    _, foreseen = plan_imports(bundles, exchanged.b, [], AnswerPolicy())
    receipt = trustlab(exchanged.b, "bundle", "import", exchanged.shared, "--yes", "--json").one
    by_type = {line["type"]: line for line in receipt["certificates"] if line["node"] == "cucm-a1"}
    assert by_type["ITLRecovery"]["stores"] == ["Phone-SAST-trust"]
    assert by_type["CallManager"]["stores"] == ["CallManager-trust", "Phone-SAST-trust"]
    assert by_type["CAPF"]["reason"] == "the mapping names no store for CAPF"
    with closing(TrustStore.open(exchanged.b / STORE_FILE)) as store:
        entries = {entry.sha256: entry for entry in store.entries()}
    assert {entry.sha256: entry for entry in foreseen} == entries  # what a pre-flight looks at
    with (exchanged.a / "trustlab.toml").open("a") as settings:
        settings.write('[bundles.stores]\nCAPF = ["Callmanager-trust"]\n')
    assert trustlab(exchanged.a, "bundle", "import", exchanged.shared, "--yes").code == 2
