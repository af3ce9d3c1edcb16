"""Every setting is documented, has one reader of its type, and contradicts no other unnoticed."""

import os
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from conf.settings import Section, Settings, SettingsError, default_text, load_settings
from lab.cli.main import run
from tests.daemons import trustlab

NODE = '[node]\ncluster = "a"\nhost = "pub"\naddress = "127.0.0.1"\n'
# Tables whose keys are names of the reader's own: certificate types, devices.
FREE = {"tvs.answers.roles", "tvs.answers.devices", "bundles.stores"}


def keys(section: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, object]]:
    for field in msgspec.structs.fields(section):
        key = f"{prefix}{field.encode_name}"
        if isinstance(field.type, type) and issubclass(field.type, Section):
            yield from keys(field.type, f"{key}.")
        else:
            yield key, field.type


def documented() -> dict[str, str]:
    """Each key of the annotated defaults, and what is written above it in its paragraph."""
    found, section, words = {}, "", ""
    for line in default_text().splitlines():
        header = re.fullmatch(r"\[([a-z_.]+)\]", line)
        given = re.match(r"([A-Za-z_-]+) = ", line)
        if header:
            section, words = header[1], ""
            found[section] = ""
        elif line.startswith("#"):
            words += line[1:]
            if found.get(section) == "":
                found[section] = words
        elif given:
            found[f"{section}.{given[1]}"] = words
        elif not line:
            words = ""
    return found


def test_every_setting_is_in_the_defaults_and_explained() -> None:
    words = documented()
    for key, _ in keys(Settings):
        assert len(words.get(key, "")) > 15, f"{key} is not explained"


def test_a_number_has_its_unit_in_its_name_or_its_words() -> None:
    units = (
        r"second|minute|octet|port|in all|connections|handshakes|processes|lines|"
        r"files|transfers|blocks|block number"
    )
    words = documented()
    for key, kind in keys(Settings):
        if re.search(r"\b(int|float)\b", str(kind)) or kind in {int, float}:
            assert re.search(units, key + words[key].lower()), key


