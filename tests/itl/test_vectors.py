"""Every vector of tests/vectors: one scenario, its verdict, and the kind of failure."""

from pathlib import Path

import pytest

from itl.signing import verify_data

VECTORS = sorted((Path(__file__).parent.parent / "vectors").glob("*.vector"))


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_vector(path):
    head, _, body = path.read_text().partition("\n\n")
    facts = [line.split(": ", 1) for line in head.splitlines()]
    named = dict(facts)
    assert named["source"]
    data = bytes.fromhex(body)
    verification = verify_data(data, lists_only=named["command"] != "sgn")
    assert verification.verdict == named["verdict"]
    found = [f"{finding.code} {finding.text}" for finding in verification.findings]
    for key, wanted in facts:
        if key == "finding":
            assert any(text.startswith(wanted) for text in found), found


def test_there_are_vectors_of_every_verdict():
    assert {path.stem.split("-")[0] for path in VECTORS} == {
        "valid",
        "invalid",
        "malformed",
        "unknown",
    }
