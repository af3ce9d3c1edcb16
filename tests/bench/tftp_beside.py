"""The TFTP service beside other servers, in one run: seconds, ratios, and what is demanded.

Needs a folder with the load generator ``tftpload.c``, the runner ``tftp_peers.py`` and
``equalbuf.c``, which gives every peer the receive buffer ours takes; TRUSTLAB_BENCH names it.

    python -m tests.bench.tftp_beside [RUNS] [GROUP…]
"""

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tftp import engine

HERE = Path(__file__).parent
OURS = "trustlab"
FLOOR = "floor"  # tftp_floor.c: what the machine and the load generator allow
QUIET = ["--log-facility=/dev/null", "--quiet-tftp"]
DNSMASQ = "dnsmasq -k --port=0 --conf-file=/dev/null --pid-file= --user=root --bind-interfaces"
DNSMASQ += " --listen-address={host} --enable-tftp --tftp-root={root} --tftp-max=4096 "
ATFTPD = "atftpd --daemon --no-fork --port {port} --bind-address {host} --user nobody --group"
ATFTPD += " nogroup --maxthread 4096 --verbose=0 --logfile /dev/null {more} {root}"
HPA = "in.tftpd -L -a {host}:{port} -u nobody {more} -s {root}"
PEERS = "dnsmasq,atftpd,tftp-hpa,tftpy"
FIELDS = ("seconds", "p50_ms", "server_cpu_s", "rss_peak_mb")

# group: workloads, which figure decides, and what is demanded: (workload, peer, least ratio of the
# peer's figure to ours); "best" is the best of all peers, "others" the best but dnsmasq
GROUPS = {
    "installed": (["d"], [("d", "best", 10)]),
    "equal": (["d"], [("d", "dnsmasq", 0.65), ("d", "atftpd", 2), ("d", "tftp-hpa", 8)]),
    "lockstep": (
        ["a64", "b64", "w512", "w1428"],
        [
            ("a64", "dnsmasq", 0.8),
            ("a64", "others", 1.6),
            ("b64", "dnsmasq", 0.8),
            ("b64", "others", 1.6),
            ("w512", "best", 0.85),
            ("w1428", "best", 0.85),
        ],
    ),
    "cold": (["c512", "c1428"], [("c512", "best", 0.7), ("c1428", "best", 0.7)]),
    "windows": (["w1428w16", "w8192w16"], [("w1428w16", "best", 1.7), ("w8192w16", "best", 1.7)]),
    "loss": (["e", "ew"], [("e", "best", 1 / 1.5), ("ew", "atftpd", 10)]),
}


def main() -> int:
    """Run the groups asked for and print their tables; 1 if something was missed."""
    place = os.environ.get("TRUSTLAB_BENCH")
    if not place or not (Path(place) / "tftp_peers.py").is_file():
        sys.stderr.write(
            "bench-tftp: TRUSTLAB_BENCH names no folder with tftp_peers.py, tftpload.c and"
            " equalbuf.c; set it to measure\n"
        )
        return 2
    runs = sys.argv[1] if len(sys.argv) > 1 else "5"
    groups = sys.argv[2:] or list(GROUPS)
    form = "compiled" if engine.__file__.endswith(".so") else "interpreted"
    sys.stdout.write(f"{platform.platform()}, {os.cpu_count()} cores, {_cpu()}, {form}\n")
    missed = 0
    with tempfile.TemporaryDirectory() as work:
        load, equal = Path(work) / "tftpload", Path(work) / "equalbuf.so"
        _compile(["-O2", "-o", str(load), f"{place}/tftpload.c"])
        _compile(["-shared", "-fPIC", "-o", str(equal), f"{place}/equalbuf.c", "-ldl"])
        _compile(["-O2", "-o", f"{work}/{FLOOR}", str(HERE / "tftp_floor.c")])
        for group in groups:
            environment = {**os.environ, "TFTPLOAD": str(load), **_peers(group, equal)}
            results = _measure(Path(place), group, runs, environment, Path(work))
            missed += _print(group, results)
    return 1 if missed else 0


def _compile(arguments: list[str]) -> None:
    subprocess.run(["gcc", *arguments], check=True)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown processor"


