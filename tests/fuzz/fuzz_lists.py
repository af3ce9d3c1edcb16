"""Fuzz the readers of lists and signed files: ``make fuzz`` (``SECONDS=600`` for longer).

With atheris installed (``pip install atheris``; it is no requirement of this project) the run is
guided by coverage and ends at the first input that breaks a promise, which is left in a file; its
own options may follow: ``python -m tests.fuzz.fuzz_lists -runs=100000``. Without it, the vectors
are changed at random.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fuzz.examine import examine

VECTORS = Path(__file__).parent.parent / "vectors"
KEY = rsa.generate_private_key(65537, 1024)  # noqa: S505 - opens nothing, made again each run
SPLICES = (b"", b"\x00", b"\xff\xff", b"\x01\x00\x02", b"\x0d", b"\x00\x00")


def samples() -> list[bytes]:
    """The octets of every vector."""
    return [
        bytes.fromhex(path.read_text().partition("\n\n")[2])
        for path in sorted(VECTORS.glob("*.vector"))
    ]


def test_one_input(data: bytes) -> None:
    """What atheris calls."""
    examine(data, KEY)


def guided(seconds: int, options: list[str]) -> None:
    """Let atheris look for inputs; it ends the process by itself."""
    import atheris  # noqa: PLC0415 - no requirement of this project

    atheris.instrument_all()
    with tempfile.TemporaryDirectory(prefix="trustlab-fuzz-") as corpus:
        for number, data in enumerate(samples()):
            (Path(corpus) / str(number)).write_bytes(data)
        arguments = [sys.argv[0], corpus, f"-max_total_time={seconds}", "-max_len=20000", *options]
        atheris.Setup(arguments, test_one_input)
        atheris.Fuzz()


def unguided(seconds: int, seed: int) -> None:
    """Change the vectors at random; the seed makes a run repeatable."""
    chance = random.Random(seed)
    originals, end, runs = samples(), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data = chance.choice(originals)
        for _ in range(chance.randint(1, 4)):
            at = chance.randint(0, len(data))
            new = chance.choice((*SPLICES, chance.randbytes(chance.randint(1, 4))))
            data = data[:at] + new + data[at + chance.choice((0, len(new), 3, 200)) :]
        try:
            examine(data, KEY)
        except Exception:
            Path("fuzz-failure.bin").write_bytes(data)
            sys.stderr.write(f"seed {seed}, run {runs}: the input is in fuzz-failure.bin\n")
            raise
        runs += 1
    sys.stderr.write(f"seed {seed}: {runs} inputs in {seconds} s, no promise broken\n")


def main() -> None:
    """Enter from the shell."""
    parser = argparse.ArgumentParser(description="Fuzz the readers of lists and signed files.")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    known, options = parser.parse_known_args()
    try:
        guided(known.seconds, options)
    except ModuleNotFoundError as error:
        if error.name != "atheris":
            raise
        sys.stderr.write("atheris is not installed: unguided\n")
        unguided(known.seconds, known.seed)


if __name__ == "__main__":
    main()
