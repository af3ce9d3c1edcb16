"""A node for a benchmark of the daemon's TVS."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from itl.certificates import load_certificates

TRUSTLAB = str(Path(sys.executable).with_name("trustlab"))
NEW = ["init", "--cluster", "bench", "--node", "bench", "--address", "127.0.0.1"]


@dataclass(frozen=True)
class BenchNode:
    """A node for a benchmark; ``certificate`` is a DER file of one that it trusts."""

    state: Path
    certificate: Path


def make_node(state: Path, *more: str) -> BenchNode:
    run = [TRUSTLAB, "--state", str(state), *NEW, *more]
    subprocess.run(run, check=True, capture_output=True)
    pem = (state / "identities" / "CallManager.pem").read_bytes()
    certificate = state / "CallManager.der"
    certificate.write_bytes(load_certificates(pem)[0])
    return BenchNode(state, certificate)
