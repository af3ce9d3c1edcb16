"""Public TLS test tools against the modern profile: ``make tls-audit``.

sslyze runs from the interpreter given as the first argument, in an environment of its own.
tlsfuzzer is on no package index: TLSFUZZER names a checkout (github.com/tlsfuzzer/tlsfuzzer) and
TLSFUZZER_PYTHON an interpreter with tlslite-ng 0.9. The tools' findings are printed; the exit
code is 1 if the daemon did not live through them or has a weakness beyond the ones listed here.
"""
# ruff: noqa: T201 - a program that prints

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.tvs import daemon
from tests.bench.tvs_daemon import TRUSTLAB, make_node

# What Mozilla's "intermediate" web configuration asks for and a TVS cannot or need not give.
EXPECTED = {
    "certificate_path_validation": "phones compare it with their list, octet by octet",
    "maximum_certificate_lifespan": "CUCM's own certificates are valid for five years",
    "tls_curves": "X448 and secp521r1 are OpenSSL's defaults; neither is weak",
}
FUZZER_SCRIPTS = (
    "test-empty-extensions.py",
    "test-fuzzed-plaintext.py",
    "test-invalid-content-type.py",
    "test-large-hello.py",
    "test-tls13-keyupdate.py",
    "test-zero-length-data.py",
)


def main() -> int:
    bad = []
    with tempfile.TemporaryDirectory() as scratch:
        node = make_node(Path(scratch) / "node")
        with daemon(node.state) as (_, port):
            bad += sslyze(sys.argv[1], port, Path(scratch) / "sslyze.json")
            tlsfuzzer(port)
            asked = [TRUSTLAB, "tvs", "verify", f"127.0.0.1:{port}", node.certificate, "--json"]
            if subprocess.run(asked, capture_output=True, check=False).returncode:
                bad.append("the daemon answers no longer")
    for finding in bad:
        print("FOUND:", finding)
    return 1 if bad else 0


def sslyze(python: str, port: int, output: Path) -> list[str]:
    """Run sslyze; answers what is not expected."""
    run = [python, "-m", "sslyze", "--json_out", output, f"127.0.0.1:{port}"]
    shown = subprocess.run(run, capture_output=True, text=True, check=False, timeout=300)
    compliance = shown.stdout[shown.stdout.find("COMPLIANCE") :]
    print(compliance)
    unexpected = [
        line.strip(" *")
        for line in compliance.splitlines()
        if line.strip().startswith("*") and line.strip(" *").split(":")[0] not in EXPECTED
    ]
    scan = json.loads(output.read_text())["server_scan_results"][0]["scan_result"]
    for name, check in sorted(scan.items()):
        result = check.get("result")
        print(f"{name}: {check['status'].lower()}", _summary(name, result))
        if check["status"] == "ERROR":
            unexpected.append(f"{name}: {check.get('error_reason')}")
        if result and _is_weak(name, result):
            unexpected.append(f"{name}: {result}")
    return unexpected


def _summary(name: str, result: dict[str, object] | None) -> str:
    if result is None:
        return ""
    accepted = result.get("accepted_cipher_suites")
    if isinstance(accepted, list):
        return ", ".join(entry["cipher_suite"]["name"] for entry in accepted) or "refused"
    if name == "certificate_info":
        return "(self-signed, as CUCM's)"
    return ", ".join(
        f"{key}={value}" for key, value in result.items() if isinstance(value, bool | str)
    )


def _is_weak(name: str, result: dict[str, object]) -> bool:
    old = {"ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"}
    if name.removesuffix("_cipher_suites") in old:
        return bool(result["accepted_cipher_suites"])
    flags = (
        "is_vulnerable_to",
        "is_vulnerable_to_client_renegotiation_dos",
        "supports_compression",
    )
    return any(value is True for key, value in result.items() if key.startswith(flags))


def tlsfuzzer(port: int) -> None:
    checkout = os.environ.get("TLSFUZZER")
    if not checkout:
        print("tlsfuzzer: not run (TLSFUZZER names no checkout; it is on no package index)")
        return
    python = os.environ.get("TLSFUZZER_PYTHON", sys.executable)
    for script in FUZZER_SCRIPTS:
        run = [python, f"scripts/{script}", "-h", "127.0.0.1", "-p", str(port)]
        shown = subprocess.run(
            run, cwd=checkout, capture_output=True, text=True, check=False, timeout=600
        )
        print(f"tlsfuzzer {script}: exit code {shown.returncode}")
        print("\n".join(shown.stdout.splitlines()[-12:]))


if __name__ == "__main__":
    sys.exit(main())
