"""A report for people (a terminal, one HTML page) and for machines (JUnit XML)."""

import xml.etree.ElementTree as ET
from datetime import UTC

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.text import Text

from lab.cli import terminal
from lab.conformance.model import Report, Result, Standing, Verdict
from lab.text import OCTETS, clean

COLOURS = {
    Verdict.PASS: "green",
    Verdict.FAIL: "red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.NOT_APPLICABLE: "dim",
}
WIDTH = 14
# Characters that XML 1.0 cannot hold, not even escaped.
_NOT_XML = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 65534, 65535), "�")


def show_result(result: Result) -> None:
    """Print one result on the terminal."""
    line = Text(f"{result.verdict.value:{WIDTH}}", COLOURS[result.verdict])
    line.append(f"  {result.identifier:30} ", "bold")
    line.append(f"{result.standing.value:11}  ", "dim")
    line.append(clean(result.reason))
    terminal.console.print(line, soft_wrap=True)


def show_evidence(result: Result) -> None:
    """Print what a check that is not passed demanded, its source, and what crossed the wire."""
    terminal.console.print(f"\n{result.identifier}: {result.demand}", soft_wrap=True)
    terminal.console.print(f"  source: {result.source}", soft_wrap=True)
    terminal.console.print(f"  {clean(result.reason)}", soft_wrap=True)
    for moment in result.timeline:
        what = moment.octets.hex(" ", 4) if moment.kind != "note" else clean(moment.text)
        cut = f" … {moment.length} octets" if moment.length > len(moment.octets) else ""
        terminal.console.print(
            f"  {moment.milliseconds:>9.1f} ms  {moment.kind:8} {moment.peer}  {what}{cut}",
            soft_wrap=True,
        )
    if result.left_out:
        terminal.console.print(f"  … and {result.left_out} more")


def summary(report: Report) -> str:
    """The whole run in one line."""
    counts = ", ".join(f"{report.count(verdict)} {verdict.value}" for verdict in Verdict)
    word = {
        Verdict.PASS: "conforms",
        Verdict.FAIL: f"does not conform: {', '.join(one.identifier for one in report.failures)}",
    }.get(report.verdict, "could not be told")
    return f"{report.suite} {report.target} {word} ({counts})"


def junit(report: Report) -> bytes:
    """JUnit XML: a case for each check; a failure that does not count is skipped, with why."""
    failures = {result.identifier for result in report.failures}
    unclear = [one for one in report.results if _unclear(one)]
    suite = ET.Element(
        "testsuite",
        name=_xml(f"trustlab conformance {report.suite} {report.target}"),
        timestamp=report.started.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        tests=str(len(report.results)),
        failures=str(len(failures)),
        errors=str(len(unclear)),
        skipped=str(sum(_skipped(one, failures) for one in report.results)),
        time=f"{sum(one.milliseconds for one in report.results) / 1000:.3f}",
    )
    for result in report.results:
        case = ET.SubElement(
            suite,
            "testcase",
            classname=f"{report.suite}.{result.standing.value}",
            name=result.identifier,
            time=f"{result.milliseconds / 1000:.3f}",
        )
        words = _xml(f"{result.verdict.value}: {result.reason}")
        if result.identifier in failures:
            ET.SubElement(case, "failure", message=words).text = _xml(_evidence(result))
        elif _unclear(result):
            ET.SubElement(case, "error", message=words).text = _xml(_evidence(result))
        elif _skipped(result, failures):
            ET.SubElement(case, "skipped", message=words)
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def html(report: Report) -> bytes:
    """One page that needs nothing else: the table, and each check's evidence."""
    loader = PackageLoader("lab.conformance", "templates")
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    page = pages.get_template("report.html")
    text = page.render(report=report, summary=summary(report), verdicts=list(Verdict), clean=clean)
    return text.encode("utf-8", OCTETS)


def _unclear(result: Result) -> bool:
    return result.verdict is Verdict.INCONCLUSIVE and result.standing is Standing.REQUIRED


def _skipped(result: Result, failures: set[str]) -> bool:
    return (
        result.verdict is not Verdict.PASS
        and result.identifier not in failures
        and not _unclear(result)
    )


def _evidence(result: Result) -> str:
    lines = [f"demand: {result.demand}", f"source: {result.source}"]
    for moment in result.timeline:
        what = moment.octets.hex() or moment.text
        lines.append(f"{moment.milliseconds} ms {moment.kind} {moment.peer} {what}")
    return "\n".join(lines)


def _xml(text: str) -> str:
    return text.translate(_NOT_XML).encode("utf-8", OCTETS).decode()
