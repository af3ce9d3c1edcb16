"""The floors of the house: imports point down only."""

import ast
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
# A package and the packages of ours that its modules may import, itself apart.
MAY_IMPORT = {
    "conf": set(),
    "itl": {"conf"},
    "tvs": {"conf", "itl"},
    "tftp": {"conf", "itl"},
    "lab": {"conf", "itl", "tvs", "tftp"},
}
# itl is pure: no input or output, no clock, no logging, and of the ground floor a value type only.
ITL_OUTSIDERS = {"trio", "socket", "os", "pathlib", "time", "logging", "sqlite3"}
ITL_GROUND = {"conf.signer"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.add(node.module or "")
    return found


def modules(package: str) -> list[Path]:
    return sorted((PROJECT / package).rglob("*.py"))


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_down(package: str) -> None:
    above = set(MAY_IMPORT) - MAY_IMPORT[package] - {package}
    for path in modules(package):
        roots = {name.partition(".")[0] for name in imports(path)}
        assert not roots & above, f"{path.relative_to(PROJECT)} imports {roots & above}"


def test_nothing_below_the_command_line_imports_it() -> None:
    above = {PROJECT / "lab" / "__main__.py", PROJECT / "lab" / "first_run.py"}
    below = [path for path in modules("lab") if path.parent.name != "cli" and path not in above]
    assert [path for path in below if any(n.startswith("lab.cli") for n in imports(path))] == []


def test_the_formats_are_pure() -> None:
    for path in modules("itl"):
        names = imports(path)
        assert not names & ITL_OUTSIDERS, f"{path.name} imports {names & ITL_OUTSIDERS}"
        ground = {name for name in names if name.partition(".")[0] == "conf"}
        assert ground <= ITL_GROUND, f"{path.name} imports {ground - ITL_GROUND}"


def test_no_module_is_named_after_one_of_the_standard_library() -> None:
    for package in MAY_IMPORT:
        assert package not in sys.stdlib_module_names