def test_the_defaults_hold_no_key_that_nobody_reads() -> None:
    known = {key for key, _ in keys(Settings)}

    def walk(table: dict[str, object], prefix: str) -> Iterator[str]:
        for name, value in table.items():
            key = f"{prefix}{name}"
            if isinstance(value, dict) and key not in known | FREE:
                yield from walk(value, f"{key}.")
            else:
                yield key

    assert set(walk(tomllib.loads(default_text()), "")) <= known | FREE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tvs]\nlegacy_port = 2445\n", r"line 6: tvs\.legacy_port: 2445 is tvs\.port already"),
        (
            "[metrics]\nenabled = true\nport = 2445\n",
            r"line 7: metrics\.port: 2445 is tvs\.port already",
        ),
        ("[http]\nenabled = true\nport = 2445\n", r"line 7: http\.port: 2445 is tvs\.port already"),
        ("[tftp]\nserve_uploads = true\n", r"line 6: tftp\.serve_uploads: there are no uploads"),
        (
            '[phones.loads]\n001122334455 = "sip88xx.12-8-1"\n',
            r"phones\.loads: 001122334455 gets no configuration",
        ),
    ],
)
def test_contradictions_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "trustlab.toml").write_text(NODE + text)
    with pytest.raises(SettingsError, match=message):
        load_settings(tmp_path, environment={})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tvs]\nport = 1\nport = 2\n", r"trustlab\.toml: .*line 7"),
        (f"[tvs]\nport = {'9' * 5000}\n", r"trustlab\.toml: "),
        ("[tftp]\ncache_bytes = 9999999999999\n", r"line 6: tftp\.cache_bytes: Expected `int` <="),
        ("[tvs]\nidle_seconds = nan\n", r"line 6: tvs\.idle_seconds: Expected `float` >="),
        ("[tvs]\nidle_seconds = inf\n", r"line 6: tvs\.idle_seconds: Expected `float` <="),
        ("[tvs]\nworkers = true\n", r"line 6: tvs\.workers: Expected `int`, got `bool`"),
        ("[[tvs]]\nport = 1\n", r"line 5: tvs: Expected `object`, got `array`"),
        ('["tvs"]\n"prot" = 1\n', r"line 6: tvs\.prot: unknown key"),
        ("[ tvs . answers ]\nttl_seconds = 'x'\n", r"line 6: tvs\.answers\.ttl_seconds: Expected"),
        ("[tvs]\nanswers.ttl = 3\n", r"line 6: tvs\.answers\.ttl: unknown key"),
        ("[tvs.answers.devices]\nSEP1 = { refuze = true }\n", r"line 6: .*refuze: unknown key"),
        ("[phones.models]\nzz = '8861'\n", r"line 6: phones\.models: Expected `str` matching"),
        ("[[lists.offers]]\nmodls = ['x']\n", r"line 5: lists\.offers\[0\]\.modls: unknown key"),
        ("[serve]\naddress = 'here'\n", r"line 6: serve\.address: 'here' is no IPv4 or IPv6"),
        ("[phones]\ntemplate = '\xe9'\n", r"line 6: this is not UTF-8"),
        (f"x = {'[' * 5000}{']' * 5000}\n", "too many brackets"),
    ],
)
def test_a_hostile_file_is_an_error_that_says_where(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "trustlab.toml").write_bytes((NODE + text).encode("latin-1"))
    with pytest.raises(SettingsError, match=message):
        load_settings(tmp_path, environment={})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TVS", "1", "tvs: Expected `object`, got `int`"),
        ("TVS__PORT", "", r"tvs\.port: Expected `int`, got `str`"),
        ("TVS__PORT", "[" * 5000, "too many brackets"),
        ("TVS__PORT__X", "1", r"tvs\.port: Expected `int`, got `object`"),
        ("TVS__ANSWERS", "{ttl_seconds = -5}", r"tvs\.answers\.ttl_seconds: Expected `int` >= 0"),
        ("TVS__PROFILE", "\udcff", "holds what is no printable text"),
        ("METRICS__ENABLED", "yes", r"metrics\.enabled: Expected `bool`, got `str`"),
    ],
)
def test_a_hostile_variable_is_named(tmp_path: Path, name: str, value: str, message: str) -> None:
    (tmp_path / "trustlab.toml").write_text(NODE)
    with pytest.raises(SettingsError, match=f"environment variable TRUSTLAB_SET_{name}: {message}"):
        load_settings(tmp_path, environment={f"TRUSTLAB_SET_{name}": value})


