"""The documents: their sessions are what the program prints, their links lead somewhere."""

import ast
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).parents[2]
MADE_WHEN_BUILT = {"reference/command-line", "reference/settings"}
WRITTEN = [
    page
    for page in sorted((PROJECT / "docs").rglob("*.md"))
    if str(page.relative_to(PROJECT / "docs"))[:-3] not in MADE_WHEN_BUILT
]
PAGES = [PROJECT / "README.md", PROJECT / "SECURITY.md", *WRITTEN]
DHCP = (PROJECT / "docs" / "how-to" / "dhcp.md").read_text(encoding="utf-8")


def load(name: str) -> ModuleType:
    """A program beside the documents; they are no package."""
    spec = importlib.util.spec_from_file_location(name, PROJECT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SESSIONS = load("sessions")


@pytest.mark.parametrize("page", SESSIONS.pages(), ids=lambda page: page.stem)
def test_a_session_is_what_the_program_prints(page: Path) -> None:
    assert SESSIONS.play(page, write=False) >= 5


def test_a_block_that_looks_like_a_session_is_played() -> None:
    """README.md has one more, which the test of the demo compares."""
    for page in PAGES:
        blocks = re.findall(r"(?ms)^```console\n(.*?)^```$", page.read_text(encoding="utf-8"))
        assert page in SESSIONS.pages() or [block.splitlines()[0] for block in blocks] in (
            [],
            ["$ make demo"],
        )


def test_a_session_that_changed_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ echo 17 apples\n12 apples\n```\n")
    assert SESSIONS.play(page, write=False) == 1  # numbers differ from run to run
    page.write_text("```console\n$ echo 17 pears; exit 3\n12 apples\n```\n")
    with pytest.raises(SESSIONS.SessionError, match="pears"):
        SESSIONS.play(page, write=False)
    SESSIONS.play(page, write=True)
    assert page.read_text().endswith("17 pears\n(exit code 3)\n```\n")


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"(?m)^#+ (.+)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_every_page_has_its_place_in_the_contents() -> None:
    index = (PROJECT / "docs" / "index.md").read_text(encoding="utf-8")
    named = {
        line
        for block in re.findall(r"(?ms)^```\{toctree\}\n(.*?)^```$", index)
        for line in block.splitlines()
        if line and not line.startswith(":")
    }
    written = {str(page.relative_to(PROJECT / "docs"))[:-3] for page in WRITTEN}
    assert named == (written - {"index"}) | MADE_WHEN_BUILT


def test_the_man_pages_are_those_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["trustlab"])  # else the test runner's name stands in usages
    for name, text in load("manpages").pages().items():
        kept = (PROJECT / "docs" / "man" / name).read_text(encoding="utf-8")
        assert kept == text, "`make man` brings it up to date"
        macros = set(re.findall(r"(?m)^\.([A-Za-z]+)", text))
        assert macros <= {"TH", "SH", "SS", "PP", "TP", "nf", "fi"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_that_are_named_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:tests|docs|systemd|contrib|requirements)/[\w./-]+\.\w+)`",
        page.read_text(encoding="utf-8"),
    )
    for name in named:
        assert (PROJECT / name).exists(), f"{page.name}: {name}"


def reported(path: Path) -> Iterator[str]:
    """Names of the events that a module reports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        found: list[ast.expr | None] = []
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            found = [value for key, value in pairs if key and ast.unparse(key) == "'event'"]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"self._say", "asked.event"}:
            found = [node.args[0]]
        for name in found:
            if isinstance(name, ast.Constant) and name.value:
                yield str(name.value)
            elif isinstance(name, ast.JoinedStr):
                what = ast.unparse(name).strip("f'").partition("scheme}")[2]
                yield from (f"http{what}", f"https{what}")


def test_every_event_stands_in_the_reference() -> None:
    rooms = [PROJECT / room for room in ("conf", "tvs", "tftp", "lab")]
    told = {name for room in rooms for path in room.rglob("*.py") for name in reported(path)}
    page = (PROJECT / "docs" / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    table = page.partition("| event | tells |")[2]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    assert {name for row in rows for name in re.findall("`([^`]+)`", row)} == told


def example(kind: str) -> str:
    blocks = dict(re.findall(r"(?ms)^## ([^\n]+)\n\n```\w+\n(.*?)^```$", DHCP))
    return blocks[kind]


def test_dnsmasq_takes_the_dhcp_example(program: Callable[[str], str], tmp_path: Path) -> None:
    path = tmp_path / "dnsmasq.conf"
    path.write_text(example("dnsmasq"))
    checked = subprocess.run(
        [program("dnsmasq"), "--test", f"--conf-file={path}"],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert "syntax check OK" in checked.stderr, checked.stderr


def test_the_other_dhcp_examples_name_option_150() -> None:
    kea = json.loads(example("Kea"))["Dhcp4"]
    assert kea["option-def"][0]["code"] == 150
    assert kea["subnet4"][0]["option-data"][1]["name"] == kea["option-def"][0]["name"]
    assert "code 150 = array of ip-address" in example("ISC dhcpd")
    assert "option 150 ip" in example("Cisco IOS")
