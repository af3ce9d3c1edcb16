"""A node that tests of the running service copy."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemons import new_node


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node nobody serves; made once, since making keys is slow."""
    return new_node(tmp_path_factory.mktemp("founded") / "node")


@pytest.fixture
def node(founded: Path, tmp_path: Path) -> Path:
    """A node of the test's own."""
    return shutil.copytree(founded, tmp_path / "node")


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, object], None]:
    """``setting("tvs.max_connections", 3)`` for the programs that the test starts."""

    def give(key: str, value: object) -> None:
        name = key.upper().replace(".", "__")
        monkeypatch.setenv(f"TRUSTLAB_SET_{name}", json.dumps(value))

    return give
