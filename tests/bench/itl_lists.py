"""Measure parse, build, sign and verify of lists, each beside the bare RSA operation in it.

``make bench-itl``, or ``.venv/bin/python -m tests.bench.itl_lists [--json]``. Times are the best of
several rounds, in microseconds, on one core. A build repeats certificates of the one before, as a
server's builds do; "first build" has met none of them.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from conf.signer import Signer
from itl import certificates, trustlist
from itl.roles import Role
from itl.signedfile import sign_file
from itl.signing import verify, verify_data
from itl.trustlist import RecordSpec, build_trust_list, parse_trust_list
from tests.itl.forge import Forge

SIZES = (6, 40, 400)
ROUNDS = 7
FILES = 300


def best(operation: Callable[[], object], repeat: int) -> float:
    """Microseconds of one call, in the best round."""
    operation()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(repeat):
            operation()
        times.append((time.perf_counter() - start) / repeat)
    return min(times) * 1e6


def forget() -> None:
    """Empty what is kept of certificates met before."""
    certificates.describe.cache_clear()
    certificates.verification_key.cache_clear()
    trustlist._certificate_parts.cache_clear()


def measure(forge: Forge, signer: Signer, size: int) -> dict[str, float]:
    """All figures of a list of ``size`` records."""
    records = [RecordSpec(Role.SAST, signer.certificate, "node0.lab", "10.0.0.1")]
    records += [
        RecordSpec(
            Role.TVS,
            forge.certificate(
                f"CN=node{n}.lab,OU=Voice,O=Lab,C=US", key=forge.key(2048), serial=n + 1
            ),
            f"node{n}.lab",
            "10.0.0.2",
        )
        for n in range(1, size)
    ]

    def build() -> bytes:
        return build_trust_list(records, signer=signer, filename="ITLFile.tlv", timestamp=1)

    def build_first() -> bytes:
        forget()
        return build()

    data = build()
    document = parse_trust_list(data)
    key, public = signer.private_key, signer.private_key.public_key()
    sha1 = hashes.SHA1()  # noqa: S303 - the digest of the lists
    signature = key.sign(data, PKCS1v15(), sha1)
    repeat = max(3, 600 // size)
    figures = {
        "octets": len(data),
        "bare RSA sign": best(lambda: key.sign(data, PKCS1v15(), sha1), repeat),
        "build": best(build, repeat),
        "first build": best(build_first, 3),
        "sign as a file": best(
            lambda: sign_file(data[9:], name="a.sgn", signer=signer, timestamp=1), repeat
        ),
        "bare RSA verify": best(lambda: public.verify(signature, data, PKCS1v15(), sha1), repeat),
        "verify": best(lambda: verify(document), repeat),
        "parse": best(lambda: parse_trust_list(data), repeat),
        "parse and verify": best(lambda: verify_data(data), repeat),
    }
    figures["build without the signature"] = figures["build"] - figures["bare RSA sign"]
    return figures


def many(forge: Forge, signer: Signer) -> float:
    """Microseconds a file, when :data:`FILES` lists are read and verified one after another."""
    files = [forge.list(signer, timestamp=n) for n in range(FILES)]
    return best(lambda: [verify_data(data) for data in files], 1) / FILES


def main() -> None:
    """Enter from the shell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    forge = Forge(cache(lambda bits: rsa.generate_private_key(65537, bits)))
    signer = forge.signer(2048)
    results = {size: measure(forge, signer, size) for size in SIZES}
    a_file = many(forge, signer)
    if arguments.json:
        sys.stdout.write(json.dumps({"lists": results, "of many, a file": a_file}) + "\n")
        return
    sys.stdout.write(
        f"{'microseconds, RSA-2048, SHA-1':32}" + "".join(f"{n:>8} records" for n in SIZES) + "\n"
    )
    for name in results[SIZES[0]]:
        row = "".join(f"{results[size][name]:16.0f}" for size in SIZES)
        sys.stdout.write(f"{name:32}{row}\n")
    sys.stdout.write(f"{FILES} lists of 3 records, read and verified: {a_file:.0f} a file\n")


if __name__ == "__main__":
    main()
