"""`trustlab init`: what a node's folder holds, who may read it, what is refused."""

import json
import os
import shutil
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from conf import ConfError
from conf.creation import Request, create_node
from conf.files import make_folder, write_whole
from conf.identity import (
    IDENTITIES,
    SIGNING_BITS,
    encode_identity,
    encode_pkcs12,
    identities_folder,
    load_signer,
    load_tls_identity,
    read_identity,
    read_signer,
)
from conf.node import load_node
from conf.running import claim, claim_folder
from conf.selfsigned import self_signed
from itl.document import LEAST_SIGNER_BITS, MODULUS_CODES
from lab.events import EVENTS_FILE, EventLog
from lab.scenarios.stranger import stranger_of
from tvs.bundles import encode
from tvs.store import STORE_FILE, TrustStore
from tvs.tls import server_context


def request(host: str = "pub", **changes: object) -> Request:
    values = {
        "cluster": "alpha",
        "host": host,
        "address": "127.0.0.1",
        "secure": False,
        "list_signer": None,
        "identities": {},
    }
    return Request(**(values | changes))


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("nodes") / "alpha"
    create_node(state, request())
    return state


def pem_file(folder: Path, name: str, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> Path:
    identity = self_signed(name, "brought", key)
    path = folder / f"{name}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + x509.load_der_x509_certificate(identity.chain[0]).public_bytes(serialization.Encoding.PEM)
    )
    return path


def test_only_the_owner_reads_a_node(founded: Path) -> None:
    assert stat.S_IMODE(founded.stat().st_mode) == 0o700
    for name in IDENTITIES:
        assert stat.S_IMODE((founded / "identities" / f"{name}.pem").stat().st_mode) == 0o600


def test_identities_have_cucm_shaped_subjects(founded: Path) -> None:
    own = load_node(founded).own
    names = {
        name: x509.load_der_x509_certificate(der).subject.rfc4514_string()
        for name, der in own.certificates.items()
    }
    assert names["CallManager"] == "CN=pub,OU=Voice,O=trustlab,L=Bench,ST=Lab,C=DE"
    assert names["ITLRecovery"].startswith("CN=ITLRECOVERY_pub,")
    assert names["CAPF"].startswith("CN=CAPF-")


def test_openssl_reads_what_was_made(founded: Path, program: Callable[[str], str]) -> None:
    pem = founded / "identities" / "CallManager.pem"
    shown = subprocess.run(
        [program("openssl"), "x509", "-in", pem, "-noout", "-text"],
        check=True,
        capture_output=True,
        text=True,
        timeout=20,
    ).stdout
    assert "RSA Public-Key: (2048 bit)" in shown or "Public-Key: (2048 bit)" in shown
    assert "DNS:pub" in shown


def test_an_existing_node_is_never_overwritten(tmp_path: Path) -> None:
    state = tmp_path / "node"
    create_node(state, request())
    before = load_signer(state, "CallManager").certificate
    with pytest.raises(ConfError, match="holds a node already"):
        create_node(state, request())
    assert load_signer(state, "CallManager").certificate == before
    backup = create_node(state, request(), force=True)
    assert backup is not None
    assert load_signer(backup, "CallManager").certificate == before
    assert load_signer(state, "CallManager").certificate != before


