"""Requests, answers and certificates at the edge of what the protocol lets them be."""

import json
from hashlib import sha256
from tempfile import NamedTemporaryFile

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

from itl.certificates import describe
from lab.cli.main import run
from tests.tvs.certificates import NOW, Made, make, name_of
from tests.tvs.conftest import read_message, shaken
from tests.tvs.test_answers import held, query_for, verify_for
from tvs.answers import AnswerPolicy, answer
from tvs.client import verify
from tvs.happenings import answer_event
from tvs.messages import Request, Response, encode_request, encode_response
from tvs.server import Reply
from tvs.snapshot import Snapshot, _stored_names
from tvs.tls import client_context, server_context

in_thread = trio.to_thread.run_sync


@pytest.fixture(scope="module")
def odd(rsa_keys) -> tuple[bytes, rsa.RSAPrivateKey]:
    """A certificate of X.509 version 5, which OpenSSL reads and cryptography does not."""
    made = make("odd", rsa_keys(3))
    version = bytes.fromhex("a003020102")
    assert made.der.count(version) == 1
    return made.der.replace(version, version[:-1] + b"\4"), made.key


def with_certificate(context: SSL.Context, odd: tuple[bytes, rsa.RSAPrivateKey]) -> SSL.Context:
    der, key = odd
    with NamedTemporaryFile() as file:
        file.write(der)
        file.flush()
        context.use_certificate_file(file.name, crypto.FILETYPE_ASN1)
    context.use_privatekey(key)
    return context


async def test_a_request_of_64_kib_makes_a_short_line(serve) -> None:
    async with serve() as tvs:
        known = held(tvs.trusted)
        request = Request(
            3,
            b"sess",
            device="\x1b[31m" + "d" * 10_000,
            subject="CN=" + "s" * 10_000,
            issuer="C=;" * 9_000,
            serial=known.serial,
            unknown=tuple((99, b"") for _ in range(4_000)),
        )

        def ask(port: int) -> bytes:
            with shaken(port) as tls:
                tls.sendall(encode_request(request))
                return read_message(tls)

        assert (await in_thread(ask, tvs.port))[10:14] == b"\7\0\1\1"
        event = await tvs.event("tvs.answer")
    assert event["reason"].startswith("not in any store; serial known, but issued by CN=ucm11pub")
    assert event["device"].endswith("… (10005 characters)")
    assert event["unknown_elements"] == [{"tag": 99, "length": 0}] * 16
    assert event["more_unknown_elements"] == 4_000 - 16
    assert len(json.dumps(event)) < 5_000


def test_of_what_strangers_ask_no_name_is_kept(certificates) -> None:
    entry = held(certificates["trusted"])
    snapshot = Snapshot([entry])
    before = _stored_names.cache_info().currsize
    for number in range(100):
        assert snapshot.issued(f"CN=stranger {number}", entry.serial) == []
    assert _stored_names.cache_info().currsize <= before + 1
    spaces = " " * 10_000
    assert snapshot.issued(entry.issuer.replace(";", f";{spaces}"), entry.serial) == []


def test_a_certificate_that_no_answer_can_hold_is_verified_and_not_queried(rsa_keys) -> None:
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.9.1"), b"x" * 65_000)
    key = rsa_keys(3)
    builder = x509.CertificateBuilder().subject_name(name_of("huge")).issuer_name(name_of("huge"))
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(NOW).not_valid_after(NOW.replace(year=NOW.year + 1))
    made = Made(builder.add_extension(extension, critical=False).sign(key, hashes.SHA256()), key)
    snapshot = Snapshot([held(made)])
    asked = answer(query_for(made), snapshot, AnswerPolicy(), NOW)
    assert asked.response.status == 1
    assert asked.reason.endswith(f"its {len(made.der)} octets do not fit into an answer")
    assert answer(verify_for(made), snapshot, AnswerPolicy(), NOW).response.status == 0


