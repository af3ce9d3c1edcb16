"""The distribution: sdist and wheel hold all that the program needs, and nothing of a node."""

import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests import daemons

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sdist of the project, and the wheel made from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    build("sdist", PROJECT, folder)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = (path for path in folder.iterdir() if path.is_dir())
    build("wheel", source, folder)
    (wheel,) = folder.glob("*.whl")
    return {"sdist": sdist, "wheel": wheel}


def build(target: str, source: Path, folder: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", folder],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert made.returncode == 0, made.stderr


@pytest.fixture(scope="module")
def installed(built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a clean environment that holds the wheel, and what it requires."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    install = [*pip, "install", "--quiet", "--no-deps", "--no-index", str(built["wheel"])]
    subprocess.run(install, check=True, timeout=60)
    # what it requires is lent, and the project's own folder is not: it is no package of that folder
    (site,) = folder.glob("lib/python*/site-packages")
    lender = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "lent.pth").write_text(lender)
    return python


def test_the_program_runs_from_the_wheel_alone(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(daemons, "PROGRAM", [str(installed.with_name("trustlab"))])
    code = "import conf, lab; print(conf.__file__, lab.__file__)"
    shown = subprocess.run([installed, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.count(str(installed.parents[1])) == 2
    state = daemons.new_node(tmp_path / "node")
    with daemons.serving(state) as daemon:
        assert daemons.trustlab("status", state=state).returncode == 0
        where = ("--tftp", f"127.0.0.1:{daemon.tftp[1]}", "--phone-dir", tmp_path / "phone")
        assert daemons.trustlab("phone", "boot", *where, state=state).returncode == 0
    assert "[tvs]" in daemons.trustlab("config", "default").stdout
    script = daemons.trustlab("completion", "bash").stdout
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert "preflight" in script
    share = installed.parents[1] / "share"
    for folder in ("systemd", "contrib"):
        for path in (PROJECT / folder).iterdir():
            assert (share / "trustlab" / folder / path.name).read_bytes() == path.read_bytes()
    for page in (PROJECT / "docs" / "man").iterdir():
        place = share / "man" / f"man{page.suffix[1:]}"
        assert (place / page.name).read_bytes() == page.read_bytes()


def test_nothing_of_a_node_and_no_test_is_in_the_wheel(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built["wheel"]) as wheel:
        names = wheel.namelist()
    roots = {name.split("/")[0] for name in names}
    assert {root for root in roots if not root.startswith("trustlab-")} == {
        "conf",
        "itl",
        "lab",
        "tftp",
        "tvs",
    }
    assert not [name for name in names if name.endswith((".pem", ".jsonl", ".sqlite3", ".tlv"))]
    assert {f"{package}/py.typed" for package in ("conf", "itl", "lab", "tftp", "tvs")} <= set(
        names
    )


def test_the_sdist_holds_what_a_packager_wants(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md", "Makefile", "Containerfile"}
    assert wanted <= names
    assert any(name.startswith("tests/") for name in names)
    assert not [name for name in names if name.startswith(("var/", ".venv/", "build/"))]


def test_the_changelog_keeps_its_form() -> None:
    lines = (PROJECT / "CHANGELOG.md").read_text().splitlines()
    assert lines[0] == "# Changelog"
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    heads = [line for line in lines if line.startswith("#")]
    assert heads[1].startswith("## [Unreleased]")
    assert {line.removeprefix("### ") for line in heads if line.startswith("### ")} <= kinds


def test_every_room_that_is_to_be_machine_code_is_there() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    hook = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]
    assert [room for room in hook["include"] if not (PROJECT / room.lstrip("/")).is_file()] == []
