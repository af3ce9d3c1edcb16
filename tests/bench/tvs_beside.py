"""The daemon's TVS beside its peers: one table for each workload, and what is demanded of it.

The load generator ``tvsload.c``, the physical limit ``tvsnative.c`` (C and OpenSSL, no store) and
``tvs_peers.py``, which knows the workloads and makes certificates, lie in the folder that
TRUSTLAB_BENCH names. The folder that PEERS names holds the open peer, tvsd. All servers of a
workload stand side by side and take turns; one that fails has a row that says so.
"""
# ruff: noqa: T201 - a program that prints

import importlib.util
import json
import math
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from tests.bench.tvs_node import TRUSTLAB, make_node

SECONDS = {"tvsd": 8}  # of one run at most: tvsd loses clients until it is over
OTHERS_SECONDS = 40
START_SECONDS = 30  # on a busy machine
PLAYED_BY_TVSD = frozenset({"rsa64", "rsa512", "ec64"})  # no TLS 1.0, one request a connection
# what a column shows: a field of a run, divided by, decimals
COLUMNS = {
    "conn/s": ("rate", 1, 0),
    "req/s": ("request_rate", 1, 0),
    "p50 ms": ("total_p50_us", 1000, 1),
    "p99 ms": ("total_p99_us", 1000, 1),
    "CPU us/conn": ("cpu_us", 1, 0),
    "MB": ("peak_mb", 1, 0),
}


@dataclass
class Measured:
    """The runs of one server at one workload; ``problem`` is why there are none."""

    runs: list[dict[str, float]] = field(default_factory=list)
    problem: str | None = None

    def median(self, what: str) -> float:
        return statistics.median(run[what] for run in self.runs) if self.runs else float("nan")

    @property
    def failures(self) -> int:
        return sum(int(run["failures"]) for run in self.runs)

    def row(self) -> str:
        if not self.runs:
            return f"{self.problem} |" + " |" * len(COLUMNS)
        figures = (
            f"{self.median(what) / divisor:.{decimals}f}"
            for what, divisor, decimals in COLUMNS.values()
        )
        return f"{' | '.join(figures)} | {self.failures} |"


Results = Mapping[str, Measured]


@dataclass(frozen=True)
class Mark:
    """What is demanded: ``what`` of one server to that of another, at least or at most."""

    what: str
    of: str
    to: str
    least: float | None = None
    most: float | None = None

    def judge(self, results: Results) -> str:
        over, under = results[self.of].median(self.what), results[self.to].median(self.what)
        ratio = over / under if under else float("nan")
        bound = f"at least {self.least}" if self.most is None else f"at most {self.most}"
        if math.isnan(ratio):
            verdict = "not run"
        elif (self.least or 0) <= ratio <= (self.most or float("inf")):
            verdict = "reached"
        else:
            verdict = "MISSED"
        return f"{self.what}, {self.of} / {self.to}: {ratio:.2f}, demanded {bound}: {verdict}"


def marks(workload: str) -> list[Mark]:
    """What is demanded at a workload; two workers are compared with one native process and two."""
    if workload not in PLAYED_BY_TVSD:
        return []
    cpu = Mark("cpu_us", "ours", "tvsd", most=0.6)
    if workload == "ec64":
        return [cpu]
    return [
        Mark("rate", "ours", "tvsd", least=3 if workload == "rsa64" else 10),
        Mark("rate", "ours", "native", least=0.75),
        Mark("rate", "ours-2", "native", least=0.85),
        Mark("rate", "ours-2", "native-2", least=0.85),
        Mark("total_p99_us", "ours", "native", most=2),
        # the same as its rate, where the load generator takes cores from the server
        Mark("cpu_us", "ours", "native", most=round(1 / 0.75, 2)),
        cpu,
    ]


def measure(folder: Path, scratch: Path, workloads: list[str], runs: int) -> int:
    """Print the table of each workload; answers how many marks were missed."""
    peers = _load_module(folder / "tvs_peers.py")
    load, native = (peers.build(name, str(scratch)) for name in ("tvsload", "tvsnative"))
    facts = peers.fixtures(str(scratch))
    missed = 0
    for workload in workloads:
        key, arguments = peers.WORKLOADS[workload]
        commands = _commands(peers, scratch, facts[key], key, native)
        results = {name: Measured() for name in commands}
        if workload not in PLAYED_BY_TVSD:
            commands.pop("tvsd")
            results["tvsd"].problem = "not run: it cannot play this"
        elif not commands["tvsd"]:
            commands.pop("tvsd")
            results["tvsd"].problem = "not run: PEERS names no folder with it"
        play = [load, "--cert", facts[key]["der"], "--expect-status", "0"]
        with ExitStack() as stack:
            _play(peers, stack, commands, results, [play, arguments.split()], runs)
        missed += _print(workload, f"server key {key}, {arguments}", results)
    return missed


