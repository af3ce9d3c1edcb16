"""What a TVS would answer from certificates in files: a node's store, or bundles."""

from datetime import UTC, datetime

from lab.phone.trust import Answer, Question
from tvs.answers import AnswerPolicy, answer
from tvs.messages import Command, Request
from tvs.snapshot import Snapshot

_SESSION = (1001).to_bytes(4)


def ask_store(
    question: Question, snapshot: Snapshot, policy: AnswerPolicy, server_certificate: bytes = b""
) -> tuple[Answer, str]:
    """The answer, as from a TVS with ``server_certificate``; and why."""
    request = Request(
        command=Command.QUERY_REQUEST,
        session=_SESSION,
        subject=question.subject,
        issuer=question.issuer,
        serial=question.serial,
    )
    found = answer(request, snapshot, policy, datetime.now(UTC))
    response = found.response
    said = Answer(
        server_certificate=server_certificate,
        status=response.status,
        roles=response.roles or (),
        certificate=response.certificate,
        lifetime_seconds=response.ttl_seconds,
    )
    return said, found.reason