def test_what_editors_and_shells_do_is_understood(tmp_path: Path) -> None:
    (tmp_path / "trustlab.toml").write_bytes(b"\xef\xbb\xbf" + NODE.replace("\n", "\r\n").encode())
    environment = {
        "TRUSTLAB_SET_TVS__ANSWERS__ROLES__CALLMANAGER": '["TFTP"]',
        "TRUSTLAB_SET_HTTP": "{enabled = true}",
    }
    loaded = load_settings(tmp_path, environment=environment)
    assert loaded.tvs.answers.roles["CallManager"] == ("TFTP",)
    assert (loaded.http.enabled, loaded.http.port) == (True, 6970)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[tvs.answers.roles]\nX = ["NOSUCH"]\n',
            r"trustlab\.toml, line \d+: tvs\.answers\.roles\.X",
        ),
        ("[tftp]\nrules = [['(', 'x']]\n", "rule"),
        ("[tvs]\nec_identity = 'none.pem'\n", r"none\.pem"),
        (
            "[tvs]\nec_identity = 'identities/CAPF.pem'\n",
            r"line \d+: tvs\.ec_identity: .*CAPF\.pem holds an RSA key, not an EC one",
        ),
        ("[bundles.stores]\nX = []\n", "bundles.stores: no type 'X' is exchanged"),
        ("[http]\ntls_enabled = true\necdsa = true\n", "http.ecdsa: the node has no identity"),
    ],
)
def test_check_finds_what_a_daemon_would_stumble_over(
    node: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    with (node / "trustlab.toml").open("a") as file:
        file.write(text)
    assert run(["--state", str(node), "config", "check"]) == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("text", ["[tftp]\nuploads = true\n", "[tftp]\nrules = [['(', 'x']]\n"])
def test_check_and_a_daemon_say_the_same(
    node: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (node / "uploads").touch()
    with (node / "trustlab.toml").open("a") as file:
        file.write(text)
    assert run(["--state", str(node), "config", "check"]) == 2
    said = capsys.readouterr().err
    assert re.search(r"uploads: is no folder|trustlab\.toml: rule '\('", said)
    started = trustlab("serve", "--tvs-port", "0", "--tftp-port", "0", state=node)
    assert (started.returncode, started.stderr) == (2, said)


@pytest.mark.parametrize(
    "command", ["config check", "preflight --source state={0} --destination state={0}"]
)
def test_who_only_looks_at_a_node_writes_nothing(
    node: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("TRUSTLAB_SET_TFTP", "{uploads = true, serve_uploads = true}")

    def held() -> dict[Path, bytes]:
        return {path: path.is_file() and path.read_bytes() for path in node.rglob("*")}

    before = held()
    assert run(["--state", str(node), *command.format(node).split()]) == 0
    assert held() == before


def test_preflight_says_where_there_is_no_node_or_no_store(
    node: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for missing in (tmp_path / "none", node):
        (node / "store.sqlite3").unlink(missing_ok=True)
        source = f"state={missing}"
        assert run(["preflight", "--source", source, "--destination", source]) == 2
        name = "store.sqlite3" if missing == node else "trustlab.toml"
        assert f"{missing}/{name}: no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    [
        "trustlab.toml",
        "cluster/pub.json",
        "identities/ITLRecovery.pem",
        "identities/CallManager.next.pem",
        "lists/ITLFile.tlv",
        "lists/other.tlv",
        "phones/001122334455.pem",
        "own.j2",
    ],
)
def test_a_pipe_in_the_place_of_a_file_is_told_and_not_waited_for(
    node: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    if name == "lists/other.tlv":
        monkeypatch.setenv("TRUSTLAB_SET_LISTS__OFFERS", '[{itl = "other.tlv"}]')
    if name == "own.j2":
        monkeypatch.setenv("TRUSTLAB_SET_PHONES__TEMPLATE", "own.j2")
    (node / name).parent.mkdir(exist_ok=True)
    (node / name).unlink(missing_ok=True)
    os.mkfifo(node / name)
    assert run(["--state", str(node), "config", "check"]) == 2
    assert re.search(rf"{Path(name).name}.* is no regular file", capsys.readouterr().err)


def test_check_finds_an_identity_that_tls_will_not_take(
    node: Path, program: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = "req -x509 -newkey rsa:1024 -nodes -subj /CN=small -days 9 -keyout k -out c"
    subprocess.run([program("openssl"), *command.split()], cwd=node, check=True)
    pem = (node / "k").read_bytes() + (node / "c").read_bytes()
    (node / "identities" / "TVS.pem").write_bytes(pem)
    assert run(["--state", str(node), "config", "check"]) == 2
    assert "the certificate of CN=small cannot serve TLS" in capsys.readouterr().err


def test_check_blames_the_file_that_is_at_fault(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (node / "tftp").rmdir()
    assert run(["--state", str(node), "config", "check"]) == 2
    said = capsys.readouterr().err
    assert f"{node}/tftp: No such file" in said
    assert "trustlab.toml" not in said


def test_check_tells_where_each_value_came_from(
    node: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with (node / "trustlab.toml").open("a") as file:
        file.write("[tvs.answers.devices]\nSEP001122334455 = { refuse = true }\n")
    monkeypatch.setenv("TRUSTLAB_SET_TFTP__PORT", "6969")
    assert run(["--state", str(node), "config", "check"]) == 0
    shown = capsys.readouterr().out
    assert "tftp.port = 6969  # environment variable TRUSTLAB_SET_TFTP__PORT" in shown
    assert re.search(r"devices\.SEP001122334455\.refuse = true  # .*trustlab.toml, line \d+", shown)
    assert "tvs.port = 2445  # the defaults" in shown
    assert {line.split(" = ")[0] for line in shown.splitlines()} >= {
        key for key, _ in keys(Settings) if key not in FREE | {"phones.models", "phones.loads"}
    }


def test_ports_the_kernel_chooses_never_meet(tmp_path: Path) -> None:
    (tmp_path / "trustlab.toml").write_text(NODE)
    zero = {"tvs.port": 0, "tvs.legacy_port": 0, "http.port": 0, "http.enabled": True}
    assert load_settings(tmp_path, zero, environment={}).http.port == 0
