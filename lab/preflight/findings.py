"""What a check says: its result, the facts it rests on, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum, unique


@unique
class Result(StrEnum):
    """How a check came out; FAIL is kept for what stops the move."""

    PASS = "pass"  # noqa: S105 - the rule sees a password in the name
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "could not tell"


@dataclass(frozen=True)
class Finding:
    """One check: ``evidence`` are the facts it rests on, ``remedy`` one sentence to act on."""

    check: str
    result: Result
    text: str
    evidence: tuple[str, ...] = ()
    remedy: str = ""
