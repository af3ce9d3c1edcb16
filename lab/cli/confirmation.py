"""New signers are confirmed: else whoever writes to the directory signs what phones trust."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from conf import ConfError
from lab import LabError, exits
from lab.cli import terminal
from lab.cli.receipts import note
from tvs.changes import Change


class UnconfirmedError(LabError):
    """What nobody confirmed, or not as it was expected; nothing was done."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def confirm_signers(signers: Sequence[Change], *, yes: bool, expected: Path | None) -> str | None:
    """Have each new signer confirmed; answers by what, or None where there is none.

    ``expected`` names a file with the SHA-256 fingerprints that somebody checked, one a line,
    colons and case as they come; every signer must be in it. Raises :class:`UnconfirmedError`.
    """
    fingerprints = read_fingerprints(expected) if expected is not None else None
    if not signers:
        return None
    terminal.say("Phones will trust these as signers of lists and configurations:")
    for change in signers:
        origin = f"{change.cluster}/{change.node}" if change.node else change.file
        terminal.say(f"  {spaced(change.after.sha256)}")
        note(f"      {change.after.type or 'type unknown'}, {change.after.subject}, from {origin}")
    if fingerprints is not None:
        strangers = [c.after.sha256 for c in signers if c.after.sha256 not in fingerprints]
        if strangers:
            raise UnconfirmedError(
                f"{expected} does not name {', '.join(strangers)}; nothing was imported", exits.NO
            )
        return "--expect-fingerprints"
    if yes:
        return "--yes"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UnconfirmedError(
            "signers have to be confirmed: compare the fingerprints with the other cluster's own,"
            " then give --expect-fingerprints FILE or --yes; nothing was imported",
            exits.USAGE,
        )
    terminal.say("Compare them with what the other cluster itself shows.")
    terminal.messages.print("Import them? Type yes: ", end="")
    if sys.stdin.readline().strip().lower() != "yes":
        raise UnconfirmedError("not confirmed; nothing was imported", exits.NO)
    return "prompt"


def read_fingerprints(path: Path) -> set[str]:
    """The SHA-256 fingerprints in a file: one a line, what follows a blank or ``#`` is remark."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfError(f"--expect-fingerprints {path}: {error}") from None
    found = set()
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].split()
        if text:
            digits = text[0].replace(":", "").lower()
            if not re.fullmatch("[0-9a-f]{64}", digits):
                raise ConfError(f"{path}, line {number}: no SHA-256 fingerprint: {text[0]!r}")
            found.add(digits)
    return found


def spaced(sha256: str) -> str:
    """A fingerprint as openssl and keytool print it."""
    return ":".join(sha256[at : at + 2] for at in range(0, len(sha256), 2)).upper()