def _load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _commands(
    peers: ModuleType, scratch: Path, facts: Mapping[str, str], key: str, native: str
) -> dict[str, list[str]]:
    """How each server is started; {port} stands for the port."""
    state = scratch / f"node-{key}"
    if not state.exists():
        make_node(state, "--identity", f"TVS={facts['pem']}")
        stored = ["--store", "Phone-SAST-trust", "--type", "CallManager"]
        add = [TRUSTLAB, "--state", str(state), "store", "add", facts["crt"], *stored]
        subprocess.run(add, check=True, capture_output=True)
    second = scratch / f"node-{key}-2"
    if not second.exists():
        shutil.copytree(state, second)
    serve = ["serve", "--tvs-port", "{port}", "--tftp-port", "0", "--tls-profile", "legacy"]
    tvsd = peers.find_tvsd()
    python = os.environ.get("PEER_PYTHON", sys.executable)
    return {
        "ours": [TRUSTLAB, "--state", str(state), *serve],
        "ours-2": [TRUSTLAB, "--state", str(second), *serve, "--workers", "2"],
        "tvsd": [python, tvsd, facts["db"], "--tvs", facts["pem"], "--port", "{port}"]
        if tvsd
        else [],
        "native": [native, "{port}", facts["pem"]],
        "native-2": [native, "{port}", facts["pem"], "2"],
    }


def _play(
    peers: ModuleType,
    stack: ExitStack,
    commands: Mapping[str, list[str]],
    results: Mapping[str, Measured],
    load: list[list[str]],
    runs: int,
) -> None:
    """Start the servers, then let them take turns; what goes wrong is kept in ``results``."""
    standing = {}
    for name, command in commands.items():
        port = peers.free_port()
        words = [word.format(port=port) for word in command]
        try:
            standing[name] = (stack.enter_context(_standing(words, load[0], port)), port)
        except RuntimeError as error:
            results[name].problem = str(error)
    for _ in range(runs):
        for name, (pid, port) in standing.items():
            try:
                seconds = SECONDS.get(name, OTHERS_SECONDS)
                results[name].runs.append(_run(peers, pid, port, load, seconds))
            except (RuntimeError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
                results[name].problem = f"a run failed: {error}"


@contextmanager
def _standing(words: list[str], load: list[str], port: int) -> Iterator[int]:
    """A server in a session of its own, once it gives the right answer."""
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(
        words, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
    )
    try:
        probe = [*load, "--port", str(port), "--connections", "1", "--max-seconds", "2"]
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run(probe, capture_output=True, check=False).returncode:
            if server.poll() is not None:
                raise RuntimeError(f"ended with code {server.returncode}: {shlex.join(words)}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"no right answer in {START_SECONDS} s: {shlex.join(words)}")
            time.sleep(0.1)
        yield server.pid
    finally:
        server.terminate()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _run(
    peers: ModuleType, pid: int, port: int, load: list[list[str]], seconds: int
) -> dict[str, float]:
    before, _ = peers.usage(pid)
    command = [*load[0], "--port", str(port), "--max-seconds", str(seconds), *load[1]]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=2 * seconds + 10
    )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    after, result["peak_mb"] = peers.usage(pid)
    result["cpu_us"] = (after - before) / max(1, result["connections_ok"]) * 1e6
    return result


def _print(workload: str, words: str, results: Results) -> int:
    """The table of a workload and its marks; answers how many were missed."""
    print(f"\n{workload}: {words}\n")
    head = ["server", *COLUMNS, "failed", "rate / tvsd", "rate / native", "CPU / native"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for name, measured in results.items():
        ratios = [
            _ratio(measured, results["tvsd"], "rate"),
            _ratio(measured, results["native"], "rate"),
            _ratio(measured, results["native"], "cpu_us"),
        ]
        print(f"| {name} | {measured.row()} {' | '.join(ratios)} |")
    print()
    for name, measured in results.items():
        if measured.runs and measured.problem:
            print(f"{name}: {measured.problem}")
    verdicts = [mark.judge(results) for mark in marks(workload)]
    for name in ("ours", "ours-2"):
        failed = results[name].failures
        fine = failed == 0 and bool(results[name].runs)
        verdicts.append(
            f"failed clients, {name}: {failed}, demanded 0: {'reached' if fine else 'MISSED'}"
        )
    print("\n".join(verdicts), flush=True)
    return sum(verdict.endswith("MISSED") for verdict in verdicts)


def _ratio(one: Measured, other: Measured, what: str) -> str:
    with suppress(ZeroDivisionError):
        ratio = one.median(what) / other.median(what)
        if not math.isnan(ratio):
            return f"{ratio:.2f}"
    return "-"
