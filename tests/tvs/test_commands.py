"""`trustlab tvs query` and `verify` against a daemon: what is printed and how they end."""

import hashlib
import json
import socket
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from itl.certificates import Certificate, describe, load_certificates
from tests.daemons import Daemon, new_node, serving, trustlab
from tests.tvs.certificates import make


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with serving(new_node(tmp_path_factory.mktemp("commands") / "node")) as running:
        yield running


@pytest.fixture
def where(daemon: Daemon) -> str:
    return f"127.0.0.1:{daemon.tvs[1]}"


def identity(daemon: Daemon, name: str) -> Path:
    return daemon.state / "identities" / f"{name}.pem"


def certificate(daemon: Daemon, name: str) -> Certificate:
    return describe(load_certificates(identity(daemon, name).read_bytes())[0])


def test_a_query_prints_what_scripts_rely_on(daemon: Daemon, where: str) -> None:
    known = certificate(daemon, "ITLRecovery")
    names = ("--subject", known.subject, "--issuer", known.issuer, "--serial", known.serial.hex())
    asked = trustlab("tvs", "query", where, *names, "--json")
    assert asked.returncode == 0, asked.stderr
    answer = json.loads(asked.stdout)
    assert answer["status"] == 0
    assert answer["roles"] == [{"code": 0, "name": "SAST"}, {"code": 3, "name": "TFTP"}]
    assert answer["ttl"] == 86_400
    assert b64decode(answer["certificate"]["der_base64"]) == known.der
    assert answer["certificate"]["length"] == len(known.der)
    assert answer["certificate"]["sha1"] == hashlib.sha1(known.der).hexdigest()  # noqa: S324 - what phones show
    assert answer["server_certificate"]["sha256"] == certificate(daemon, "TVS").sha256
    text = trustlab("tvs", "query", where, *names)
    assert "trusted" in text.stdout
    assert known.sha256 in text.stdout.replace("\n", "")


def test_a_definite_no_is_one(where: str, rsa_keys, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(make("stranger", rsa_keys(2)).pem)
    verified = trustlab("tvs", "verify", where, stranger, "--json")
    assert verified.returncode == 1
    answer = json.loads(verified.stdout)
    assert (answer["status"], answer["roles"], answer["ttl"]) == (1, [], None)
    assert answer["certificate"] is None
    queried = trustlab("tvs", "query", where, "--issuer", "CN=x", "--serial", "01")
    assert queried.returncode == 1
    assert "not trusted (status 1)" in queried.stdout


def test_the_signer_of_a_list(daemon: Daemon, where: str, tmp_path: Path) -> None:
    listed = tmp_path / "ITLFile.tlv"
    tftp = f"127.0.0.1:{daemon.tftp[1]}"
    assert trustlab("tftp", "get", tftp, "ITLFile.tlv", listed).returncode == 0
    for how in ("query", "verify"):
        asked = trustlab("tvs", how, where, "--list", listed, "--json")
        assert asked.returncode == 0, asked.stderr
        answer = json.loads(asked.stdout)
        assert answer["asked"]["serial"] == certificate(daemon, "ITLRecovery").serial.hex()


def test_every_certificate_of_a_bundle(daemon: Daemon, where: str, rsa_keys, tmp_path) -> None:
    stranger = make("stranger", rsa_keys(2)).certificate
    known = [certificate(daemon, name).der for name in ("CAPF", "tomcat")]
    others = [stranger, *map(x509.load_der_x509_certificate, known)]
    bundle = tmp_path / "bundle.p12"
    encryption = BestAvailableEncryption(b"secret")
    bundle.write_bytes(pkcs12.serialize_key_and_certificates(None, None, None, others, encryption))
    passwords = tmp_path / "passwords"
    passwords.write_text("secret\n")
    locked = ("--bundle", bundle, "--password-file", passwords, "--json")
    asked = trustlab("tvs", "verify", where, *locked)
    assert asked.returncode == 1
    statuses = [json.loads(line)["status"] for line in asked.stdout.splitlines()]
    assert sorted(statuses) == [0, 0, 1]


def test_nobody_there_is_three_and_a_wrong_word_two(daemon: Daemon, where: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nobody = f"127.0.0.1:{silent.getsockname()[1]}"
        known = identity(daemon, "TVS")
        waited = trustlab("tvs", "verify", nobody, known, "--timeout-seconds", "0.3", "--json")
    assert (waited.returncode, waited.stdout) == (3, "")
    assert "did not answer within 0.3 s" in waited.stderr
    for words in (
        ("query", where),
        ("query", where, "--serial", "01"),
        ("query", where, "--issuer", "CN=x", "--serial", "xy"),
        ("verify", where),
        ("verify", "not a host", known),
    ):
        assert trustlab("tvs", *words).returncode == 2, words
