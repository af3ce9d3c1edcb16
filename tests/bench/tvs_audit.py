"""Public TLS test tools against the modern profile: ``make tls-audit``.

sslyze and tlsfuzzer run from the interpreters given as arguments, each in an environment of its
own. tlsfuzzer is on no package index: the environment variable TLSFUZZER names a checkout
(github.com/tlsfuzzer/tlsfuzzer), without which it is not run. What the tools find is printed; the
exit code is 1 if the daemon did not live through them, if its log holds a traceback, or if there is
a finding beyond the ones explained here.
"""
# ruff: noqa: T201 - a program that prints

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.tvs_node import TRUSTLAB, make_node
from tests.daemons import serving
from tvs.messages import Command, Request, encode_request

# What Mozilla's "intermediate" web configuration asks for and a TVS cannot or need not give.
EXPECTED = {
    "certificate_path_validation": "phones compare it with their list, octet by octet",
    "maximum_certificate_lifespan": "CUCM's own certificates are valid for five years",
    "tls_curves": "X448 and secp521r1 are OpenSSL's defaults; neither is weak",
}
ADAPTED = Path(__file__).with_name("tlsfuzzer_tvs.py")
DHE, ALL = ("-d",), ("-n", "0")
SCRIPTS = {
    "test-conversation": DHE,
    "test-early-application-data": DHE,
    "test-ecdhe-rsa-key-exchange-with-bad-messages": (),
    "test-fuzzed-ciphertext": DHE,
    "test-invalid-content-type": DHE,
    "test-message-skipping": DHE,
    "test-record-layer-fragmentation": DHE,
    "test-renegotiation-disabled": DHE,
    "test-sslv2-connection": (),
    "test-truncating-of-client-hello": DHE,
    "test-zero-length-data": DHE,
    "test-tls13-ccs": (),
    "test-tls13-conversation": (),
    "test-tls13-empty-alert": (),
    "test-tls13-finished": ALL,
    "test-tls13-keyupdate": ALL,
    "test-tls13-record-layer-limits": ALL,
    "test-tls13-zero-length-data": (),
}
# Conversations that end otherwise than tlsfuzzer wants: script, conversation, what it was told, why
# that is harmless. All of it is OpenSSL's doing.
WORD = "refused all the same: OpenSSL's word is illegal_parameter, the RFC's decode_error"
LOST = "refused likewise, while the client was still sending: the alert is lost with the connection"
PADDED = "OpenSSL bounds the sealed record and the content in it, not the content with its padding"
EXPLAINED = (
    ("truncating-of-client-hello", "(huge|max) pad: ", "illegal_parameter", WORD),
    ("truncating-of-client-hello", "(huge|max) pad: ", "Unexpected closure", LOST),
    ("truncating-of-client-hello", "hello truncate: 169 ", "illegal_parameter", WORD),
    ("tls13-finished", "padding - ", "illegal_parameter", WORD),
    ("tls13-keyupdate", "large KeyUpdate message", "illegal_parameter", WORD),
    ("tls13-record-layer-limits", r"max size payload \(2\*\*14\)", "illegal_parameter", WORD),
    ("tls13-record-layer-limits", "too big plaintext, size: ", "close_notify", PADDED),
    ("tls13-record-layer-limits", "max size of Finished msg", "Timeout", PADDED),
    (
        "tls13-keyupdate",
        "app data split",
        "Timeout",
        "OpenSSL's own key update goes out with the next data it sends, as RFC 8446, 4.6.3 allows",
    ),
    (
        "message-skipping",
        "skip all but Finished in TLS 1.3",
        "client handshake traffic secret",
        "nothing was sent: the script is younger than the checkout's library",
    ),
)


def main() -> int:
    bad = []
    with tempfile.TemporaryDirectory() as scratch:
        node = make_node(Path(scratch) / "node")
        with serving(node.state) as daemon:
            port = daemon.tvs[1]
            bad += sslyze(sys.argv[1], port, Path(scratch) / "sslyze.json")
            bad += tlsfuzzer(sys.argv[2], port, node.certificate.read_bytes())
            asked = [TRUSTLAB, "tvs", "verify", f"127.0.0.1:{port}", node.certificate, "--json"]
            if subprocess.run(asked, capture_output=True, check=False).returncode:
                bad.append("the daemon answers no longer")
        if "Traceback" in node.state.with_name(f"{node.state.name}.log").read_text():
            bad.append("a traceback is in the daemon's log")
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


def tlsfuzzer(python: str, port: int, certificate: bytes) -> list[str]:
    """Run tlsfuzzer's scripts; answers what is not explained."""
    checkout = os.environ.get("TLSFUZZER")
    if not checkout:
        print("tlsfuzzer: not run (TLSFUZZER names no checkout; it is on no package index)")
        return []
    request = encode_request(
        Request(Command.VERIFY_REQUEST, b"\1\2\3\4", device="SEP0", certificate=certificate)
    )
    answer = exchange(port, request)
    unexplained = []
    for script, options in SCRIPTS.items():
        run = [python, ADAPTED, checkout, script, request.hex(), answer.hex()]
        run += ["-h", "127.0.0.1", "-p", str(port), *options]
        unexplained += [f"{script}: {finding}" for finding in run_script(script, run)]
    return unexplained


def run_script(script: str, run: list[str | Path]) -> list[str]:
    """Run one script; answers what is not explained, when run again alone too.

    Some conversations give an answer 0.1 seconds, which a busy machine can exceed.
    """
    shown = subprocess.run(run, capture_output=True, text=True, check=False, timeout=900)
    outcomes = read_outcomes(shown.stdout)
    if not outcomes:
        return [f"did not run: {shown.stderr.strip()[-200:]}"]
    # test-sslv2-connection is content, code 0, when all its connections fail
    failed = {name: error for name, error in outcomes if error and shown.returncode}
    print(f"tlsfuzzer {script}: {len(outcomes) - len(failed)} of {len(outcomes)} as wanted")
    unexplained = []
    for name, error in failed.items():
        reason = explanation(script, name, error)
        if reason is None:
            again = subprocess.run([*run, name], capture_output=True, check=False, timeout=900)
            reason = "NOT EXPLAINED" if again.returncode else "as wanted when run again"
            unexplained += [f"{name}: {error}"] if again.returncode else []
        print(f"    {name}: {error}: {reason}")
    return unexplained


def exchange(port: int, request: bytes) -> bytes:
    """The octets with which the TVS answers ``request``."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as connected,
        context.wrap_socket(connected) as tls,
    ):
        tls.sendall(request)
        return tls.recv(65536)


def read_outcomes(output: str) -> list[tuple[str, str]]:
    """The conversations of a script's output, each with its error (empty: it went as wanted)."""
    ran = output.partition("Test end")[0]
    pieces = re.split(r"^(.+) \.\.\.\n", ran, flags=re.MULTILINE)[1:]
    found = []
    for name, text in zip(pieces[::2], pieces[1::2], strict=True):
        errors = re.findall(r"^\w*(?:Error|Exception)\b.*", text, flags=re.MULTILINE)
        found.append((name, errors[-1] if errors else ""))
    return found


def explanation(script: str, name: str, error: str) -> str | None:
    """Why a conversation that failed with ``error`` is harmless, if that is known."""
    for about, conversation, told, reason in EXPLAINED:
        if script == f"test-{about}" and re.match(conversation, name) and told in error:
            return reason
    return None


if __name__ == "__main__":
    sys.exit(main())
