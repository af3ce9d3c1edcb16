"""TFTP servers of others, ours, and what the suite finds on them, all in one run."""

import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trio

from lab.conformance.examination import examine
from lab.conformance.model import Report
from lab.conformance.tftp_suite import CHECKS
from lab.conformance.tftp_wire import Address, Known, TftpTarget
from tests.daemons import new_node, serving

PATH = "/usr/sbin:/sbin:/usr/local/sbin"
DNSMASQ_ADDRESS = "127.69.0.1"  # it knows no other port than 69, so it gets an address of its own
STARTED_SECONDS = 10


def fill(root: Path) -> None:
    """The files the suite wants to find."""
    seeded = random.Random(7)
    root.chmod(0o755)
    content = {
        "known.bin": b"one line\r\nlone\rreturn\n" * 200 + seeded.randbytes(300),
        "empty": b"",
        "exact": seeded.randbytes(1024),
        "big": seeded.randbytes(65_600 * 8 + 3),
    }
    for name, octets in content.items():
        (root / name).write_bytes(octets)
        (root / name).chmod(0o644)


def target(root: Path, address: Address, **more: object) -> TftpTarget:
    def known(name: str) -> Known:
        return Known(name, (root / name).read_bytes())

    return TftpTarget(
        address=address,
        file=known("known.bin"),
        empty="empty",
        exact=known("exact"),
        big=known("big"),
        **more,
    )


def free_port() -> int:
    """A port the kernel chose a moment ago; these programs cannot be told to let it choose."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(address: Address) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.1)
        try:
            probe.connect(address)
            probe.send(b"\0\1no-such-file\0octet\0")
            probe.recv(600)
        except ConnectionRefusedError:
            time.sleep(0.02)
            return False
        except TimeoutError:
            # a transfer runs from another port than the one connected to: heard, if not answered
            return True
    return True


@contextmanager
def running(command: list[str], address: Address) -> Iterator[None]:
    """A program in the foreground until the block ends."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PATH": f"{os.environ['PATH']}:{PATH}"},
    )
    try:
        limit = time.monotonic() + STARTED_SECONDS
        while not answers(address):
            assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
            assert time.monotonic() < limit, f"{command[0]} does not answer"
        yield
    finally:
        process.terminate()
        process.wait(STARTED_SECONDS)


def hpa(root: Path) -> tuple[list[str], Address]:
    address = ("127.0.0.1", free_port())
    where = f"{address[0]}:{address[1]}"
    return ["in.tftpd", "-L", "-a", where, "-u", "root", "-s", str(root)], address


def atftpd(root: Path) -> tuple[list[str], Address]:
    address = ("127.0.0.1", free_port())
    command = ["atftpd", "--daemon", "--no-fork", "--bind-address", address[0]]
    command += ["--port", str(address[1]), "--user", "root", "--group", "root", str(root)]
    return command, address


def dnsmasq(root: Path) -> tuple[list[str], Address]:
    command = ["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--user=root"]
    command += ["--bind-interfaces", f"--listen-address={DNSMASQ_ADDRESS}"]
    command += ["--enable-tftp", f"--tftp-root={root}", "--log-facility=/dev/null"]
    return command, (DNSMASQ_ADDRESS, 69)


PEERS = {"tftp-hpa": hpa, "atftpd": atftpd, "dnsmasq": dnsmasq}


@dataclass(frozen=True)
class Examined:
    """Reports by server, and why others could not be started."""

    reports: dict[str, Report]
    missing: dict[str, str]

    def __getitem__(self, name: str) -> Report:
        if name in self.missing:
            pytest.skip(self.missing[name])
        return self.reports[name]


def hindrance(program: str) -> str | None:
    """Why this program cannot be examined here."""
    if shutil.which(program) is None and shutil.which(program, path=PATH) is None:
        return f"the program {program} is not installed"
    if os.geteuid():
        return f"{program} gives up privilege at start, so it has to be started as root"
    return None


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node of ours with the files the suite wants."""
    state = new_node(tmp_path_factory.mktemp("trustlab") / "node")
    fill(state / "tftp")
    return state


@pytest.fixture(scope="session")
def examined(node: Path, tmp_path_factory: pytest.TempPathFactory) -> Examined:
    """Each server started, then all examined side by side: most of the time is their timers'."""
    targets: dict[str, TftpTarget] = {}
    missing: dict[str, str] = {}
    with ExitStack() as servers:
        for name, made in PEERS.items():
            root = tmp_path_factory.mktemp(name)
            fill(root)
            command, address = made(root)
            reason = hindrance(command[0])
            if reason is not None:
                missing[name] = reason
                continue
            servers.enter_context(running(command, address))
            targets[name] = target(root, address)
        daemon = servers.enter_context(serving(node))
        targets["trustlab"] = target(node / "tftp", daemon.tftp, generated="ITLFile.tlv")
        return Examined(trio.run(partial(examine_all, targets)), missing)


async def examine_all(targets: dict[str, TftpTarget]) -> dict[str, Report]:
    reports: dict[str, Report] = {}

    async def one(name: str) -> None:
        reports[name] = await examine("tftp", name, targets[name], CHECKS, at_once=10)

    async with trio.open_nursery() as nursery:
        for name in targets:
            nursery.start_soon(one, name)
    return reports
