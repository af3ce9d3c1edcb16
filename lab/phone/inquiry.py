"""How a phone asks TVS: server after server, each one's certificate compared before it is asked.

Whoever judges a file passes in how questions are answered, so that a phone asks over TLS, and the
pre-flight also a store in a file, with the same rules around.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeAlias

from itl.roles import role_name
from lab.phone.configuration import TvsServer
from lab.phone.trust import Answer, Outcome, Question, Reason, Verdict
from tvs import TvsError
from tvs.client import connect
from tvs.tls import ClientProfile

CACHE = "cache"  # the ``server`` of an answer that the phone remembers


@dataclass(frozen=True, slots=True)
class Inquiry:
    """One server asked, or not asked because it is a ``stranger``; ``answer`` None for no answer.

    ``server_certificate`` are the DER octets it presented, as far as the conversation came.
    """

    server: str
    question: Question
    answer: Answer | None = None
    server_certificate: bytes | None = None
    stranger: bool = False
    text: str = ""

    @property
    def outcome(self) -> str:
        """In two words what came of it."""
        if self.stranger:
            return "stranger"
        if self.answer is None:
            return "no answer"
        return "trusted" if self.answer.status == 0 else "not trusted"

    def report(self) -> dict[str, object]:
        """The question and the answer as plain values."""
        answer = self.answer
        return {
            "server": self.server,
            "outcome": self.outcome,
            "asked": {
                "subject": self.question.subject,
                "issuer": self.question.issuer,
                "serial": self.question.serial.hex(),
            },
            "status": answer and answer.status,
            "roles": [{"code": role, "name": role_name(role)} for role in answer.roles]
            if answer
            else [],
            "ttl": answer and answer.lifetime_seconds,
            "certificate": answer and _fingerprint(answer.certificate),
            "server_certificate": _fingerprint(self.server_certificate),
            "text": self.text,
        }


Ask: TypeAlias = Callable[[Question], Awaitable[Sequence[Inquiry]]]


async def settle(
    judge: Callable[[Answer | None], Verdict], ask: Ask
) -> tuple[Verdict, Sequence[Inquiry]]:
    """The last word of ``judge``, after asking if it wants to; and what was asked."""
    verdict = judge(None)
    if verdict.question is None:
        return verdict, ()
    inquiries = await ask(verdict.question)
    if not inquiries:
        return Verdict(Outcome.REFUSE, Reason.NO_TVS_SERVERS), ()
    answer = inquiries[-1].answer
    if answer is not None:
        return judge(answer), inquiries
    reason = Reason.TVS_STRANGER if all(one.stranger for one in inquiries) else Reason.NO_ANSWER
    detail = "; ".join(f"{one.server}: {one.text}" for one in inquiries)
    return Verdict(Outcome.REFUSE, reason, detail), inquiries


async def inquire(
    question: Question,
    servers: Sequence[TvsServer],
    *,
    believed: frozenset[bytes],
    device: str,
    tls_profile: ClientProfile,
    timeout_seconds: float,
) -> list[Inquiry]:
    """Ask ``servers`` in their order until one answers; the last element has that answer.

    ``believed`` are the TVS certificates (DER octets) of the lists held; ``timeout_seconds`` is for
    one server, from connecting to its answer.
    """
    inquiries: list[Inquiry] = []
    for server in servers:
        inquiries.append(
            await _ask_one(
                question,
                server,
                believed=believed,
                device=device,
                tls_profile=tls_profile,
                timeout_seconds=timeout_seconds,
            )
        )
        if inquiries[-1].answer is not None:
            break
    return inquiries


async def _ask_one(
    question: Question,
    server: TvsServer,
    *,
    believed: frozenset[bytes],
    device: str,
    tls_profile: ClientProfile,
    timeout_seconds: float,
) -> Inquiry:
    try:
        async with connect(
            server.address, server.port, timeout_seconds=timeout_seconds, tls_profile=tls_profile
        ) as connection:
            shown = connection.server_certificate
            if shown not in believed:
                text = "its certificate is not a TVS certificate of the list held: not asked"
                return Inquiry(server.where, question, None, shown, stranger=True, text=text)
            reply = await connection.query(
                subject=question.subject,
                issuer=question.issuer,
                serial=question.serial,
                device=device,
            )
    except TvsError as error:
        return Inquiry(server.where, question, text=str(error))
    answer = Answer(shown, reply.status, reply.roles, reply.certificate, reply.ttl)
    return Inquiry(server.where, question, answer, shown)


def _fingerprint(der: bytes | None) -> dict[str, object] | None:
    return None if der is None else {"length": len(der), "sha256": sha256(der).hexdigest()}
