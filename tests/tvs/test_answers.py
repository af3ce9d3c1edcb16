"""What is answered, and the reason in words."""

import dataclasses
import subprocess
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import load_der_x509_certificate
from msgspec.structs import replace

from conf.settings import load_settings
from itl.certificates import load_certificates, serial_octets
from lab.policy import answer_policy
from tests.tvs.certificates import NOW, Made, make
from tvs.answers import DEFAULT_ROLES, Answer, AnswerPolicy, DeviceOverride, answer
from tvs.messages import Command, Request
from tvs.snapshot import Entry, Snapshot, entry_of

SESSION = b"\0\0\3\xe9"
BOTH = ("Phone-SAST-trust", "CallManager-trust")


def held(made: Made, *, kind: str | None = "CallManager", stores: tuple[str, ...] = BOTH) -> Entry:
    return entry_of(made.der, type=kind, stores=stores, source="a test")


def query_for(made: Made, **changed: object) -> Request:
    names = held(made)
    request = Request(
        Command.QUERY_REQUEST,
        SESSION,
        device="CP-8861-SEP001122334455",
        subject=names.subject,
        issuer=names.issuer,
        serial=names.serial,
    )
    return replace(request, **changed)


def verify_for(made: Made, device: str = "CP-8861-SEP001122334455") -> Request:
    return Request(Command.VERIFY_REQUEST, SESSION, device=device, certificate=made.der)


def asked(request: Request, *entries: Entry, now=NOW, **policy: object) -> Answer:
    return answer(request, Snapshot(entries), AnswerPolicy(**policy), now)


@pytest.fixture(scope="module")
def signer(rsa_keys) -> Made:
    return make("ucm11pub", rsa_keys(1), serial=0x24000000179479B8F124AC3F3B000000000017)


@pytest.fixture(scope="module")
def authority(rsa_keys) -> Made:
    return make("lab-ca", rsa_keys(3), ca=True)


def test_a_query_gets_the_certificate_roles_and_life(signer: Made) -> None:
    found = asked(query_for(signer), held(signer))
    response = found.response
    assert (found.verdict, found.reason) == ("trusted", "in CallManager-trust, Phone-SAST-trust")
    assert (response.command, response.session, response.status) == (4, SESSION, 0)
    assert (response.certificate, response.roles) == (signer.der, (0, 3))
    assert response.ttl_seconds == 86_400


def test_a_verify_gets_no_certificate_back(signer: Made) -> None:
    response = asked(verify_for(signer), held(signer)).response
    assert (response.command, response.status, response.certificate) == (2, 0, None)
    assert (response.roles, response.ttl_seconds) == ((0, 3), 86_400)


def test_a_miss_is_a_status_and_nothing_more(signer: Made) -> None:
    found = asked(query_for(signer))
    assert (found.verdict, found.response.status) == ("not trusted", 1)
    assert found.reason == "not in any store; issuer and serial unknown"
    response = found.response
    assert (response.certificate, response.roles, response.ttl_seconds) == (None, None, None)


@pytest.mark.parametrize(
    "issuer",
    [
        "CN=ucm11pub;O=Lab;C=AU",
        "C=AU;O=Lab;CN=ucm11pub",
        "CN=ucm11pub,O=Lab,C=AU",
        "cn=UCM11PUB, o=lab, c=au",
    ],
)
def test_the_issuer_is_found_by_text_and_else_by_its_parts(signer: Made, issuer: str) -> None:
    found = asked(query_for(signer, issuer=issuer), held(signer))
    assert found.response.status == 0
    assert bool(found.warnings) == (issuer != "CN=ucm11pub;O=Lab;C=AU")


def test_a_serial_with_the_sign_octet_of_der_is_the_same(signer: Made) -> None:
    serial = b"\0" + held(signer).serial
    assert asked(query_for(signer, serial=serial), held(signer)).response.status == 0


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"serial": b""}, "a certificate of the same subject with serial 2400000017"),
        ({"serial": None}, "the query names no serial number"),
        ({"issuer": None}, "the query names no issuer"),
        ({"issuer": "CN=x"}, "serial known, but issued by CN=ucm11pub;O=Lab;C=AU, not CN=x"),
        ({"serial": b"\1"}, "a certificate of the same subject with serial 2400000017"),
    ],
)
def test_why_a_query_finds_nothing(signer: Made, changed: dict, reason: str) -> None:
    found = asked(query_for(signer, **changed), held(signer))
    assert found.response.status == 1
    assert reason in found.reason


