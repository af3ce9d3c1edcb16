"""The guide's procedure: export, export, consolidate, import, import; from outside."""

import json
import os
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

from conf.identity import identity_file, load_tls_identity
from tests.bundles.samples import certificates_of, stored

SIGNERS = [{"code": 0, "name": "SAST"}, {"code": 3, "name": "TFTP"}]
TARGETS = {
    "CAPF": (["CallManager-trust"], [{"code": 4, "name": "CAPF"}]),
    "tomcat": (["tomcat-trust"], [{"code": 7, "name": "APP-SERVER"}]),
    "CallManager": (["CallManager-trust", "Phone-SAST-trust"], SIGNERS),
    "ITLRecovery": (["CallManager-trust", "Phone-SAST-trust"], SIGNERS),
}


def test_both_clusters_hold_the_other_ones_certificates(exchanged, trustlab):
    own = {state: certificates_of(state) for state in (exchanged.a, exchanged.b)}
    for state, other in ((exchanged.a, exchanged.b), (exchanged.b, exchanged.a)):
        result = trustlab(state, "bundle", "import", exchanged.shared, "--yes", "--json")
        assert result.code == 0
        receipt = result.one
        assert receipt["outcome"] == "imported"
        assert receipt["missing"] == []
        entries = stored(trustlab, state)
        exchanged_types = {
            sha256: name.split()[0]
            for sha256, name in own[other].items()
            if not name.startswith("TVS ")
        }
        assert {sha256: entry["type"] for sha256, entry in entries.items()} == exchanged_types
        for entry in entries.values():
            assert (entry["stores"], entry["roles"]) == TARGETS[entry["type"]]
        skipped = {line["sha256"] for line in receipt["certificates"] if line["state"] == "skipped"}
        assert skipped == {s for s, name in own[state].items() if not name.startswith("TVS ")}


def test_the_receipt_says_where_each_certificate_came_from(exchanged, trustlab):
    receipt = trustlab(exchanged.b, "bundle", "import", exchanged.shared, "--yes", "--json").one
    own = certificates_of(exchanged.a)
    new = [line for line in receipt["certificates"] if line["state"] == "new"]
    assert len(new) == 7  # of two nodes: 3 each, and one ITLRecovery for both
    for line in new:
        assert line["cluster"] == "SiteA"
        assert own[line["sha256"]] == f"{line['type']} of {line['node']}"
        assert (line["stores"], line["roles"]) == TARGETS[line["type"]]
        assert line["file"] in {path.name for path in exchanged.shared.iterdir()}
        assert line["type_from"] == "label"
    (again,) = [line for line in receipt["certificates"] if line["state"] == "already there"]
    assert (again["node"], again["reason"]) == ("cucm-a2", "the same as from cucm-a1")
    own_lines = [line for line in receipt["certificates"] if line["cluster"] == "SiteB"]
    assert {line["state"] for line in own_lines} == {"skipped"}
    assert own_lines[0]["reason"] == "own certificate: CAPF of cucm-b1"


def test_a_second_import_finds_nothing_to_do(exchanged, trustlab):
    trustlab(exchanged.b, "bundle", "import", exchanged.shared, "--yes")
    before = stored(trustlab, exchanged.b)
    again = trustlab(exchanged.b, "bundle", "import", exchanged.shared, "--json")
    assert again.code == 0
    assert again.one["outcome"] == "nothing to do"
    assert again.one["receipt"] is None
    states = {line["state"] for line in again.one["certificates"]}
    assert states == {"already there", "skipped"}
    assert stored(trustlab, exchanged.b) == before


def test_a_dry_run_shows_the_same_plan_and_changes_nothing(exchanged, trustlab):
    planned = trustlab(exchanged.b, "bundle", "import", exchanged.shared, "--dry-run", "--json")
    assert planned.code == 0
    assert planned.one["outcome"] == "planned"
    assert stored(trustlab, exchanged.b) == {}
    done = trustlab(exchanged.b, "bundle", "import", exchanged.shared, "--yes", "--json")
    assert done.one["certificates"] == planned.one["certificates"]


def test_a_second_run_leaves_files_untouched(exchanged, trustlab):
    before = {path.name: path.stat() for path in exchanged.shared.iterdir()}
    consolidated = trustlab(exchanged.a, "bundle", "consolidate", exchanged.shared, "--json").one
    exported = trustlab(exchanged.a, "bundle", "export", exchanged.shared, "--json").one
    assert (consolidated["written"], exported["written"]) == ([], [])
    assert len(exported["unchanged"]) == 8
    after = {path.name: path.stat() for path in exchanged.shared.iterdir()}
    assert {n: (s.st_ino, s.st_mtime_ns) for n, s in after.items()} == {
        n: (s.st_ino, s.st_mtime_ns) for n, s in before.items()
    }


