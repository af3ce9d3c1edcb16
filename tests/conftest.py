"""Keys, real files and programs that tests of several rooms share."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import settings

REAL_FILES = "files of real systems"
settings.register_profile("untimed", settings(), deadline=None)  # a machine may be slow, and busy
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def rsa_keys() -> Callable[[int], rsa.RSAPrivateKey]:
    """``rsa_keys(n)``: the n-th RSA-2048 key of this run; made once, since making one is slow."""
    keys: dict[int, rsa.RSAPrivateKey] = {}

    def key(number: int) -> rsa.RSAPrivateKey:
        if number not in keys:
            keys[number] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return keys[number]

    return key


@pytest.fixture
def real_files(request: pytest.FixtureRequest) -> Path:
    """The folder with files of real systems, named by TRUSTLAB_ARTIFACTS."""
    folder = os.environ.get("TRUSTLAB_ARTIFACTS")
    if not folder:
        pytest.skip("TRUSTLAB_ARTIFACTS names no folder with files of real systems")
    request.node.user_properties.append((REAL_FILES, folder))
    return Path(folder)


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is in the TFTP service's thread: nobody answers while the service lingers."""
    monkeypatch.setattr("tftp.engine.LINGER_SECONDS", 0.0)


@pytest.fixture
def program() -> Callable[[str], str]:
    """``program(name)``: the path of an outside program, or the test is skipped for want of it."""

    def find(name: str) -> str:
        path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if path is None:
            pytest.skip(f"the program {name} is not installed")
        return path

    return find


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Undo the private umask of commands that an earlier test ran in this process."""
    os.umask(0o022)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests ran on files of real systems."""
    ran = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    count = sum(REAL_FILES in dict(report.user_properties) for report in ran)
    terminalreporter.write_line(f"tests on files of real systems: {count}")
