"""Both TLS profiles against `openssl s_client`, version by version and cipher family by family."""

import subprocess
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from tests.tvs.certificates import make
from tvs.client import verify
from tvs.tls import TlsError, server_context

BOTH, LEGACY, NEITHER = ("modern", "legacy"), ("legacy",), ()
CASES = [
    # version, cipher, further options, profiles that take it
    ("tls1", "AES128-SHA", "", LEGACY),
    ("tls1", "AES256-SHA", "", LEGACY),
    ("tls1", "ECDHE-RSA-AES128-SHA", "", LEGACY),
    ("tls1_1", "AES128-SHA", "", LEGACY),
    ("tls1_1", "ECDHE-RSA-AES256-SHA", "", LEGACY),
    ("tls1_2", "AES128-SHA", "", LEGACY),
    ("tls1_2", "AES256-SHA256", "", LEGACY),
    ("tls1_2", "AES128-GCM-SHA256", "", LEGACY),
    ("tls1_2", "ECDHE-RSA-AES256-SHA", "", LEGACY),
    ("tls1_2", "ECDHE-RSA-AES128-SHA256", "", LEGACY),
    ("tls1_2", "ECDHE-RSA-AES128-GCM-SHA256", "-sigalgs RSA+SHA1", LEGACY),
    ("tls1_2", "ECDHE-RSA-AES128-GCM-SHA256", "", BOTH),
    ("tls1_2", "ECDHE-RSA-AES256-GCM-SHA384", "", BOTH),
    ("tls1_2", "ECDHE-RSA-CHACHA20-POLY1305", "", BOTH),
    ("tls1_3", "TLS_AES_128_GCM_SHA256", "", BOTH),
    ("tls1_3", "TLS_AES_256_GCM_SHA384", "", BOTH),
    ("tls1_3", "TLS_CHACHA20_POLY1305_SHA256", "", BOTH),
    ("tls1_2", "NULL-SHA", "", NEITHER),
    ("tls1_2", "ADH-AES128-SHA", "", NEITHER),
    ("tls1_2", "DHE-RSA-AES128-SHA", "", NEITHER),
]
CANNOT_PLAY = ("no protocols available", "no ciphers available", "Error with command", "no cipher")


@pytest.fixture
def s_client(program):
    """What s_client prints with given options; fails where this machine cannot play them."""
    openssl = program("openssl")

    async def play(port: int, options: str, *, typed: bytes = b"", seconds: float = 0) -> str:
        def run() -> str:
            command = [openssl, "s_client", "-connect", f"127.0.0.1:{port}", *options.split()]
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as process:
                try:
                    return process.communicate(typed or None, timeout=seconds or 10)[0].decode()
                except subprocess.TimeoutExpired:
                    process.kill()
                    return process.communicate()[0].decode()

        output = await trio.to_thread.run_sync(run)
        for words in CANNOT_PLAY:
            if words in output:
                pytest.fail(f"this machine's openssl cannot play {options}: {output[-300:]}")
        return output

    return play


def context_for(certificates, profile: str):
    identity = certificates["identity"]
    return server_context([((identity.der,), identity.key)], profile=profile)


@pytest.mark.parametrize("profile", BOTH)
async def test_versions_and_ciphers_of_a_profile(serve, certificates, s_client, profile) -> None:
    taken = {}
    async with serve(context=context_for(certificates, profile)) as tvs:
        for version, cipher, more, _ in CASES:
            option = "-ciphersuites" if version == "tls1_3" else "-cipher"
            level = "" if version == "tls1_3" else ":@SECLEVEL=0"
            output = await s_client(tvs.port, f"-brief -{version} {option} {cipher}{level} {more}")
            established = "CONNECTION ESTABLISHED" in output and f"Ciphersuite: {cipher}" in output
            taken[version, cipher, more] = established
    expected = {
        (version, cipher, more): profile in takers for version, cipher, more, takers in CASES
    }
    assert taken == expected


async def test_the_server_chooses_forward_secrecy(serve, certificates, s_client) -> None:
    offered = "AES128-SHA:ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES256-GCM-SHA384:@SECLEVEL=0"
    async with serve(context=context_for(certificates, "legacy")) as tvs:
        output = await s_client(tvs.port, f"-brief -tls1_2 -cipher {offered}")
    assert "Ciphersuite: ECDHE-RSA-AES256-GCM-SHA384" in output


async def test_an_old_key_and_signature_serve_in_legacy_only(
    serve, s_client, program, tmp_path: Path
) -> None:
    command = "req -x509 -newkey rsa:1024 -sha1 -nodes -subj /CN=old -days 9"
    files = ["-keyout", tmp_path / "key.pem", "-out", tmp_path / "certificate.pem"]
    run = [program("openssl"), *command.split(), *files]
    await trio.run_process(run, capture_stderr=True)
    key = load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    certificate = x509.load_pem_x509_certificate((tmp_path / "certificate.pem").read_bytes())
    pair = ((certificate.public_bytes(Encoding.DER),), key)
    with pytest.raises(TlsError, match=r"key too small \(the legacy profile takes it\)"):
        server_context([pair])
    async with serve(context=server_context([pair], profile="legacy")) as tvs:
        output = await s_client(tvs.port, "-brief -tls1 -cipher AES128-SHA:@SECLEVEL=0")
    assert "CONNECTION ESTABLISHED" in output


async def test_an_ec_identity_beside_the_rsa_one(serve, certificates, s_client) -> None:
    identity, curve = certificates["identity"], ec.generate_private_key(ec.SECP256R1())
    pairs = [((identity.der,), identity.key), ((make("tvs-ec.lab", curve).der,), curve)]
    async with serve(context=server_context(pairs, profile="legacy")) as tvs:
        new = await s_client(tvs.port, "-brief -tls1_2 -cipher ALL")
        old = await s_client(tvs.port, "-brief -tls1 -cipher AES128-SHA:@SECLEVEL=0")
    assert "Ciphersuite: ECDHE-ECDSA-AES128-GCM-SHA256" in new
    assert "CN = tvs-ec.lab" in new
    assert "CN = tvs.lab" in old


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
async def test_no_session_is_resumed(serve, s_client, tmp_path: Path, version: str) -> None:
    kept = tmp_path / "session.pem"
    async with serve() as tvs:
        first = await s_client(tvs.port, f"-{version} -sess_out {kept}", seconds=1)
        if kept.exists():  # TLS 1.3: OpenSSL sends tickets, and they are good for nothing
            first = await s_client(tvs.port, f"-{version} -sess_in {kept}", seconds=1)
    assert "New, TLSv1." in first
    assert "Reused, " not in first
    if version == "tls1_2":
        assert "TLS session ticket:" not in first


async def test_a_renegotiation_is_refused_and_harms_nobody(serve, s_client) -> None:
    async with serve() as tvs:
        output = await s_client(tvs.port, "-tls1_2", typed=b"R\n", seconds=5)
        assert "RENEGOTIATING" in output
        assert "no renegotiation" in output
        assert (await verify("127.0.0.1", tvs.port, certificate=tvs.trusted.der)).status == 0


async def test_an_old_client_against_modern_is_told_by_an_alert(serve, s_client) -> None:
    async with serve() as tvs:
        output = await s_client(tvs.port, "-brief -tls1 -cipher AES128-SHA:@SECLEVEL=0")
        assert "alert protocol version" in output
        event = await tvs.event("tvs.connection")
    assert (event["outcome"], event["reason"]) == ("handshake failed", "unsupported protocol")
