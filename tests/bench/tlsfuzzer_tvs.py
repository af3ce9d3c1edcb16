"""One script of tlsfuzzer against a TVS: ``tlsfuzzer_tvs.py CHECKOUT SCRIPT REQUEST ANSWER ...``.

The scripts talk to a web server. In a conversation that awaits an answer the web request gives way
to REQUEST, in pieces of the same lengths, and the answer has to be ANSWER, octet for octet (both in
hexadecimal). A conversation that awaits no answer sends what the script sends. Where a script asks
for AES-CBC, which the modern profile has not, AES-GCM with the same key exchange takes its place.
Runs in tlsfuzzer's environment; what follows ANSWER are the script's own arguments.
"""

import runpy
import sys
from pathlib import Path
from typing import Any

FILLER = 0xEE  # an element without meaning, which a TVS passes over
LENGTH_AT = 8  # of the body, in a request's header of ten octets


def main() -> None:
    checkout, script, request, answer, *rest = sys.argv[1:]
    sys.path.insert(0, checkout)
    adapt(bytes.fromhex(request), bytes.fromhex(answer))
    moved = Path(checkout) / "tlsfuzzer/_apps" / f"{script.replace('-', '_')}.py"
    path = moved if moved.exists() else Path(checkout) / "scripts" / f"{script}.py"
    sys.argv = [script, *rest]
    runpy.run_path(str(path), run_name="__main__")


def adapt(request: bytes, answer: bytes) -> None:
    """Change tlsfuzzer's Runner, ciphers and expectations before a script uses them."""
    # here, since only now the path leads to the checkout
    from tlsfuzzer import helpers, runner  # noqa: PLC0415 # type: ignore[import-not-found]
    from tlslite.constants import CipherSuite  # noqa: PLC0415 # type: ignore[import-not-found]

    CipherSuite.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA = (
        CipherSuite.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
    if not hasattr(helpers, "cipher_suite_to_id"):  # younger scripts name it in their imports
        helpers.cipher_suite_to_id = lambda name: getattr(CipherSuite, name)
    make = runner.Runner.__init__

    def make_runner(self: Any, conversation: Any) -> None:
        ask(conversation, request, answer)
        make(self, conversation)

    runner.Runner.__init__ = make_runner


def ask(conversation: Any, request: bytes, answer: bytes) -> None:
    """Put ``request`` in place of a conversation's web request, if it awaits an answer."""
    sent, awaited = [], []
    for node in nodes(conversation):
        kind = type(node).__name__
        if kind == "ApplicationDataGenerator" and node.payload:
            sent.append(node)
        elif kind == "ExpectApplicationData":
            awaited.append(node)
    text = b"".join(bytes(node.payload) for node in sent)
    if not awaited or not text.startswith(b"GET "):
        return
    octets = filled(request, len(text))
    for node in sent[:-1]:
        size = len(node.payload)
        node.payload, octets = bytearray(octets[:size]), octets[size:]
    sent[-1].payload = bytearray(octets)
    for node in awaited:
        node.data = answer


def nodes(first: Any) -> list[Any]:
    """Every node of a conversation once, in the order of its main path."""
    found: list[Any] = []
    waiting = [first]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.append(node)
            waiting += [node.next_sibling, node.child]
    return found


def filled(request: bytes, size: int) -> bytes:
    """``request`` with an element without meaning at its end, so that it has ``size`` octets."""
    more = size - len(request) - 3
    if more < 0:
        return request
    element = bytes([FILLER]) + more.to_bytes(2, "big") + bytes(more)
    length = len(request) + len(element) - LENGTH_AT - 2
    return request[:LENGTH_AT] + length.to_bytes(2, "big") + request[LENGTH_AT + 2 :] + element


if __name__ == "__main__":
    main()