def test_a_stranger_s_certificate_of_many_names_is_not_read(rsa_keys) -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")] * 1_000)
    key = rsa_keys(3)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name_of("x"))
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(NOW).not_valid_after(NOW.replace(year=NOW.year + 1))
    made = Made(builder.sign(key, hashes.SHA256()), key)
    request = verify_for(made)
    found = answer(request, Snapshot(), AnswerPolicy(ca="chain"), NOW)
    assert found.response.status == 1
    assert found.reason.endswith(f"{len(made.der)} octets, of which at most 8192 are read")
    event = answer_event(request, found, peer="", milliseconds=0, facts={})
    assert event["certificate"]["sha256"] == sha256(made.der).hexdigest()
    known = Snapshot([held(made)])
    found = answer(request, known, AnswerPolicy(), NOW)
    event = answer_event(request, found, peer="", milliseconds=0, facts={})
    assert (found.response.status, event["certificate"]["issuer"]) == (0, "CN=x;O=Lab;C=AU")


async def test_a_client_s_odd_certificate_is_logged_by_its_fingerprint(serve, odd, certificates):
    identity = certificates["identity"]
    asks = server_context([((identity.der,), identity.key)], request_client_certificate=True)

    def ask(port: int, der: bytes) -> bytes:
        context = with_certificate(client_context("modern"), odd)
        with shaken(port, context=context) as tls:
            tls.send(encode_request(Request(1, b"sess", certificate=der)))
            return read_message(tls)

    async with serve(context=asks) as tvs:
        assert (await in_thread(ask, tvs.port, tvs.trusted.der))[10:14] == b"\7\0\1\0"
        event = await tvs.event("tvs.answer")
    assert event["client_certificate"]["sha256"] == sha256(odd[0]).hexdigest()


async def test_a_server_s_odd_certificate_is_shown_as_it_is(serve, odd, tmp_path, capsys) -> None:
    context = with_certificate(SSL.Context(SSL.TLS_SERVER_METHOD), odd)
    async with serve(context=context) as tvs:
        reply = await verify("127.0.0.1", tvs.port, certificate=tvs.trusted.der)
        assert reply.server_certificate == odd[0]
        (tmp_path / "trusted.pem").write_bytes(tvs.trusted.pem)
        words = ["tvs", "verify", f"127.0.0.1:{tvs.port}", str(tmp_path / "trusted.pem")]
        assert await in_thread(run, words) == 0
    assert "4 is not a valid X509 version" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("shown", "wrong"),
    [
        ("trusted", None),
        ("unknown", "the answer's certificate is another one: CN=elsewhere.lab;O=Lab;C=AU"),
        (b"\x30\x82junk\x1b[31m", "the answer's certificate: not a certificate"),
        (None, "the answer says trusted and holds no certificate"),
    ],
)
async def test_a_lying_tvs_is_found_out(
    serve, certificates, capsys, shown: object, wrong: str | None
) -> None:
    der = certificates[shown].der if isinstance(shown, str) else shown

    def lie(request: Request, _octets: bytes) -> Reply:
        return Reply(encode_response(Response(4, request.session, 0, der, (0, 3), 60)))

    asked = describe(certificates["trusted"].der)
    names = ["--issuer", asked.issuer, "--serial", asked.serial.hex()]
    async with serve(reply_policy=lie) as tvs:
        words = ["tvs", "query", f"127.0.0.1:{tvs.port}", *names]
        code = 0 if wrong is None else 3
        assert await in_thread(run, words) == code
        said = capsys.readouterr()
        assert await in_thread(run, [*words, "--json"]) == code
    found = json.loads(capsys.readouterr().out)["wrong"]
    if wrong is None:
        assert (found, said.err) == (None, "")
    else:
        assert found.startswith(wrong)
        assert wrong in " ".join(said.err.split())
        assert "\x1b" not in said.err + said.out
