"""Measure parse, build, sign and verify of lists, each beside the bare RSA operation in it.

``make bench-itl``, or ``.venv/bin/python -m tests.bench.itl_lists [--json]``. Figures are
microseconds of processor time on one core, the median of several rounds in which all operations
take turns. A build repeats certificates and hosts of the one before, as a server's builds do;
"first build" has met none of them.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import cache
from statistics import median

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from conf.signer import Signer
from itl import certificates, records
from itl.roles import Role
from itl.signedfile import sign_file
from itl.signing import verify, verify_data
from itl.trustlist import RecordSpec, build_trust_list, parse_trust_list
from tests.itl.forge import Forge

SIZES = (6, 40, 400)
ROUNDS = 25
FILES = 300
PARSE_MARK = 1000  # microseconds for a list of SIZES[0] records
BEND = 1.5  # growth is called linear while a record of a long list costs no more than this factor

Operations = dict[str, tuple[Callable[[], object], int]]


def medians(operations: Operations) -> dict[str, float]:
    """Microseconds of one call of each operation, which is called so often in a round."""
    times: dict[str, list[float]] = {name: [] for name in operations}
    for _ in range(ROUNDS):
        for name, (operation, repeat) in operations.items():
            start = time.process_time()
            for _ in range(repeat):
                operation()
            times[name].append((time.process_time() - start) / repeat * 1e6)
    return {name: median(taken) for name, taken in times.items()}


def forget() -> None:
    """Empty what is kept of certificates met before."""
    certificates.describe.cache_clear()
    certificates.verification_key.cache_clear()
    records.record_octets.cache_clear()


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
    often = max(3, 200 // size)
    figures = medians(
        {
            "bare RSA sign": (lambda: key.sign(data, PKCS1v15(), sha1), often),
            "build": (build, often),
            "first build": (build_first, 1),
            "sign as a file": (
                lambda: sign_file(data[9:], name="a.sgn", signer=signer, timestamp=1),
                often,
            ),
            "bare RSA verify": (lambda: public.verify(signature, data, PKCS1v15(), sha1), often),
            "verify": (lambda: verify(document), often),
            "parse": (lambda: parse_trust_list(data), often),
            "parse and verify": (lambda: verify_data(data), often),
        }
    )
    figures["build without the signature"] = figures["build"] - figures["bare RSA sign"]
    return {"octets": len(data), **figures}


def marks(results: dict[int, dict[str, float]]) -> list[str]:
    """What must hold, and whether it does in these figures."""
    least, middle, most = SIZES
    held = {f"parsing {least} records takes less than 1 ms": results[least]["parse"] < PARSE_MARK}
    for size, figures in results.items():
        said = f"what is around the signature of {size} records costs less than the signature"
        held[said] = figures["build without the signature"] < figures["bare RSA sign"]
    for name in ("parse", "verify", "build without the signature"):
        near = (results[middle][name] - results[least][name]) / (middle - least)
        far = (results[most][name] - results[middle][name]) / (most - middle)
        said = f"{name}: a record more costs {near:.1f} up to {middle}, {far:.1f} up to {most}"
        held[said] = far < BEND * near
    return [f"{said}: {'yes' if true else 'no'}" for said, true in held.items()]


def many(forge: Forge, signer: Signer) -> float:
    """Microseconds a file, when :data:`FILES` lists are read and verified one after another."""
    files = [forge.list(signer, timestamp=n) for n in range(FILES)]
    taken = medians({"all": (lambda: [verify_data(data) for data in files], 1)})
    return taken["all"] / FILES


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
        figures = {"lists": results, "of many, a file": a_file, "marks": marks(results)}
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    sys.stdout.write(
        f"{'microseconds, RSA-2048, SHA-1':32}" + "".join(f"{n:>8} records" for n in SIZES) + "\n"
    )
    for name in results[SIZES[0]]:
        row = "".join(f"{results[size][name]:16.0f}" for size in SIZES)
        sys.stdout.write(f"{name:32}{row}\n")
    sys.stdout.write(f"{FILES} lists of 3 records, read and verified: {a_file:.0f} a file\n")
    sys.stdout.write("".join(f"{mark}\n" for mark in marks(results)))


if __name__ == "__main__":
    main()