def test_names_of_files_mean_nothing(exchanged, trustlab):
    """Names exchanged in a circle, extensions gone: the content says what each file is."""
    names = sorted(path.name for path in exchanged.shared.iterdir())
    moved = exchanged.shared.with_name("moved")
    moved.mkdir()
    for old, new in zip(names, names[1:] + names[:1], strict=True):
        shutil.copy(exchanged.shared / old, moved / new.removesuffix(".p12"))
    receipts = [
        trustlab(exchanged.b, "bundle", "import", place, "--dry-run", "--json").one
        for place in (exchanged.shared, moved)
    ]
    found = [
        {(line["sha256"], line["node"], line["type"], line["state"]) for line in r["certificates"]}
        for r in receipts
    ]
    # Which of a node's two files comes first decides which of the two is "new".
    assert {line[:3] for line in found[0]} == {line[:3] for line in found[1]}


def test_list_shows_files_clusters_nodes_and_types(exchanged, trustlab):
    files = trustlab(exchanged.a, "bundle", "list", exchanged.shared, "--json").json
    of_nodes = [file for file in files if not file["consolidated"]]
    assert len(of_nodes) == 12
    assert {(f["cluster"], f["node"], f["type"], len(f["certificates"])) for f in of_nodes} == {
        (cluster, node, type_name, 1)
        for cluster, node in (("SiteA", "cucm-a1"), ("SiteA", "cucm-a2"), ("SiteB", "cucm-b1"))
        for type_name in TARGETS
    }
    collected = {f["file"]: f for f in files if f["consolidated"]}
    assert set(collected) == {f"consolidated_{name}.p12" for name in TARGETS}
    for file in collected.values():
        assert file["cluster"] is None
        assert len(file["certificates"]) == 3
    shown = trustlab(exchanged.a, "bundle", "list", exchanged.shared)
    assert shown.code == 0
    assert "SiteA/cucm-a2" in shown.out