@pytest.mark.parametrize("serial", [b"", b"\0"])
def test_serial_number_zero_is_asked_for_by_no_octets_or_by_one(signer: Made, serial: bytes):
    """Lists write it as an empty element; cryptography reads such a certificate, and makes none."""
    zero = dataclasses.replace(held(signer), serial=b"")
    assert asked(query_for(signer, serial=serial), zero).response.certificate == signer.der


def test_of_two_with_the_same_issuer_and_serial_the_subject_decides(authority: Made, rsa_keys):
    first = make("one", rsa_keys(1), issuer=authority, serial=7)
    second = make("two", rsa_keys(2), issuer=authority, serial=7)
    found = asked(query_for(second), held(first), held(second))
    assert found.response.certificate == second.der
    assert "2 certificates have this issuer and serial number" in found.warnings


def test_same_issuer_and_serial_with_another_key_is_a_no_and_named(signer: Made, rsa_keys) -> None:
    renewed = make("ucm11pub", rsa_keys(2), serial=signer.certificate.serial_number)
    found = asked(verify_for(renewed), held(signer))
    assert found.response.status == 1
    assert found.reason.startswith("same issuer and serial as a certificate in CallManager-trust")
    assert found.reason.endswith("other key: the destination renewed it after the export")


def test_same_issuer_serial_and_key_with_other_octets_is_a_no_and_named(signer: Made) -> None:
    longer = make("ucm11pub", signer.key, serial=signer.certificate.serial_number, days=900)
    found = asked(verify_for(longer), held(signer))
    assert found.response.status == 1
    assert found.reason.startswith("same issuer, serial and key as a certificate in")


def test_what_is_no_certificate_is_a_no() -> None:
    request = Request(Command.VERIFY_REQUEST, SESSION, certificate=b"\x30\x00")
    assert asked(request).reason.startswith("not in any store, and no certificate")
    missing = asked(Request(Command.VERIFY_REQUEST, SESSION))
    assert (missing.response.status, missing.reason) == (1, "the request holds no certificate")


@pytest.mark.parametrize("command", [0, 2, 4, 5, 200, 255])
def test_an_unknown_command_is_answered_by_the_next_number(command: int) -> None:
    found = asked(Request(command, SESSION))
    assert found.response.command == (command + 1) % 256
    assert (found.response.session, found.response.status) == (SESSION, 1)
    assert found.verdict == "unknown command"


@pytest.mark.parametrize(
    ("kind", "stores", "roles"),
    [
        ("CallManager", ("Phone-SAST-trust",), (0, 3)),
        ("CallManager", ("CallManager-trust",), (0, 3)),
        ("ITLRecovery", BOTH, (0, 3)),
        ("CAPF", ("CallManager-trust",), (4,)),
        ("CAPF", ("CAPF-trust",), (4,)),
        ("tomcat", ("tomcat-trust",), (7,)),
        ("TVS", (), (21,)),
        (None, ("Phone-SAST-trust",), (0, 3)),
        (None, ("CallManager-trust", "tomcat-trust"), (3, 7)),
        (None, ("ipsec-trust",), ()),
    ],
)
def test_roles_by_type_and_store(signer: Made, kind, stores, roles) -> None:
    entry = held(signer, kind=kind, stores=stores)
    found = asked(verify_for(signer), entry)
    assert found.response.roles == roles
    assert ("no role is known for it" in found.warnings) == (not roles)


def test_the_roles_of_one_certificate_in_several_stores_are_joined(signer: Made) -> None:
    entries = [held(signer, kind=None, stores=(store,)) for store in ("tomcat-trust", "CAPF-trust")]
    assert asked(verify_for(signer), *entries).response.roles == (4, 7)
    typed = [*entries, held(signer, kind="CAPF", stores=())]
    assert asked(verify_for(signer), *typed).response.roles == (4,)


def test_the_default_table_is_the_one_in_the_settings(tmp_path) -> None:
    node = '[node]\ncluster = "a"\nhost = "pub"\naddress = "127.0.0.1"\n'
    (tmp_path / "trustlab.toml").write_text(node)
    settings = load_settings(tmp_path, {"tvs.answers.ca": "chain"}, {})
    assert answer_policy(settings.tvs.answers) == AnswerPolicy(ca="chain")
    assert answer_policy(settings.tvs.answers).roles == DEFAULT_ROLES


@pytest.mark.parametrize(("expired", "status"), [("warn", 0), ("refuse", 1)])
def test_an_expired_certificate(rsa_keys, expired: str, status: int) -> None:
    old = make("old", rsa_keys(1), days=-3)
    found = asked(verify_for(old), held(old), expired=expired)
    assert found.response.status == status
    words = found.reason if status else found.warnings[0]
    assert f"expired on {NOW - timedelta(days=3):%Y-%m-%d}" in words