def test_force_leaves_a_running_node_alone(tmp_path: Path) -> None:
    state = tmp_path / "node"
    create_node(state, request())
    with claim(state), pytest.raises(ConfError, match="its daemon runs"):
        create_node(state, request(), force=True)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfError, match="not empty and holds no node"):
        create_node(tmp_path, request(), force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_failed_creation_leaves_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no key")
    with pytest.raises(ConfError, match=r"broken\.pem"):
        create_node(tmp_path / "node", request(identities={"TVS": broken}))
    assert [path.name for path in tmp_path.iterdir()] == ["broken.pem"]


def test_what_a_killed_creation_left_in_an_empty_folder_is_no_hindrance(
    founded: Path, tmp_path: Path
) -> None:
    state = tmp_path / "node"
    draft = state / ".node.0123456789abcdef"
    shutil.copytree(founded, draft)
    (draft / "identities").rename(state / "identities")
    with claim_folder(state), pytest.raises(ConfError, match="another command is changing it"):
        create_node(state, request())
    create_node(state, request())
    assert {path.name for path in state.iterdir()} == {path.name for path in founded.iterdir()}


def test_a_node_without_settings_beside_a_draft_is_not_removed(
    founded: Path, tmp_path: Path
) -> None:
    state = tmp_path / "node"
    shutil.copytree(founded, state)
    (state / "trustlab.toml").unlink()
    (state / ".node.0123456789abcdef").mkdir()
    with pytest.raises(ConfError, match="is not empty and holds no node"):
        create_node(state, request())
    assert (state / "identities" / "ITLRecovery.pem").exists()


def test_an_empty_folder_is_filled_where_it_is(tmp_path: Path) -> None:
    # a volume of a container or a service's state directory: nothing beside it can be written
    state = tmp_path / "node"
    state.mkdir(mode=0o755)
    before = state.stat().st_ino
    broken = tmp_path / "broken.pem"
    broken.write_text("no key")
    with pytest.raises(ConfError, match=r"broken\.pem"):
        create_node(state, request(identities={"TVS": broken}))
    assert list(state.iterdir()) == []
    create_node(state, request())
    assert (state.stat().st_ino, state.stat().st_mode & 0o777) == (before, 0o700)
    assert load_node(state).host == "pub"
    assert {path.name for path in state.iterdir()} == {
        "cluster",
        "identities",
        "tftp",
        "trustlab.toml",
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write for somebody else")
def test_what_root_writes_belongs_to_the_user_of_the_service(tmp_path: Path) -> None:
    os.chown(tmp_path, 10069, 10070)
    write_whole(tmp_path / "TVS.pem", b"key")
    make_folder(tmp_path / "lists")
    make_folder(tmp_path / "lists")  # as it is there, nothing is done
    make_folder(tmp_path / "lists" / "inner")
    for name, mode in (("TVS.pem", 0o600), ("lists", 0o700), ("lists/inner", 0o700)):
        status = (tmp_path / name).stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (10069, 10070, mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write for somebody else")
def test_a_node_that_root_makes_or_serves_belongs_to_the_user_of_its_folder(tmp_path: Path) -> None:
    state = tmp_path / "node"
    state.mkdir()
    os.chown(state, 10069, 10070)
    create_node(state, request())
    with claim(state):
        EventLog(state / EVENTS_FILE, max_bytes=1, kept_files=1).close()
    stranger_of(state)
    TrustStore.open(state / STORE_FILE).close()
    owners = {path: path.stat().st_uid for path in state.rglob("*")}
    assert set(owners.values()) == {10069}, owners


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_a_link_leads_to_is_not_given_away(tmp_path: Path) -> None:
    state = tmp_path / "node"
    state.mkdir()
    os.chown(state, 10069, 10070)
    (tmp_path / "shadow").write_bytes(b"")
    (state / "run.lock").symlink_to(tmp_path / "shadow")
    with claim(state):
        assert (tmp_path / "shadow").stat().st_uid == 0


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "lists").write_bytes(b"")
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "lists")


def test_a_node_that_joined_is_made_anew_only_by_force_and_in_its_folder(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    create_node(first, request())
    joining = request("sub", cluster=None, join=first, address="127.0.0.2")
    create_node(second, joining)
    with pytest.raises(ConfError, match="has that node already; --force makes it anew"):
        create_node(second, joining)
    with pytest.raises(ConfError, match=r"has that node already$"):
        create_node(tmp_path / "elsewhere", joining, force=True)
    with pytest.raises(ConfError, match=r"has that node already$"):
        create_node(first, request(cluster=None, join=first), force=True)
    former = load_node(second).own.certificates["TVS"]
    backup = create_node(second, joining, force=True)
    assert backup is not None
    assert load_node(backup).own.certificates["TVS"] == former
    made = load_node(second).own.certificates["TVS"]
    assert made != former
    assert [(one.host, one.certificates["TVS"] == made) for one in load_node(first).members] == [
        ("pub", False),
        ("sub", True),
    ]


def test_of_two_that_join_at_once_each_would_miss_the_other(tmp_path: Path) -> None:
    first = tmp_path / "first"
    create_node(first, request())
    create_node(tmp_path / "second", request("sub", join=first))
    for peer in (first, tmp_path / "second"):
        with (
            claim_folder(identities_folder(first)),
            pytest.raises(ConfError, match="another command is changing it"),
        ):
            create_node(tmp_path / "third", request("third", join=peer))
    assert not (tmp_path / "third").exists()


def test_joining_shares_itlrecovery_and_exchanges_certificates(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    create_node(first, request("pub", secure=True, list_signer="CallManager"))
    create_node(second, request("sub", cluster=None, join=first, address="127.0.0.2"))
    create_node(third, request("tftp", cluster="alpha", join=second, address="127.0.0.3"))
    nodes = [load_node(state) for state in (first, second, third)]
    assert [[member.host for member in node.members] for node in nodes] == [
        ["pub", "sub", "tftp"]
    ] * 3
    assert all(node.cluster == "alpha" and node.secure for node in nodes)
    assert all(node.list_signer == "CallManager" for node in nodes)
    assert len({load_signer(node.state, "ITLRecovery").certificate for node in nodes}) == 1
    assert len({node.own.certificates["TVS"] for node in nodes}) == 3


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"cluster": "beta", "join": True}, "belongs to alpha"),
        ({"secure": True, "join": True}, "is not secure"),
        ({"host": "pub", "join": True}, "has that node already"),
        ({"cluster": None}, "--cluster is needed"),
        ({"host": "../up"}, "not a host name"),
        ({"address": "300.1.1.1"}, "--address"),
        ({"cluster": 'a"b'}, "--cluster"),
        ({"identities": {"Tomcat": Path("x.pem")}}, "no such identity"),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    founded: Path, tmp_path: Path, changes: dict[str, object], text: str
) -> None:
    if changes.get("join"):
        changes = {"host": "sub"} | changes | {"join": founded}
    with pytest.raises(ConfError, match=text):
        create_node(tmp_path / "node", request(**changes))
    assert list(tmp_path.iterdir()) == []


