"""The daemon's TVS measured beside its peers: ``make bench-tvs``.

The measuring tools lie outside the project, in the folder that TRUSTLAB_BENCH names: `tvs_peers.py`
with the load generator `tvsload.c` and the physical limit `tvsnative.c` (C, OpenSSL, no store). The
folder that PEERS names holds the open peer, tvsd; without it its row is not run.
Then memory (idle and silent connections) and the cost of a request on an open connection.
"""
# ruff: noqa: T201 - a program that prints

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.tvs_daemon import TRUSTLAB, make_node
from tvs.changes import Change, new_receipt
from tvs.snapshot import Entry
from tvs.store import STORE_FILE, TrustStore

HERE = Path(__file__).parent
DAEMON = f"{sys.executable} {HERE / 'tvs_daemon.py'} {{port}} {{pem}} {{crt}}"
WORKLOADS = "rsa64,rsa512,ec64,rsa64-13,old64,many"
IDLE, SILENT = 5_000, 10_000
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> int:
    folder = os.environ.get("TRUSTLAB_BENCH")
    if not folder or not (Path(folder) / "tvs_peers.py").exists():
        print("TRUSTLAB_BENCH must name the folder with tvs_peers.py, tvsload.c and tvsnative.c")
        return 2
    peers = [
        sys.executable,
        str(Path(folder) / "tvs_peers.py"),
        f"--server=ours={DAEMON}",
        f"--server=ours-2={DAEMON} 2",
        f"--runs={os.environ.get('RUNS', '3')}",
        f"--workloads={os.environ.get('WORKLOADS', WORKLOADS)}",
    ]
    if not os.environ.get("PEERS"):
        print("tvsd: not run (PEERS names no folder with it)")
    subprocess.run(peers, check=True)
    with tempfile.TemporaryDirectory() as scratch:
        load = Path(scratch) / "tvsload"
        source = Path(folder) / "tvsload.c"
        subprocess.run(["gcc", "-O2", "-o", load, source, "-lssl", "-lcrypto"], check=True)
        measure_memory(load, Path(scratch))
        measure_requests(load, Path(scratch))
    return 0


@contextmanager
def daemon(state: Path) -> Iterator[tuple[int, int]]:
    """The daemon on the node ``state``: its process id and TVS port."""
    ports = ["--tvs-port", "0", "--tftp-port", "0"]
    with subprocess.Popen(
        [TRUSTLAB, "--state", str(state), "serve", "--json", *ports],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            assert process.stdout is not None
            yield process.pid, json.loads(process.stdout.readline())["tvs"][1]
        finally:
            process.send_signal(signal.SIGTERM)


def megabytes(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def good_milliseconds(load: Path, port: int, certificate: Path) -> float:
    """The slowest of ten connections of a good client, one after the other."""
    run = [load, "--port", str(port), "--cert", certificate, "--connections", "10"]
    shown = subprocess.run(run, capture_output=True, check=True)
    return float(json.loads(shown.stdout)["total_max_us"]) / 1000


def measure_memory(load: Path, scratch: Path) -> None:
    node = make_node(scratch / "memory")
    with daemon(node.state) as (pid, port):
        base = megabytes(pid)
        for stage, number in (("tcp", SILENT), ("tls", IDLE)):
            words = f"--port {port} --clients {number} --hold 4 --hold-stage {stage}"
            rate = "--arrival-rate 2500" if stage == "tcp" else "--arrival-rate 1000"
            with subprocess.Popen(
                [load, *words.split(), *rate.split()], stdout=subprocess.PIPE
            ) as held:
                assert held.stdout is not None
                line = held.stdout.readline().decode().strip()
                full = megabytes(pid)
                slowest = good_milliseconds(load, port, node.certificate)
            each = (full - base) * 1024 / number
            print(
                f"memory, {stage}: {line} of {number}; daemon {base:.0f} MB before, {full:.0f} MB "
                f"then, {each:.1f} KiB each; a good client in at most {slowest:.0f} ms"
            )
            base = megabytes(pid)


def measure_requests(load: Path, scratch: Path) -> None:
    """Processor time of a request on an open connection, in a small store and in a large one."""
    for number in (10, 100_000):
        node = make_node(scratch / f"store-{number}")
        fill(node.state / STORE_FILE, number)
        with daemon(node.state) as (pid, port):
            costs = []
            for per_connection in (1, 501):
                before = processor_seconds(pid)
                words = f"--port {port} --clients 16 --connections 64 --expect-status 0"
                more = ["--per-connection", str(per_connection), "--cert", node.certificate]
                subprocess.run([load, *words.split(), *more], check=True, capture_output=True)
                costs.append(processor_seconds(pid) - before)
        each = (costs[1] - costs[0]) / (64 * 500) * 1e6
        print(f"a request on an open connection, {number} certificates: {each:.0f} us of processor")


def fill(path: Path, number: int) -> None:
    """Put ``number`` entries beside those that are there; their octets are no certificates."""
    now = datetime.now(UTC)
    entries = [
        Entry(
            der=b"bench" + index.to_bytes(4, "big"),
            sha256=f"{index:064x}",
            subject=f"CN=phone{index}",
            issuer="CN=bench",
            serial=index.to_bytes(8, "big"),
            type=None,
            stores=frozenset({"CAPF-trust"}),
            source="a benchmark",
            not_after=now,
        )
        for index in range(1, number + 1)
    ]
    store = TrustStore.open(path)
    try:
        receipt = new_receipt("add", "a benchmark")
        store.apply([Change(entry, None, file="bench") for entry in entries], receipt)
    finally:
        store.close()


if __name__ == "__main__":
    sys.exit(main())