def test_overrides_for_one_device(signer: Made) -> None:
    devices = {
        "SEP001122334455": DeviceOverride(roles=(4,), ttl_seconds=60),
        "ATA001122334455": DeviceOverride(refuse=True),
    }

    def ask(device: str) -> Answer:
        return asked(verify_for(signer, device), held(signer), devices=devices, ttl_seconds=5)

    changed = ask("CP-8861-SEP001122334455").response
    assert (changed.status, changed.roles, changed.ttl_seconds) == (0, (4,), 60)
    assert ask("ATA001122334455").response.status == 1
    assert "refused by the override for ATA001122334455" in ask("ATA001122334455").reason
    assert ask("CP-8861-SEP001122334456").response.roles == (0, 3)
    assert ask("CP-8861-SEP001122334456").response.ttl_seconds == 5


def test_without_the_setting_a_ca_in_a_store_vouches_for_nobody(authority: Made, rsa_keys) -> None:
    leaf = make("leaf", rsa_keys(1), issuer=authority)
    assert asked(verify_for(leaf), held(authority, kind=None)).response.status == 1


def test_a_ca_in_a_store_vouches_but_never_for_a_sast(authority: Made, rsa_keys) -> None:
    leaf = make("leaf", rsa_keys(1), issuer=authority)
    found = asked(verify_for(leaf), held(authority, kind=None), ca="chain")
    assert (found.response.status, found.response.roles) == (0, (3,))
    assert found.reason.startswith("issued by CN=lab-ca;O=Lab;C=AU, a CA in ")


def test_one_ca_above_another(authority: Made, rsa_keys) -> None:
    middle = make("middle-ca", rsa_keys(2), issuer=authority, ca=True)
    below = make("below", ec.generate_private_key(ec.SECP256R1()), issuer=middle)
    entries = [held(authority, kind=None), held(middle, kind=None)]
    assert asked(verify_for(below), *entries, ca="chain").response.status == 0
    assert asked(verify_for(below), entries[0], ca="chain").response.status == 1


def test_version_1_certificates_with_sha_1_make_no_difference(rsa_keys, program, tmp_path) -> None:
    openssl = program("openssl")
    for name, key in (("root", rsa_keys(3)), ("leaf", rsa_keys(1))):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / f"{name}.key").write_bytes(pem)
        new = f"req -new -key {name}.key -subj /O=Lab/CN={name} -out {name}.csr"
        signed = "-signkey root.key" if name == "root" else "-CA root.pem -CAkey root.key"
        sign = f"x509 -req -sha1 -in {name}.csr {signed} -set_serial 7 -days 9 -out {name}.pem"
        for command in (new, sign):
            run = [openssl, *command.split()]
            subprocess.run(run, cwd=tmp_path, check=True, capture_output=True, timeout=20)
    root, leaf = (load_certificates((tmp_path / f"{n}.pem").read_bytes()) for n in ("root", "leaf"))
    assert load_der_x509_certificate(leaf[0]).signature_hash_algorithm.name == "sha1"
    entry = entry_of(root[0], type=None, stores=("tomcat-trust",), source="a test")
    request = Request(Command.VERIFY_REQUEST, SESSION, certificate=leaf[0])
    found = asked(request, entry, ca="chain")
    assert (found.response.status, found.response.roles) == (0, (7,)), found.reason


def test_who_does_not_vouch(authority: Made, rsa_keys) -> None:
    leaf = make("leaf", rsa_keys(1), issuer=authority)
    capf = asked(verify_for(leaf), held(authority, kind="CAPF"), ca="chain")
    assert capf.response.status == 1
    namesake = make("lab-ca", rsa_keys(4), ca=True)
    forged = asked(verify_for(leaf), held(namesake, kind=None), ca="chain")
    assert forged.response.status == 1
    assert "its CA is in a store, but:" in forged.reason
    assert "no CA with the name CN=lab-ca" in asked(verify_for(leaf), ca="chain").reason


@pytest.mark.parametrize(("expired", "status"), [("warn", 0), ("refuse", 1)])
def test_an_expired_leaf_under_a_ca(authority: Made, rsa_keys, expired: str, status: int) -> None:
    leaf = make("leaf", rsa_keys(1), issuer=authority, days=-3)
    found = asked(verify_for(leaf), held(authority, kind=None), ca="chain", expired=expired)
    assert found.response.status == status
    assert "expired" in (found.reason if status else found.warnings[0])


def test_serials_as_the_lists_carry_them(signer: Made) -> None:
    assert held(signer).serial == serial_octets(signer.certificate.serial_number)
    assert len(held(signer).serial) == 19