def test_identities_are_brought_along(tmp_path: Path, rsa_keys: Callable) -> None:
    tvs = pem_file(tmp_path, "TVS", ec.generate_private_key(ec.SECP256R1()))
    callmanager = pem_file(tmp_path, "CallManager", rsa_keys(0))
    state = tmp_path / "node"
    create_node(state, request(identities={"TVS": tvs, "CallManager": callmanager}))
    loaded = load_signer(state, "CallManager").private_key
    assert loaded.private_numbers() == rsa_keys(0).private_numbers()
    assert isinstance(load_tls_identity(state, "TVS").private_key, ec.EllipticCurvePrivateKey)


def test_an_identity_that_cannot_sign_is_refused(tmp_path: Path) -> None:
    curve = pem_file(tmp_path, "CallManager", ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(ConfError, match=f"{curve}: lists and files are signed with RSA keys only"):
        create_node(tmp_path / "node", request(identities={"CallManager": curve}))
    odd = pem_file(tmp_path, "ITLRecovery", rsa.generate_private_key(65537, 3072))
    with pytest.raises(ConfError, match=f"{odd}: an RSA-3072 key cannot sign: .* 1024, 2048, 4096"):
        create_node(tmp_path / "node", request(identities={"ITLRecovery": odd}))


@pytest.mark.parametrize("name", ["ITLRecovery", "TVS"])
def test_a_key_that_anybody_can_break_is_no_identity(
    tmp_path: Path, program: Callable[[str], str], name: str
) -> None:
    command = f"req -x509 -newkey rsa:512 -sha256 -nodes -subj /CN={name} -days 9 -keyout k -out c"
    subprocess.run([program("openssl"), *command.split()], cwd=tmp_path, check=True)
    small = tmp_path / "small.pem"
    small.write_bytes((tmp_path / "k").read_bytes() + (tmp_path / "c").read_bytes())
    with pytest.raises(ConfError, match=f"{small}: an RSA-512 key, .* at least 1024 bits"):
        create_node(tmp_path / "node", request(identities={name: small}))


def test_keys_and_certificates_of_kinds_that_are_unknown_are_named(
    founded: Path, tmp_path: Path, program: Callable[[str], str]
) -> None:
    odd = tmp_path / "odd.pem"
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:secp112r1 -nodes -subj /CN=x"
    openssl = [program("openssl"), *command.split(), "-keyout", "k", "-out", "c"]
    subprocess.run(openssl, cwd=tmp_path, check=True, capture_output=True)
    key, certificate = ((tmp_path / name).read_bytes() for name in ("k", "c"))
    whole = (founded / "identities" / "TVS.pem").read_bytes()
    version = bytes.fromhex("a003020102")
    der = load_tls_identity(founded, "TVS").chain[0].replace(version, version[:-1] + b"\5")
    for octets, words in (
        (key + certificate, "no readable private key"),
        (certificate + whole, "the certificate's key cannot be read"),
        (ssl.DER_cert_to_PEM_cert(der).encode() + whole, "no certificate: 5"),
    ):
        odd.write_bytes(octets)
        with pytest.raises(ConfError, match=f"{odd}: {words}"):
            read_identity(odd)


def test_serial_number_zero_is_no_news(tmp_path: Path, program: Callable[[str], str]) -> None:
    command = "req -x509 -newkey rsa:2048 -nodes -set_serial 0 -subj /CN=x -keyout k -out c"
    subprocess.run([program("openssl"), *command.split()], cwd=tmp_path, check=True)
    (tmp_path / "odd.pem").write_bytes(
        (tmp_path / "k").read_bytes() + (tmp_path / "c").read_bytes()
    )
    odd = read_identity(tmp_path / "odd.pem")
    assert encode_identity(odd).endswith((tmp_path / "c").read_bytes())
    assert encode_pkcs12(odd, "x", "secret")
    assert encode([(odd.chain[0], None)], "secret", "modern")
    shown = [(odd.chain, odd.private_key)]
    assert server_context(shown, profile="modern", request_client_certificate=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tvs_port": 65536}, r"not a node's record: .*tvs_port"),
        ({"host": "other"}, "host: 'other' has its record in another file"),
        ({"certificates": {}}, "certificates: there is none of CallManager"),
        ({"certificates": dict.fromkeys(IDENTITIES, "AAAA")}, "certificate CallManager: "),
    ],
)
def test_a_record_of_a_node_that_cannot_be_is_named(
    founded: Path, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    state = shutil.copytree(founded, tmp_path / "node")
    record = state / "cluster" / "pub.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | change))
    with pytest.raises(ConfError, match=f"{record}: {words}"):
        load_node(state)


def test_every_key_that_may_sign_is_one_that_lists_are_signed_with() -> None:
    writable = [bits for bits in MODULUS_CODES if bits >= LEAST_SIGNER_BITS]
    assert list(SIGNING_BITS) == writable


def test_a_pipe_is_no_key_and_nothing_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for certificate, key in (("pipe", "none.pem"), ("none.pem", "pipe")):
        (tmp_path / "none.pem").write_bytes(b"")
        with pytest.raises(ConfError, match=r"none\.pem: no certificate|pipe: is no regular file"):
            read_signer(tmp_path / certificate, tmp_path / key)
    with pytest.raises(ConfError, match="pipe: is no regular file"):
        read_identity(tmp_path / "pipe")


def test_the_longest_name_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    write_whole(path, b"data")
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [(path.name, b"data")]


def test_a_key_of_another_certificate_is_refused(tmp_path: Path, rsa_keys: Callable) -> None:
    one, other = pem_file(tmp_path, "TVS", rsa_keys(0)), pem_file(tmp_path, "CAPF", rsa_keys(1))
    mixed = tmp_path / "mixed.pem"
    key, _, _ = one.read_text().partition("-----BEGIN CERTIFICATE-----")
    _, begin, certificate = other.read_text().partition("-----BEGIN CERTIFICATE-----")
    mixed.write_text(key + begin + certificate)
    with pytest.raises(ConfError, match="not the one of the certificate"):
        create_node(tmp_path / "node", request(identities={"TVS": mixed}))


def test_one_daemon_a_node(founded: Path) -> None:
    with (
        claim(founded),
        pytest.raises(ConfError, match="runs on this node already"),
        claim(founded),
    ):
        pass


def test_what_hinders_a_file_is_told_with_its_name(tmp_path: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
from lab.cli.main import guarded
from conf.files import write_whole
from tvs.store import TrustStore
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
print(guarded(lambda: write_whole(Path("full"), bytes(9001))))
print(guarded(lambda: TrustStore.open(Path("store"))))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "3\n2\n"
    of_file, of_store = done.stderr.splitlines()
    assert of_file == "trustlab: full: File too large"
    assert of_store.startswith("trustlab: store: cannot be made: ")
    assert list(tmp_path.iterdir()) == []
