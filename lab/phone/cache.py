"""The phone's memory of what TVS vouched for. Pure: the time is an argument.

A phone keeps a positive answer for the lifetime it came with (Cisco document 213407: "expires in 24
hours"). That it is also forgotten with the list that named its TVS is assumed, as the safe choice.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from lab.phone.trust import Answer, Held, Question, tvs_certificates


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """A positive answer kept for its lifetime."""

    answer: Answer
    issuer: str
    serial: bytes
    expires: datetime


def recall(
    cache: Iterable[CachedAnswer], held: Held, question: Question, now: datetime
) -> Answer | None:
    """The answer to ``question`` in ``cache``, if it is in force and its TVS still in the list."""
    believed = tvs_certificates(held)
    for entry in cache:
        if (
            (entry.issuer, entry.serial) == (question.issuer, question.serial)
            and now < entry.expires
            and entry.answer.server_certificate in believed
        ):
            return entry.answer
    return None


def remember(
    cache: tuple[CachedAnswer, ...], question: Question, answer: Answer, now: datetime
) -> tuple[CachedAnswer, ...]:
    """``cache`` with a positive ``answer`` in it for its lifetime, and without what has expired."""
    kept = tuple(entry for entry in cache if now < entry.expires)
    life = timedelta(seconds=answer.lifetime_seconds or 0)
    return (*kept, CachedAnswer(answer, question.issuer, question.serial, now + life))
