"""Start a daemon for a benchmark: ``tvs_daemon.py PORT PEM CERT [WORKERS]``.

Makes a node in a temporary folder whose TVS shows the identity PEM, puts CERT into its trust store
and becomes ``trustlab serve`` on 127.0.0.1, with the legacy profile so that every workload can be
played. SIGTERM ends it.
"""

import os
import subprocess
import sys
import tempfile
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


def main() -> None:
    port, pem, certificate = sys.argv[1:4]
    workers = sys.argv[4] if len(sys.argv) > 4 else "1"
    state = Path(tempfile.mkdtemp(prefix="trustlab-bench-")) / "node"
    make_node(state, "--identity", f"TVS={pem}")
    run = [TRUSTLAB, "--state", str(state)]
    stored = ["--store", "Phone-SAST-trust", "--type", "CallManager"]
    subprocess.run([*run, "store", "add", certificate, *stored], check=True)
    ports = ["--tvs-port", port, "--tftp-port", "0"]
    serve = [*run, "serve", *ports, "--tls-profile", "legacy", "--workers", workers]
    os.execv(TRUSTLAB, serve)  # noqa: S606 - the measured process is to be the daemon itself


if __name__ == "__main__":
    main()
