"""`verify`, `show` and `diff` of lists and signed files: the same for `itl`, `ctl` and `sgn`."""

import os
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from conf.files import write_whole
from itl import ItlError
from itl.certificates import load_certificates
from itl.difference import Comparison, compare
from itl.findings import Finding
from itl.roles import role_name
from itl.show import printable, show_text
from itl.signedfile import SignedFile
from itl.signing import Verdict, Verification, verify_data
from itl.trustlist import Record, TrustList
from itl.values import comparison_value, document_value, verification_value
from lab import LabError, exits
from lab.cli import terminal
from lab.cli.arguments import Flag
from lab.endpoint import UsageError

MAX_BYTES = 256 * 1024 * 1024  # the largest firmware parts have some 100 MB


class UnreadableError(LabError):
    """A file that cannot be read, or holds nothing that this command works on."""


def read_document(path: Path) -> bytes:
    """The octets of a file or pipe, at most :data:`MAX_BYTES`. Raises :class:`UnreadableError`.

    A pipe that nobody holds open to write is empty, instead of waited for.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            size = _size(file.fileno())
            data = file.read(MAX_BYTES + 1) if size <= MAX_BYTES else b""
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UnreadableError(f"{shown_path(path)}: {reason}") from None
    if max(size, len(data)) > MAX_BYTES:
        raise UnreadableError(f"{shown_path(path)}: more than {MAX_BYTES} bytes")
    return data


def _open_at_once(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor


def _size(descriptor: int) -> int:
    """Octets of a file, 0 of a pipe. Raises ValueError for a device, which may have no end."""
    status = os.fstat(descriptor)
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        raise ValueError("a device")
    return status.st_size


def check_place(path: Path) -> None:
    """Refuse a path where no file can be written. Raises :class:`~lab.endpoint.UsageError`.

    Renaming over a device or pipe would replace it, for root even ``/dev/null``.
    """
    if path.exists() and not path.is_file():
        raise UsageError(f"{shown_path(path)}: there, and not a file")
    if not path.parent.is_dir():
        raise UsageError(f"{shown_path(path)}: no such folder")


def write_file(path: Path, data: bytes, mode: int) -> None:
    """Write a file whole. Raises :class:`~lab.endpoint.UsageError` as :func:`check_place` does."""
    check_place(path)
    write_whole(path, data, mode=mode)


def shown_path(path: Path) -> str:
    """A path as text: octets that are not UTF-8 and control characters are escaped."""
    return printable(os.fsencode(path).decode("utf-8", "backslashreplace"))


def read_certificate(path: Path) -> bytes:
    """The first certificate of a PEM or DER file; a warning says so where it holds more."""
    try:
        first, *others = load_certificates(read_document(path))
    except ItlError as error:
        raise UnreadableError(f"{shown_path(path)}: {error}") from None
    if others:
        text = f"warning: {shown_path(path)}: {1 + len(others)} certificates, the first is used"
        terminal.say(text)
    return first


def verify_command(group: str) -> Callable[..., int]:
    """`trustlab itl|ctl|sgn verify`, by ``group``."""

    def verify(*files: Path, signer: Path | None = None, json: Flag = False) -> int:
        """Check structure and signature of files; nothing else decides on the verdict.

        Exit code 0: all valid; 1: some invalid, none worse; 3: any malformed, or unknown because no
        certificate of its signer is at hand, or not readable.

        Parameters
        ----------
        files:
            The files, as many as there are.
        signer:
            A certificate (PEM or DER): verify with this one, whatever signer a file names.
        json:
            Print one JSON object for each file: file, verdict, signer, findings.
        """
        if not files:
            raise UsageError("name one file or more")
        certificate = None if signer is None else read_certificate(signer)
        now = datetime.now(UTC)
        verdicts = set()
        for path in files:
            verification = _verify_file(path, group, certificate, now)
            verdicts.add(verification.verdict)
            if json:
                value = verification_value(verification)
                terminal.emit({"file": shown_path(path), **value})
            else:
                _print_verification(shown_path(path), verification)
        if verdicts & {Verdict.MALFORMED, Verdict.UNKNOWN}:
            return exits.UNKNOWN
        return exits.NO if Verdict.INVALID in verdicts else 0

    return verify


def show_command(group: str) -> Callable[..., int]:
    """`trustlab itl|ctl|sgn show`, by ``group``."""

    def show(file: Path, *, json: Flag = False) -> int:
        """Print a file element by element, in the words of CUCM's `show itl` and `show ctl`.

        Parameters
        ----------
        file:
            The file.
        json:
            Print one JSON object instead.
        """
        document = load_document(file, group)
        if json:
            terminal.emit({"file": shown_path(file), **document_value(document)})
        else:
            sys.stdout.write(show_text(document))
        return 0

    return show


def diff(before: Path, after: Path, *, json: Flag = False) -> int:
    """Compare two lists: what comes and goes, and what a phone that holds the first does.

    Exit code 0: the same certificates in the same roles; 1: others; 3: a list cannot be read.

    Parameters
    ----------
    before:
        The list phones hold.
    after:
        The list they are offered.
    json:
        Print one JSON object instead.
    """
    # what is no list does not come back from load_document("itl")
    held, offered = (cast("TrustList", load_document(path, "itl")) for path in (before, after))
    comparison = compare(held, offered)
    if json:
        terminal.emit(comparison_value(comparison))
    else:
        _print_comparison(comparison)
    return 0 if comparison.same_trust else exits.NO


def load_document(path: Path, group: str) -> TrustList | SignedFile:
    """The document in a file. Raises :class:`UnreadableError` saying what the file is instead."""
    verification = verify_data(read_document(path), lists_only=group != "sgn")
    if verification.document is None:
        raise UnreadableError(f"{shown_path(path)}: {printable(verification.findings[0].text)}")
    return verification.document


def output(line: str = "") -> None:
    """One line on standard output, nothing in it able to drive a terminal."""
    sys.stdout.write(f"{printable(line)}\n")


def _verify_file(path: Path, group: str, certificate: bytes | None, now: datetime) -> Verification:
    try:
        data = read_document(path)
    except UnreadableError as error:
        return Verification(Verdict.UNKNOWN, None, (Finding("unreadable", str(error)),))
    verification = verify_data(data, signer=certificate, now=now, lists_only=group != "sgn")
    document = verification.document
    if group == "sgn" or not isinstance(document, TrustList) or document.kind == group.upper():
        return verification
    text = f"FILENAME (14) is {document.header.filename!r}: the header of another kind of list"
    findings = (*verification.findings, Finding("other-list", text))
    return replace(verification, findings=findings)


def _print_verification(name: str, verification: Verification) -> None:
    signer = verification.signer
    by = ""
    if signer is not None and verification.verdict is Verdict.VALID:
        source = "the certificate given" if signer.record is None else f"record {signer.record}"
        by = f", signed by {signer.subject} ({source})"
    output(f"{name}: {verification.verdict}{by}")
    for finding in verification.findings:
        output(f"    {finding.code}: {finding.text}")


def _print_comparison(comparison: Comparison) -> None:
    for record in comparison.gone:
        output(f"- {_record_text(record)}")
    for record in comparison.come:
        output(f"+ {_record_text(record)}")
    for change in comparison.changed:
        output(f"~ {_record_text(change.before)}")
        output(f"  now {_record_text(change.after)}")
    if comparison.same_trust:
        output("the same certificates in the same roles")
    output(f"a phone that holds the first and is offered the second: {comparison.reaction}")
    output(f"    {comparison.reason}")


def _record_text(record: Record) -> str:
    where = f" ({record.dns_name})" if record.dns_name else ""
    if record.certificate is None:
        return f"{role_name(record.role)} without certificate{where}"
    return f"{role_name(record.role)} {record.subject}, serial {record.serial.hex()}{where}"
