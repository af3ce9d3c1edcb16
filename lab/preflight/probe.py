"""What the source's TVS servers say about everything that signs at the destination.

A phone stops at the first server that answers. Here each server is asked for each signer, so that
one whose store lacks a certificate is found before a phone meets it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from itl.acceptance import FILE_SIGNERS, LIST_SIGNERS
from itl.roles import SIGNS_FILES, Role
from itl.trustlist import TrustList
from lab.phone.configuration import TvsServer
from lab.phone.trust import Answer, Question
from lab.preflight.places import Side
from lab.preflight.store import ask_store
from tvs import TvsError
from tvs.client import connect
from tvs.tls import ClientProfile


@dataclass(frozen=True)
class Known:
    """What one server, or a store, answered about one signer."""

    question: Question
    answer: Answer
    text: str = ""

    @property
    def vouched(self) -> bool:
        """Whether a phone would take the answer for this signer's purpose."""
        return self.answer.status == 0 and bool(self.question.roles & set(self.answer.roles))


@dataclass(frozen=True)
class Probe:
    """One server of a side; ``problem`` says why it could not be asked, or not to the end."""

    server: str
    known: tuple[Known, ...] = ()
    server_certificate: bytes | None = None
    tls: str = ""
    problem: str = ""


def signers(lists: Iterable[TrustList]) -> list[Question]:
    """Everything that signs lists or files in ``lists``, once for each purpose."""
    found: dict[tuple[str, bytes, frozenset[int]], Question] = {}

    def add(subject: str, issuer: str, serial: bytes, roles: frozenset[int]) -> None:
        found.setdefault((issuer, serial, roles), Question(subject, issuer, serial, roles))

    for each in lists:
        header = each.header
        add(header.signer_name, header.signer_issuer, header.signer_serial, LIST_SIGNERS)
        for record in each.records:
            if not record.has_key:
                continue
            if record.role == Role.SAST:
                add(record.subject, record.issuer, record.serial, LIST_SIGNERS)
            elif record.role in SIGNS_FILES:
                add(record.subject, record.issuer, record.serial, FILE_SIGNERS)
    return list(found.values())


async def probe(
    side: Side,
    questions: Sequence[Question],
    *,
    timeout_seconds: float,
    tls_profile: ClientProfile = "legacy",
) -> list[Probe]:
    """Ask every TVS server of ``side`` about every one of ``questions``; else its store.

    ``timeout_seconds`` is for each connection and each question.
    """
    if side.tvs is not None:
        return [
            await _probe_server(server, questions, tls_profile, timeout_seconds)
            for server in side.tvs
        ]
    if side.snapshot is None:
        return []
    said = [(question, ask_store(question, side.snapshot, side.policy)) for question in questions]
    return [Probe("store", tuple(Known(question, *answer) for question, answer in said))]


async def _probe_server(
    server: TvsServer, questions: Sequence[Question], profile: ClientProfile, timeout_seconds: float
) -> Probe:
    known: list[Known] = []
    shown, tls = None, ""
    try:
        async with connect(
            server.address, server.port, timeout_seconds=timeout_seconds, tls_profile=profile
        ) as connection:
            shown = connection.server_certificate
            for question in questions:
                reply = await connection.query(
                    subject=question.subject, issuer=question.issuer, serial=question.serial
                )
                tls = reply.tls
                answer = Answer(shown, reply.status, reply.roles, reply.certificate, reply.ttl)
                known.append(Known(question, answer))
    except TvsError as error:
        return Probe(server.where, tuple(known), shown, tls, str(error))
    return Probe(server.where, tuple(known), shown, tls)
