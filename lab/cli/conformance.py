"""``trustlab conformance``: examine a TVS, a TFTP server, a trust list or a signed file."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypedDict

import trio
from cyclopts import App, Parameter

from conf.files import write_whole
from itl.certificates import load_certificates
from lab.cli import reports, terminal
from lab.cli.arguments import Flag, Positive
from lab.conformance import list_suite, sgn_suite, tftp_suite, tvs_suite
from lab.conformance.examination import Progress, chosen, examine
from lab.conformance.model import Check, Report, Verdict
from lab.conformance.tftp_wire import Known, TftpTarget, resolve
from lab.conformance.tlv import Document
from lab.conformance.tvs_wire import TvsTarget
from lab.endpoint import UsageError, parse_endpoint

TVS_PORT, TFTP_PORT = 2445, 69

app = App(
    name="conformance",
    help="Examine a TVS, a TFTP server, a trust list or a signed file, check by check.",
)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Reporting:
    """Which checks, and what is told of them.

    Parameters
    ----------
    check:
        Only the checks of this identifier; * stands for anything. May be repeated.
    strict:
        Count what a CUCM was seen to do ("observed") as well.
    evidence:
        Print what crossed the wire for every check that did not pass.
    json:
        Print one JSON object with all results and their timelines, and nothing else.
    junit:
        Write JUnit XML to this file.
    html:
        Write one HTML page to this file.
    """

    check: list[str] | None = None
    strict: Flag = False
    evidence: Flag = False
    json: Flag = False
    junit: Path | None = None
    html: Path | None = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ServedFiles:
    """What the server is known to hold; what is not named is not observed.

    Parameters
    ----------
    file:
        NAME or NAME=COPY: a file of at least 4096 octets, and a local copy to compare with.
    text:
        NAME=COPY: a text with line ends, for netascii. Else --file serves if it is one.
    empty:
        A file of no octets.
    exact:
        NAME or NAME=COPY: a file whose size is a multiple of 512.
    big:
        NAME or NAME=COPY: a file of more than 524 280 octets: 65 535 blocks of the smallest size.
    generated:
        A file that the server makes up itself.
    missing:
        A file that is not there.
    """

    file: str = "ITLFile.tlv"
    text: str | None = None
    empty: str | None = None
    exact: str | None = None
    big: str | None = None
    generated: str | None = None
    missing: str = "trustlab-no-such-file"


NO_REPORTING = Reporting()
NO_FILES = ServedFiles()


@app.command
def tftp(
    host: str,
    *,
    ipv6: str | None = None,
    writes: Literal["refused", "accepted"] = "refused",
    patience_seconds: Positive = 6.5,
    at_once: int = 6,
    files: ServedFiles = NO_FILES,
    reporting: Reporting = NO_REPORTING,
) -> int:
    """Examine a TFTP server: RFC 1350, 1123, 2347, 2348, 2349, 7440, names, hostile datagrams.

    Exit codes: 0 every required and recommended check passes; 1 some fail; 2 usage; 3 could not
    be told.

    Parameters
    ----------
    host:
        HOST or HOST:PORT.
    ipv6:
        The same server's IPv6 address, [ADDRESS]:PORT.
    writes:
        What the server is to do with a write request. Where it accepts one, an empty file named
        trustlab-conformance-write.tmp stays behind.
    patience_seconds:
        How long an answer or a repetition is waited for.
    at_once:
        Checks that run side by side.
    """
    if at_once < 1:
        raise UsageError("--at-once must be above 0")
    checks = chosen(tftp_suite.CHECKS, reporting.check or ())

    async def run() -> Report:
        target = TftpTarget(
            address=await resolve(*parse_endpoint(host, TFTP_PORT)),
            ipv6=await resolve(*parse_endpoint(ipv6, TFTP_PORT)) if ipv6 else None,
            file=_known(files.file),
            text=_known(files.text) if files.text else None,
            empty=files.empty,
            exact=_known(files.exact) if files.exact else None,
            big=_known(files.big) if files.big else None,
            generated=files.generated,
            missing=files.missing,
            writes_refused=writes == "refused",
            patience_seconds=patience_seconds,
        )
        how = _how(reporting, at_once=at_once)
        return await examine("tftp", target.label, target, checks, **how)

    return _told(trio.run(run), reporting)


@app.command
def tvs(
    host: str,
    *,
    expect_cert: Path | None = None,
    known: Path | None = None,
    unknown: Path | None = None,
    patience_seconds: Positive = 12.0,
    at_once: int = 6,
    reporting: Reporting = NO_REPORTING,
) -> int:
    """Examine a TVS: TLS, answers, malformed requests, clients that harm others.

    Exit codes: 0 every required and recommended check passes; 1 some fail; 2 usage; 3 could not
    be told.

    Parameters
    ----------
    host:
        HOST or HOST:PORT.
    expect_cert:
        The certificate the server must present (PEM or DER).
    known:
        A certificate it trusts.
    unknown:
        One it does not; else one is made on the spot.
    patience_seconds:
        How long an answer, or the end of a silent connection, is waited for.
    at_once:
        Checks that run side by side.
    """
    if at_once < 1:
        raise UsageError("--at-once must be above 0")
    checks = chosen(tvs_suite.CHECKS, reporting.check or ())

    async def run() -> Report:
        target = TvsTarget(
            address=await resolve(*parse_endpoint(host, TVS_PORT)),
            unknown=_certificate(unknown) if unknown else tvs_suite.stranger(),
            expected=_certificate(expect_cert) if expect_cert else None,
            known=_certificate(known) if known else None,
            patience_seconds=patience_seconds,
        )
        how = _how(reporting, at_once=at_once)
        return await examine("tvs", target.label, target, checks, **how)

    return _told(trio.run(run), reporting)


@app.command(name="list")
def trust_list(
    file: Path, *, signer: list[Path] | None = None, reporting: Reporting = NO_REPORTING
) -> int:
    """Examine an ITL or CTL file.

    Parameters
    ----------
    file:
        The list.
    signer:
        A certificate to verify with where the list does not hold its signer's. May be repeated.
    """
    document = _document(file, file.name, signer)
    return _told_of("list", str(file), document, list_suite.CHECKS, reporting)


@app.command
def sgn(
    file: Path,
    *,
    signer: list[Path] | None = None,
    name: str | None = None,
    reporting: Reporting = NO_REPORTING,
) -> int:
    """Examine a signed file (.sgn, firmware).

    Parameters
    ----------
    file:
        The signed file.
    signer:
        A certificate to verify with. May be repeated.
    name:
        The name phones ask for, folder included; else the file's own.
    """
    document = _document(file, name or file.name, signer)
    return _told_of("sgn", str(file), document, sgn_suite.CHECKS, reporting)


def _document(file: Path, name: str, signer: list[Path] | None) -> Document:
    signers = tuple(der for path in signer or () for der in load_certificates(path.read_bytes()))
    return Document(file.read_bytes(), name, signers)


def _told_of(
    suite: str,
    name: str,
    document: Document,
    checks: Sequence[Check[Document]],
    reporting: Reporting,
) -> int:
    picked = chosen(checks, reporting.check or ())
    examined = partial(examine, suite, name, document, picked, **_how(reporting, at_once=1))
    return _told(trio.run(examined), reporting)


class _How(TypedDict):
    at_once: int
    strict: bool
    progress: Progress | None


def _how(reporting: Reporting, *, at_once: int) -> _How:
    progress = None if reporting.json else reports.show_result
    return _How(at_once=at_once, strict=reporting.strict, progress=progress)


def _told(report: Report, reporting: Reporting) -> int:
    if reporting.json:
        terminal.emit(report.as_json())
    elif reporting.evidence:
        for result in report.results:
            if result.verdict is not Verdict.PASS:
                reports.show_evidence(result)
    if reporting.junit is not None:
        write_whole(reporting.junit, reports.junit(report), mode=0o644)
    if reporting.html is not None:
        write_whole(reporting.html, reports.html(report), mode=0o644)
    terminal.say(reports.summary(report))
    return report.exit_code


def _known(text: str) -> Known:
    name, _, copy = text.partition("=")
    if not name:
        raise UsageError(f"{text!r}: NAME or NAME=COPY expected")
    return Known(name, Path(copy).read_bytes() if copy else None)


def _certificate(path: Path) -> bytes:
    return load_certificates(path.read_bytes())[0]
