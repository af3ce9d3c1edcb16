"""What a shell may hand to any command: odd host names, numbers, file names, closed streams."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from lab.cli.main import guarded
from tests.daemons import PROGRAM, new_node, trustlab

NOT_UTF8 = os.fsdecode(b"q\xff")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_node(tmp_path_factory.mktemp("commands") / "node")


@pytest.mark.parametrize("host", ["a..b", "a" * 64])
@pytest.mark.parametrize(
    "command",
    [
        ("tftp", "get", "{host}", "name"),
        ("tvs", "verify", "{host}", "{state}/identities/TVS.pem"),
        ("phone", "boot", "--phone-dir", "phone", "--json", "--tftp", "{host}"),
        ("preflight", "--json", "--source", "tftp={host}", "--destination", "tftp={host}"),
    ],
    ids=["tftp", "tvs", "phone", "preflight"],
)
def test_what_is_no_host_name_cannot_be_reached(
    state: Path, tmp_path: Path, command: tuple[str, ...], host: str
) -> None:
    words = (word.format(host=host, state=state) for word in command)
    done = trustlab(*words, cwd=tmp_path)
    assert done.returncode == 3
    assert "cannot be reached: not a host name" in done.stdout + done.stderr


@pytest.mark.parametrize("number", ["nan", "0", "-1"])
@pytest.mark.parametrize(
    "command",
    [
        ("tftp", "get", "127.0.0.1:1", "name", "--timeout-seconds"),
        ("tvs", "query", "127.0.0.1:1", "--issuer=x", "--serial=01", "--timeout-seconds"),
        ("phone", "boot", "--phone-dir=phone", "--tftp=127.0.0.1:1", "--timeout-seconds"),
        ("phone", "boot", "--phone-dir=phone", "--tftp=127.0.0.1:1", "--count=2", "--rate"),
        ("preflight", "--source=tftp=x", "--destination=tftp=x", "--timeout-seconds"),
        ("conformance", "tvs", "127.0.0.1:1", "--patience-seconds"),
    ],
    ids=["tftp", "tvs", "phone", "rate", "preflight", "conformance"],
)
def test_a_number_that_must_be_above_zero(
    tmp_path: Path, command: tuple[str, ...], number: str
) -> None:
    done = trustlab(*command[:-1], f"{command[-1]}={number}", cwd=tmp_path)
    assert done.returncode == 2
    assert "Must be > 0." in done.stderr


@pytest.mark.parametrize(
    ("command", "code", "key", "value"),
    [
        (("--state", NOT_UTF8, "status"), 1, "why", r"no daemon runs on q\xff"),
        (("conformance", "list", f"folder/{NOT_UTF8}"), 1, "target", r"folder/q\xff"),
    ],
    ids=["status", "conformance"],
)
def test_json_has_octets_that_are_no_utf_8_escaped(
    tmp_path: Path, command: tuple[str, ...], code: int, key: str, value: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / NOT_UTF8).write_text("no list")
    done = subprocess.run(
        [*PROGRAM, *command, "--json"], cwd=tmp_path, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == code
    assert json.loads(done.stdout)[key] == value


@pytest.mark.parametrize("stream", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_the_null_device(state: Path, stream: str) -> None:
    code = "import lab.cli.main, os; [os.fstat(number) for number in range(3)]"
    for words in ([*PROGRAM, "--state", str(state), "store", "list"], [PROGRAM[0], "-c", code]):
        shell = ["sh", "-c", f'exec "$@" {stream}', "sh", *words]
        done = subprocess.run(shell, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")


def test_no_columns_are_an_unknown_number(state: Path) -> None:
    words = [*PROGRAM, "--state", str(state), "identity", "list"]
    shown = [
        subprocess.run(words, env=environment, capture_output=True, check=True, timeout=60).stdout
        for environment in (
            {name: value for name, value in os.environ.items() if name != "COLUMNS"},
            os.environ | {"COLUMNS": "0"},
        )
    ]
    assert shown[0] == shown[1] != b""


def test_a_list_that_is_none_is_malformed(tmp_path: Path) -> None:
    (tmp_path / "empty.tlv").touch()
    done = trustlab(
        "preflight", "--source=list=empty.tlv", "--destination=list=empty.tlv", cwd=tmp_path
    )
    assert done.returncode == 3
    assert "empty.tlv: neither a trust list nor a signed file" in done.stderr


@pytest.mark.parametrize(
    ("command", "code"),
    [(("tftp", "get", "a..b", "name"), 3), (("store", "export", "--type=none"), 1)],
    ids=["tftp", "store"],
)
def test_a_dash_is_standard_output_and_no_option(
    state: Path, command: tuple[str, ...], code: int
) -> None:
    assert trustlab(*command, "-", state=state).returncode == code
    wrong = trustlab(*command, "--jsno", state=state)
    assert wrong.returncode == 2
    assert "--jsno" in wrong.stderr


def test_a_name_that_is_not_utf8_is_told_out_of_a_task_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def encode() -> None:
        try:
            "a\udcff".encode()
        except UnicodeEncodeError as error:
            raise ExceptionGroup("of a nursery", [error]) from None

    assert guarded(encode) == 2
    assert capsys.readouterr().err == "trustlab: a\\xff: this text is not UTF-8\n"


def test_a_name_that_is_not_utf8_is_shown_in_one_way_and_never_a_traceback(
    state: Path, tmp_path: Path
) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    certificate = folder / os.fsdecode(b"a\xffb.pem")
    certificate.write_bytes((state / "identities" / "CAPF.pem").read_bytes())
    shown = f"{tmp_path}/\\xff/a\\xffb.pem"
    added = trustlab("store", "add", certificate, "--store", "CAPF-trust", "--json", state=state)
    assert (added.returncode, json.loads(added.stdout)["source"]) == (0, r"added from a\xffb.pem")
    receipt = trustlab("bundle", "receipts", "--json", state=state).stdout
    assert json.loads(receipt)["place"] == shown
    assert r"a\xffb.pem" in trustlab("store", "list", state=state).stdout
    missing = trustlab("store", "verify", f"{certificate}.no", state=state)
    assert (missing.returncode, missing.stderr) == (
        3,
        f"trustlab: {shown}.no: No such file or directory\n",
    )
    nowhere = trustlab("itl", os.fsdecode(b"\xff"))
    assert r'"\xff"' in nowhere.stderr
    init = ("init", "--cluster", "alpha", "--node", "pub", "--address", "127.0.0.1")
    made = trustlab(*init, state=folder / "node")
    assert (made.returncode, made.stderr) == (
        2,
        f"trustlab: {tmp_path}/\\xff/node: this text is not UTF-8\n",
    )