def test_no_private_key_is_written_and_every_program_reads_the_bundles(
    exchanged, keytool, trustlab
):
    """OpenSSL counts them, and Java, which leaves out certificates not marked as trusted."""
    for path in sorted(exchanged.shared.iterdir()):
        shown = subprocess.run(
            ["openssl", "pkcs12", "-in", path, "-passin", "pass:trustlab", "-nodes"],
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        count = 3 if path.name.startswith("consolidated") else 1
        assert (shown.count("BEGIN CERTIFICATE"), shown.count("PRIVATE KEY")) == (count, 0)
    path = exchanged.shared / "consolidated_ITLRecovery.p12"  # the same certificate twice in it
    assert keytool_count(keytool, path, "trustlab") == 3


def keytool_count(keytool, path, password) -> int:
    done = subprocess.run(
        [keytool, "-list", "-keystore", path, "-storepass", password],
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout.count("trustedCertEntry")


def test_a_keystore_that_java_wrote_anew_is_still_understood(
    exchanged, keytool, trustlab, tmp_path
):
    copy = tmp_path / "copy.p12"
    subprocess.run(
        [
            *(keytool, "-importkeystore", "-noprompt", "-deststoretype", "PKCS12"),
            *("-srckeystore", exchanged.shared / "consolidated_CallManager.p12"),
            *("-srcstorepass", "trustlab", "-destkeystore", copy, "-deststorepass", "changeit"),
        ],
        check=True,
        capture_output=True,
    )
    (tmp_path / "password").write_text("changeit\n")
    listed = trustlab(
        exchanged.a, "bundle", "list", copy, "--json", "--password-file", tmp_path / "password"
    ).one
    assert {(line["node"], line["type"]) for line in listed["certificates"]} == {
        ("cucm-a1", "CallManager"),
        ("cucm-a2", "CallManager"),
        ("cucm-b1", "CallManager"),
    }


def test_own_password_and_old_algorithms(clusters, keytool, trustlab, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("correct horse\nolder one\n")
    export = ("bundle", "export", clusters.shared, "--type", "CallManager", "--legacy")
    assert trustlab(clusters.a, *export, "--password-file", secret).code == 0
    assert len(list(clusters.shared.iterdir())) == 2
    for path in clusters.shared.iterdir():
        shown = subprocess.run(
            [
                *("openssl", "pkcs12", "-in", path, "-passin", "pass:correct horse"),
                *("-info", "-nokeys"),
            ],
            capture_output=True,
            check=True,
            text=True,
        )
        assert "MAC: sha1" in shown.stderr
        assert "pbeWithSHA1And3-KeyTripleDES-CBC" in shown.stderr
    assert keytool_count(keytool, path, "correct horse") == 1
    locked = trustlab(clusters.b, "bundle", "import", clusters.shared, "--yes", "--json")
    assert locked.code == 3
    assert {file["reason"] for file in locked.one["unreadable"]} == {
        "none of the passwords opens it"
    }
    assert stored(trustlab, clusters.b) == {}
    opened = trustlab(
        clusters.b, "bundle", "import", clusters.shared, "--yes", "--password-file", secret
    )
    assert opened.code == 0
    assert len(stored(trustlab, clusters.b)) == 2


def test_the_environment_gives_the_password(clusters, trustlab, monkeypatch):
    monkeypatch.setenv("TRUSTLAB_BUNDLE_PASSWORD", "from-outside")
    trustlab(clusters.a, "bundle", "export", clusters.shared)
    assert trustlab(clusters.b, "bundle", "list", clusters.shared).code == 0
    monkeypatch.delenv("TRUSTLAB_BUNDLE_PASSWORD")
    assert trustlab(clusters.b, "bundle", "list", clusters.shared).code == 3


@pytest.mark.parametrize("given", ["CallManager", "tomcat"])
def test_one_type_only(given, clusters, trustlab):
    trustlab(clusters.a, "bundle", "export", clusters.shared)
    trustlab(clusters.b, "bundle", "consolidate", clusters.shared, "--type", given)
    names = {path.name for path in clusters.shared.iterdir() if path.name.startswith("conso")}
    assert names == {f"consolidated_{given}.p12"}
    command = ("bundle", "import", clusters.shared, "--yes", "--type", given)
    assert trustlab(clusters.b, *command).code == 0
    assert {entry["type"] for entry in stored(trustlab, clusters.b).values()} == {given}


def test_an_unknown_type_is_a_usage_error(clusters, trustlab):
    result = trustlab(clusters.a, "bundle", "export", clusters.shared, "--type", "TVS")
    assert result.code == 2
    assert not clusters.shared.exists()


def test_a_missing_signer_is_reported_loudly(exchanged, trustlab):
    for path in exchanged.shared.glob("consolidated*"):
        path.unlink()
    for path in exchanged.shared.glob("SiteA*"):
        if "cucm-a2_CallManager" in path.name or path.name.endswith("ITLRecovery.p12"):
            path.unlink()
    result = trustlab(exchanged.b, "bundle", "import", exchanged.shared, "--yes", "--json")
    assert result.code == 0
    assert result.one["missing"] == [
        "cluster SiteA: node cucm-a2 contributed no CallManager certificate",
        "cluster SiteA contributed no ITLRecovery certificate",
    ]
    assert result.err.count("MISSING: ") == 2
    for path in exchanged.shared.glob("SiteA*cucm-a2*"):
        path.unlink()
    listed = trustlab(exchanged.b, "bundle", "list", exchanged.shared)
    assert "cluster SiteA has 2 nodes; only cucm-a1 contributed anything" in listed.err


def test_what_a_node_exported_anew_replaces_what_was_consolidated(
    exchanged, trustlab, built_clusters
):
    """A renewed certificate: the consolidated file still has the old one until it is made again."""
    record = exchanged.a / "cluster" / "cucm-a1.json"
    value = json.loads(record.read_bytes())
    value["certificates"]["CallManager"] = json.loads(
        (exchanged.b / "cluster" / "cucm-b1.json").read_bytes()
    )["certificates"]["TVS"]
    old, new = certificates_of(exchanged.a), None
    shutil.copy(identity_file(exchanged.b, "TVS"), identity_file(exchanged.a, "CallManager"))
    record.write_text(json.dumps(value))
    new = certificates_of(exchanged.a)
    (gone,), (fresh,) = old.keys() - new.keys(), new.keys() - old.keys()
    trustlab(exchanged.a, "bundle", "export", exchanged.shared)
    plan = trustlab(exchanged.b, "bundle", "import", exchanged.shared, "--dry-run", "--json").one
    states = {line["sha256"]: line["state"] for line in plan["certificates"]}
    assert states[gone] == "skipped"
    made = trustlab(exchanged.b, "bundle", "consolidate", exchanged.shared, "--json").one
    assert [line["sha256"] for line in made["dropped"]] == [gone]
    assert [file["file"] for file in made["written"]] == ["consolidated_CallManager.p12"]
    assert fresh in {line["sha256"] for line in made["written"][0]["certificates"]}


def test_consolidation_says_what_is_duplicated_and_expired(exchanged, trustlab, make_certificate):
    (exchanged.shared / "old.cer").write_bytes(make_certificate("CAPF-0123abcd", days=-10))
    made = trustlab(exchanged.b, "bundle", "consolidate", exchanged.shared, "--json").one
    assert {line["file"] for line in made["duplicates"]} == {
        path.name for path in exchanged.shared.glob("*cucm-a2_ITLRecovery.p12")
    }
    (expired,) = made["expired"]
    assert (expired["file"], expired["type"], expired["type_from"]) == (
        "old.cer",
        "CAPF",
        "subject",
    )
    again = trustlab(exchanged.b, "bundle", "consolidate", exchanged.shared, "--json").one
    assert again["written"] == []


def test_a_missing_directory_is_an_error_but_export_makes_it(clusters, trustlab):
    for command in ("list", "import", "consolidate"):
        result = trustlab(clusters.a, "bundle", command, clusters.shared)
        assert result.code == 3
        assert "No such file or directory" in result.err
    clusters.shared.mkdir()
    assert trustlab(clusters.a, "bundle", "list", clusters.shared).code == 0
    for command in ("import", "consolidate"):
        assert trustlab(clusters.a, "bundle", command, clusters.shared).code == 3


def modes(folder) -> dict[bool, set[int]]:
    """The modes of the files there, of those with a private key and of the others."""
    found = {}
    for path in folder.iterdir():
        found.setdefault("private-key" in path.name, set()).add(path.stat().st_mode & 0o777)
    return found


def test_private_keys_only_when_asked_for_and_with_a_password(clusters, trustlab, tmp_path):
    command = ("bundle", "export", clusters.shared, "--type", "CallManager", "--private-keys")
    assert trustlab(clusters.a, *command).code == 2
    assert not clusters.shared.exists()
    secret = tmp_path / "secret"
    secret.write_text("correct horse")
    assert trustlab(clusters.a, *command, "--password-file", secret).code == 0
    (path,) = clusters.shared.glob("*cucm-a1*private-key*")  # this node's own alone
    assert len(list(clusters.shared.iterdir())) == 3
    path.chmod(0o644)
    assert trustlab(clusters.a, *command, "--password-file", secret).code == 0
    assert modes(clusters.shared) == {False: {0o644}, True: {0o600}}
    bundle = pkcs12.load_pkcs12(path.read_bytes(), b"correct horse")
    identity = load_tls_identity(clusters.a, "CallManager")
    assert bundle.key.private_numbers() == identity.private_key.private_numbers()
    where = ("bundle", "import", clusters.shared, "--yes", "--json", "--password-file", secret)
    lines = trustlab(clusters.b, *where).one["certificates"]
    assert [(line["node"], line["state"]) for line in lines] == [
        ("cucm-a1", "new"),
        ("cucm-a2", "new"),
    ]


def test_ecdsa_kinds_are_exchanged_too(trustlab, clusters, tmp_path):
    state = tmp_path / "ec"
    new = ("init", "--cluster", "SiteC", "--node", "cucm-c1", "--address", "127.0.0.1")
    identities = clusters.a / "identities"
    names = ("CallManager", "TVS", "CAPF", "tomcat", "ITLRecovery")
    brought = [f"--identity={name}={identities / name}.pem" for name in names]
    assert trustlab(state, *new, "--callmanager-ecdsa", *brought).code == 0
    trustlab(state, "bundle", "export", clusters.shared, "--type", "CallManager-ECDSA")
    assert trustlab(clusters.b, "bundle", "import", clusters.shared, "--yes").code == 0
    (entry,) = stored(trustlab, clusters.b).values()
    assert entry["type"] == "CallManager-ECDSA"
    assert (entry["stores"], entry["roles"]) == TARGETS["CallManager"]


def test_a_name_that_is_not_utf_8_is_refused_before_anything_is_done(exchanged, trustlab):
    odd = exchanged.shared / os.fsdecode(b"caf\xe9.p12")
    shutil.copy(next(exchanged.shared.glob("*cucm-a1*")), odd)
    moved = shutil.copytree(exchanged.shared, exchanged.shared.with_name(odd.stem))
    (moved / odd.name).unlink()
    before = {path: path.stat().st_mtime_ns for path in exchanged.shared.iterdir()}
    for command, where in (
        (("consolidate", "--json"), exchanged.shared),
        (("import", "--yes", "--json"), exchanged.shared),
        (("import", "--yes", "--json"), odd),
        (("import", "--yes", "--json"), moved),
    ):
        result = trustlab(exchanged.b, "bundle", *command, where)
        assert (result.code, result.out) == (3, "")
        assert "a file name there is not UTF-8" in result.err
    assert {path: path.stat().st_mtime_ns for path in exchanged.shared.iterdir()} == before
    assert stored(trustlab, exchanged.b) == {}
