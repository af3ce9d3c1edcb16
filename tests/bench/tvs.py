"""The daemon's TVS measured: ``make bench-tvs``, environment RUNS and WORKLOADS.

First beside its peers (:mod:`tests.bench.tvs_beside`), then its memory with idle and with silent
connections, and the cost of a request on an open connection. Ends with code 1 if a mark is missed.
"""
# ruff: noqa: T201 - a program that prints

import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from tests.bench.tvs_beside import measure
from tests.bench.tvs_node import TRUSTLAB, make_node
from tvs.changes import Change, new_receipt
from tvs.snapshot import Entry
from tvs.store import STORE_FILE, TrustStore

WORKLOADS = "rsa64,rsa512,ec64,rsa64-13,old64,many"
IDLE, SILENT = 5_000, 10_000
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> int:
    folder = Path(os.environ.get("TRUSTLAB_BENCH", ""))
    if not (folder / "tvs_peers.py").is_file():
        print("TRUSTLAB_BENCH must name the folder with tvs_peers.py, tvsload.c and tvsnative.c")
        return 2
    print(f"{platform.platform()}, {os.cpu_count()} cores, {processor()}; load {os.getloadavg()}")
    workloads = os.environ.get("WORKLOADS", WORKLOADS).split(",")
    with tempfile.TemporaryDirectory() as scratch:
        runs = int(os.environ.get("RUNS", "3"))
        missed = measure(folder, Path(scratch), workloads, runs)
        for part in (measure_memory, measure_requests):
            try:
                missed += part(Path(scratch) / "tvsload", Path(scratch))
            except (subprocess.CalledProcessError, ValueError, OSError) as error:
                print(f"{part.__name__} failed: {error}: MISSED")
                missed += 1
    return 1 if missed else 0


def judged(words: str, figure: float, most: float) -> int:
    """Print a figure with the most that is allowed; 1 if it is more."""
    print(f"{words}: {figure:.1f}, demanded at most {most:g}:", end=" ")
    print("reached" if figure <= most else "MISSED", flush=True)
    return int(figure > most)


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


def processor() -> str:
    """What the machine calls its processor."""
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else "unknown processor"


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


def measure_memory(load: Path, scratch: Path) -> int:
    node = make_node(scratch / "memory")
    missed = 0
    print()
    with daemon(node.state) as (pid, port):
        base = megabytes(pid)
        for stage, number, pace in (("tcp", SILENT, 2500), ("tls", IDLE, 300)):
            words = f"--port {port} --clients {number} --hold 6 --hold-stage {stage}"
            command = [load, *words.split(), "--arrival-rate", str(pace)]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as held:
                assert held.stdout is not None
                line = held.stdout.readline().decode().strip()
                full = megabytes(pid)
                slowest = good_milliseconds(load, port, node.certificate)
            print(f"{stage}: {line} of {number}; daemon {base:.0f} MB before, {full:.0f} MB then")
            kept = int(line.split()[-1])
            if kept < number:
                print("fewer than wanted: MISSED")
                missed += 1
            each = (full - base) * 1024 / max(1, kept)
            if stage == "tcp":
                missed += judged(f"MB in all, {number} silent", full, 100)
            else:
                missed += judged(f"KiB each, {number} idle after the handshake", each, 50)
            missed += judged("ms until a good client is answered, slowest of ten", slowest, 100)
            base = megabytes(pid)
    return missed


def measure_requests(load: Path, scratch: Path) -> int:
    """Processor time of a request on an open connection, in a small store and in a large one."""
    costs = {}
    missed = 0
    for number in (10, 100_000):
        node = make_node(scratch / f"store-{number}")
        fill(node.state / STORE_FILE, number)
        with daemon(node.state) as (pid, port):
            costs[number] = statistics.median(
                request_cost(load, pid, port, node.certificate) for _ in range(3)
            )
        words = f"us of processor, a request on an open connection, {number} certificates"
        missed += judged(words, costs[number], 120)
    ratio = costs[100_000] / costs[10]
    return missed + judged("cost with 100 000 certificates / with 10", ratio, 1.1)


def request_cost(load: Path, pid: int, port: int, certificate: Path) -> float:
    """Microseconds: 500 more requests on each of 32 connections, divided by their number."""
    spent = []
    for per_connection in (1, 501):
        before = processor_seconds(pid)
        words = f"--port {port} --clients 16 --connections 32 --expect-status 0"
        more = ["--per-connection", str(per_connection), "--cert", certificate]
        subprocess.run([load, *words.split(), *more], check=True, capture_output=True)
        spent.append(processor_seconds(pid) - before)
    return (spent[1] - spent[0]) / (32 * 500) * 1e6


def fill(path: Path, number: int) -> None:
    """Put ``number`` entries beside those that are there; their octets are no certificates."""
    now = datetime.now(UTC)
    entries = [
        Entry(
            der=(octets := b"bench" + index.to_bytes(4, "big")),
            sha256=sha256(octets).hexdigest(),
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
