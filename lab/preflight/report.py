"""The result shown: as plain values, and as one page of HTML that needs nothing else."""

from base64 import b64encode
from collections.abc import Iterator
from hashlib import md5, sha256

from jinja2 import Environment, PackageLoader, StrictUndefined

from lab.preflight.examination import Preflight
from lab.preflight.places import Side
from lab.preflight.rehearsal import Move
from lab.preflight.simulation import Simulation


def as_values(
    found: Preflight, simulation: Simulation | None = None, *, octets: bool = False
) -> dict[str, object]:
    """What ``--json`` prints; with ``octets`` every file looked at is in it as base64."""
    return {
        "verdict": found.verdict,
        "exit_code": found.exit_code,
        "made": found.made,
        "checks": [
            {
                "check": finding.check,
                "verdict": finding.result,
                "text": finding.text,
                "evidence": finding.evidence,
                "remedy": finding.remedy,
            }
            for finding in found.findings
        ],
        "moves": [_move(move) for move in found.moves],
        "simulation": simulation and simulation.as_values(),
        "tvs": [server.where for server in found.source.tvs or ()],
        "files": [
            file for side in (found.source, found.destination) for file in _files(side, octets)
        ],
    }


def as_html(found: Preflight, simulation: Simulation | None = None) -> str:
    """One self-contained page; everything from files and servers is escaped."""
    environment = Environment(
        loader=PackageLoader("lab.preflight"), autoescape=True, undefined=StrictUndefined
    )
    values = as_values(found, simulation)
    return environment.get_template("preflight.html.j2").render(values)


def _move(move: Move) -> dict[str, object]:
    return {
        "holder": move.holder,
        "node": move.node,
        "model": move.model,
        "follows": move.follows,
        "problem": move.problem,
        "steps": [
            {
                "file": step.file,
                "outcome": step.verdict.outcome.value,
                "reason": step.verdict.explain(),
                "tvs": [inquiry.report() for inquiry in step.inquiries],
            }
            for step in move.steps
        ],
    }


def _files(side: Side, octets: bool) -> Iterator[dict[str, object]]:  # noqa: FBT001 - passed on
    for node in side.nodes:
        for file in (node.ctl, node.itl, node.configuration):
            if file.data is None:
                continue
            yield {
                "side": side.label,
                "where": node.where,
                "name": file.name,
                "length": len(file.data),
                "sha256": sha256(file.data).hexdigest(),
                "md5": md5(file.data, usedforsecurity=False).hexdigest(),
                **({"base64": b64encode(file.data).decode()} if octets else {}),
            }