def _peers(group: str, equal: Path) -> dict[str, str]:
    """How the peers are started in a group, where it is not as the runner does."""
    if group == "equal":
        prefix, hpa, atftpd = f"env LD_PRELOAD={equal} ", "", ""
    elif group == "loss":
        prefix, hpa, atftpd = "", "--retransmit 100000", "--retry-timeout 1"
    else:
        return {}
    return {
        "TFTP_PEER_DNSMASQ": prefix + DNSMASQ + " ".join(QUIET),
        "TFTP_PEER_ATFTPD": prefix + ATFTPD.replace("{more}", atftpd),
        "TFTP_PEER_TFTPHPA": prefix + HPA.replace("{more}", hpa),
    }


def _measure(
    place: Path, group: str, runs: str, environment: dict[str, str], work: Path
) -> list[dict[str, object]]:
    written = work / f"{group}.json"
    command = [sys.executable, str(place / "tftp_peers.py"), "--runs", runs, "--max-seconds", "12"]
    command += ["--peers", PEERS, "--workloads", ",".join(GROUPS[group][0]), "--json", str(written)]
    started = {OURS: f"{sys.executable} {HERE / 'tftp_serve.py'}"}
    if GROUPS[group][0] == ["d"]:  # it has no options and loads no large file
        started[FLOOR] = str(work / FLOOR)
    for name, program in started.items():
        command += ["--peer", f"{name}={program} {{host}} {{port}} {{root}}"]
    subprocess.run(
        command,
        env=environment,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return json.loads(written.read_text())


def _print(group: str, results: list[dict[str, object]]) -> int:
    """The table of a group; answers how many demands were missed."""
    workloads, demands = GROUPS[group]
    missed = 0
    for workload in workloads:
        peers: dict[str, list[dict[str, object]]] = {}
        for run in results:
            if run["workload"] == workload and "error" not in run:
                peers.setdefault(str(run["peer"]), []).append(run)
        if OURS not in peers:
            errors = [run["error"] for run in results if run["peer"] == OURS]
            sys.stdout.write(f"\n{group} {workload}: {OURS} did not run: {errors}\n")
            missed += 1
            continue
        decides = "p50_ms" if workload.startswith("w") else "seconds"
        ours = _median(peers[OURS], decides)
        sys.stdout.write(
            f"\n{group} {workload}\n\n| server | s | p50 ms | server CPU s | RSS MB | failed"
            " | wrong bytes | client retransmits | theirs / ours |\n"
            "|---|---|---|---|---|---|---|---|---|\n"
        )
        for peer, measured in sorted(peers.items(), key=lambda each: _median(each[1], decides)):
            failed = sum(int(run["failed"]) + int(run["unfinished"]) for run in measured)
            wrong = sum(int(run["wrong_bytes"]) for run in measured)
            figures = " | ".join(f"{_median(measured, field):.3f}" for field in FIELDS)
            again = _median(measured, "client_retransmits")
            ratio = _median(measured, decides) / ours
            sys.stdout.write(
                f"| {peer} | {figures} | {failed} | {wrong} | {again:.0f} | {ratio:.2f} |\n"
            )
        for demanded, against, least in demands:
            if demanded == workload:
                missed += _judge(peers, against, least, decides)
    return missed


def _judge(
    peers: dict[str, list[dict[str, object]]], against: str, least: float, decides: str
) -> int:
    """Say whether our figure is good enough against one peer, or the best of some."""
    real = peers.keys() - {OURS, FLOOR}
    among = {"best": real, "others": real - {"dnsmasq"}}
    chosen = among.get(against, real & {against})
    if not chosen:
        sys.stdout.write(f"against {against}: not run\n")
        return 0
    theirs = min(_median(peers[name], decides) for name in chosen)
    ratio = theirs / _median(peers[OURS], decides)
    verdict = "reached" if ratio >= least else "MISSED"
    sys.stdout.write(f"against {against}: {ratio:.2f}, demanded {least:.2f}: {verdict}\n")
    if FLOOR in peers:
        allowed = theirs / _median(peers[FLOOR], decides)
        sys.stdout.write(f"    the floor against {against}: {allowed:.2f}\n")
    return verdict == "MISSED"


def _median(runs: list[dict[str, object]], field: str) -> float:
    return statistics.median(float(run.get(field) or 0) for run in runs)


if __name__ == "__main__":
    os.environ["PATH"] += ":/usr/sbin:/usr/local/sbin"
    if shutil.which("gcc") is None:
        sys.exit("bench-tftp: gcc compiles the load generator, and is not here")
    sys.exit(main())
