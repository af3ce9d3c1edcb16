"""What the settings make of the TVS of a daemon."""

import json
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from itl.certificates import describe, load_certificates
from tests.daemons import Daemon, new_node, serving, trustlab


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_node(tmp_path_factory.mktemp("template") / "node")


@pytest.fixture
def node(template: Path, tmp_path: Path) -> Path:
    """A node of its own for each test; making keys anew would only take time."""
    return Path(shutil.copytree(template, tmp_path / "node"))


def s_client(openssl: str, port: int, options: str) -> str:
    run = [openssl, "s_client", "-brief", "-connect", f"127.0.0.1:{port}", *options.split()]
    shown = subprocess.run(
        run, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False
    )
    return shown.stdout + shown.stderr


def configured(state: Path, text: str) -> Path:
    path = state / "trustlab.toml"
    path.write_text(path.read_text() + text)
    return state


def verify(daemon: Daemon, certificate: Path) -> dict[str, object]:
    where = f"127.0.0.1:{daemon.tvs[1]}"
    return json.loads(trustlab("tvs", "verify", where, certificate, "--json").stdout)


def test_an_ec_identity_gets_a_record_of_its_own(
    node: Path, tmp_path: Path, program: Callable[[str], str]
) -> None:
    openssl = program("openssl")
    state = node
    new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=tvs-ec -days 99"
    files = ["-keyout", "ec.key", "-out", "ec.crt"]
    subprocess.run([openssl, *new.split(), *files], cwd=state, check=True, capture_output=True)
    (state / "ec.pem").write_bytes(
        (state / "ec.key").read_bytes() + (state / "ec.crt").read_bytes()
    )
    configured(state, '\n[tvs]\nec_identity = "ec.pem"\n')
    ec = load_certificates((state / "ec.crt").read_bytes())[0]
    with serving(state) as daemon:
        for cipher, name in (("ECDSA", "tvs-ec"), ("RSA", "pub")):
            options = f"-tls1_2 -cipher ECDHE-{cipher}-AES128-GCM-SHA256"
            assert f"CN = {name}" in s_client(openssl, daemon.tvs[1], options)
        listed = tmp_path / "ITLFile.tlv"
        where = f"127.0.0.1:{daemon.tftp[1]}"
        got = trustlab("tftp", "get", where, "ITLFile.tlv", listed)
        assert got.returncode == 0, got.stderr
        answer = verify(daemon, state / "ec.crt")
    shown = json.loads(trustlab("itl", "show", listed, "--json").stdout)
    of_tvs = [
        record["certificate"]["sha256"]
        for record in shown["records"]
        if record["role"]["name"] == "TVS"
    ]
    assert len(of_tvs) == 2
    assert describe(ec).sha256 in of_tvs
    assert answer["roles"] == [{"code": 21, "name": "TVS"}]


def test_a_second_port_with_the_legacy_profile_and_loud_words(
    node: Path, program: Callable[[str], str]
) -> None:
    openssl = program("openssl")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    state = configured(node, f"\n[tvs]\nlegacy_port = {free}\n")
    old = "-tls1 -cipher AES128-SHA:@SECLEVEL=0"
    with serving(state) as daemon:
        assert "CONNECTION ESTABLISHED" in s_client(openssl, free, old)
        assert "CONNECTION ESTABLISHED" not in s_client(openssl, daemon.tvs[1], old)
        loud = [event for event in daemon.events() if event["event"] == "tvs.legacy_tls"]
    assert len(loud) == 1
    assert f"port {free} takes TLS 1.0" in loud[0]["reason"]


def test_answers_as_the_settings_say(node: Path) -> None:
    state = configured(
        node,
        '\n[tvs.answers]\nttl_seconds = 60\n[tvs.answers.roles]\nCAPF = ["SAST", "9"]\n',
    )
    with serving(state) as daemon:
        answer = verify(daemon, state / "identities" / "CAPF.pem")
    assert answer["ttl"] == 60
    assert answer["roles"] == [{"code": 0, "name": "SAST"}, {"code": 9, "name": "role 9"}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[tvs.answers.roles]\nCAPF = ["NOBODY"]\n', "tvs.answers.roles.CAPF"),
        ('[tvs]\nec_identity = "missing.pem"\n', "missing.pem"),
        ('[tvs]\nprofile = "ancient"\n', "tvs.profile"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_the_start(
    node: Path, text: str, words: str
) -> None:
    state = configured(node, f"\n{text}")
    refused = trustlab("serve", "--tvs-port", "0", "--tftp-port", "0", state=state)
    assert refused.returncode == 2
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_expiring_identity_starts_with_a_warning(
    node: Path, program: Callable[[str], str]
) -> None:
    new = "req -x509 -newkey rsa:2048 -nodes -subj /CN=soon -days 3"
    run = [program("openssl"), *new.split(), "-keyout", "soon.key", "-out", "soon.crt"]
    subprocess.run(run, cwd=node, check=True, capture_output=True)
    both = [(node / name).read_bytes() for name in ("soon.key", "soon.crt")]
    (node / "identities" / "TVS.pem").write_bytes(b"".join(both))
    with serving(node) as daemon:
        warned = [event for event in daemon.events() if event["event"] == "identity.expiry"]
    assert len(warned) == 1
    assert "TVS: the certificate CN=soon expires on" in warned[0]["reason"]
