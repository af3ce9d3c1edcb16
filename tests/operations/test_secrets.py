"""No secret leaves: not in a log, an event, an answer, a metric, or on a command line."""

import base64
import re
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from conf.identity import IDENTITIES, load_tls_identity
from lab.cli.main import app, run
from tests.daemons import PROGRAM

PASSWORD = "correct horse battery staple"
# Options of the command line that have to do with secrets: they name files, or are switches.
FILES_AND_FLAGS = {
    "--host-key",
    "--password-file",
    "--phone-key",
    "--private-keys",
    "--sftp-password-file",
    "--signer-key",
    "--ssh-key",
}


def private_numbers(state: Path) -> set[bytes]:
    """The octets that must not be seen: private exponents and primes of every identity."""
    numbers = set()
    for name in IDENTITIES:
        key = load_tls_identity(state, name).private_key
        if isinstance(key, rsa.RSAPrivateKey):
            parts = key.private_numbers()
            numbers |= {parts.d, parts.p, parts.q}
        elif isinstance(key, ec.EllipticCurvePrivateKey):
            numbers.add(key.private_numbers().private_value)
    return {number.to_bytes((number.bit_length() + 7) // 8, "big") for number in numbers}


def spellings(secret: bytes) -> set[bytes]:
    """Ways in which octets are written; of base64 the part that no neighbour changes."""
    middle = secret[3 : 3 + 30]
    inner = {base64.b64encode(secret[start : start + 30]) for start in range(3, 6)}
    return {middle, middle.hex().encode(), middle.hex().upper().encode(), *inner}


def test_nothing_that_is_written_or_answered_holds_a_key(
    node: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    log = tmp_path / "log"
    seen = b""
    with log.open("wb") as stderr:
        serve = [*PROGRAM, "--state", node, "serve", "--tvs-port", "0", "--tftp-port", "0"]
        environment = {"TRUSTLAB_SET_LOG__LEVEL": "debug", "TRUSTLAB_SET_METRICS__ENABLED": "false"}
        with subprocess.Popen(
            [*serve, "--json"],
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment | {"PATH": "/usr/bin"},
        ) as process:
            assert process.stdout is not None
            seen += process.stdout.readline()
            for words in (
                ("status",),
                ("status", "--json"),
                ("identity", "list", "--json"),
                ("identity", "renew", "CallManager", "--yes"),
                ("identity", "renew", "ITLRecovery", "--yes"),
                ("bundle", "export", tmp_path / "exchange", "--password-file", password),
                ("bundle", "list", tmp_path / "exchange", "--password-file", password),
                ("config", "check"),
                ("store", "list", "--json"),
            ):
                assert run(["--state", str(node), *map(str, words)]) == 0, words
                done = capsys.readouterr()
                seen += (done.out + done.err).encode()
            process.terminate()
            process.wait(10)
    written = [*node.glob("*.json*"), *node.glob("lists/*"), *node.glob("cluster/*"), log]
    seen += b"".join(path.read_bytes() for path in written)
    assert len(seen) > 20_000
    assert b"PRIVATE KEY" not in seen
    assert PASSWORD.encode() not in seen
    for secret in private_numbers(node):
        for spelling in spellings(secret):
            assert spelling not in seen


def test_the_search_finds_a_key_that_is_there(node: Path) -> None:
    pem = (node / "identities" / "TVS.pem").read_bytes()
    body = base64.b64decode(b"".join(re.findall(rb"(?m)^[A-Za-z0-9+/=]{64}$", pem))[:1400])
    assert any(one in body for secret in private_numbers(node) for one in spellings(secret))


def test_no_option_takes_a_secret() -> None:
    options = set(re.findall(r"--[a-z-]+", app.generate_docs(output_format="markdown")))
    secretive = {one for one in options if re.search("password|passphrase|secret|key", one)}

    assert secretive <= FILES_AND_FLAGS
