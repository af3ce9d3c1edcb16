"""What a phone believes. Pure: octets and what the phone holds go in, a verdict comes out.

How a phone decides about a file it has received, in this order:

1. The file must be what it was asked for: well-formed, the right name in its header, a digest the
   model can check, not more than phones can load (:mod:`itl.limits`).
2. A phone that holds no trust list installs the first one unproved ("leap of faith").
3. The signer named in the header is looked for in the lists held (:mod:`itl.acceptance`). Found:
   the signature decides, and nobody else is asked.
4. Not found: the phone's own cluster is asked (TVS). Only a TVS whose certificate stands, octet for
   octet, in a record of role TVS of a list held is believed; without such a record none is asked,
   and none is ever asked about TVS's own certificate. The answer must carry the certificate asked
   for, with the role the purpose needs, and the signature must verify with that key.

A refusal leaves everything as it was. Step 4 needs a conversation: :func:`judge` then answers ASK
and what to ask, and is called again with the answer.

Sources: Cisco documents 213407 (console log of a migrating 8861) and 118699, the Security Guide for
Unified CM, chapter Default Security Setup. Assumed, because nothing public tells: that the name in
the header must match for every file; that a file of blanks is passed over as if it were missing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum, unique
from typing import TypeAlias, TypeVar

from itl import ItlError
from itl.acceptance import FILE_SIGNERS, LIST_SIGNERS, Acceptance, acceptance, records_with
from itl.certificates import describe, same_serial
from itl.limits import load_guards
from itl.names import same_name
from itl.roles import Role
from itl.signedfile import SignedFile, parse_signed_file
from itl.signing import signed_by
from itl.trustlist import CTL_FILENAME, Record, TrustList, parse_trust_list

Document: TypeAlias = TrustList | SignedFile
D = TypeVar("D", TrustList, SignedFile)


@unique
class Outcome(Enum):
    """What the phone does with the file."""

    INSTALL = "install"
    UNCHANGED = "unchanged"
    PASS_OVER = "pass over"  # noqa: S105 - the rule sees a password in the name
    REFUSE = "refuse"
    ASK = "ask"


@unique
class Reason(StrEnum):
    """Why; the value is our explanation."""

    LEAP_OF_FAITH = "no trust list was installed: the first one is accepted without proof"
    ROLLBACK = "the ITL held has no TVS and no TFTP certificates: any new one is accepted"
    SAME = "the same octets as the list installed"
    BLANK = "the file holds nothing but blanks"
    HELD_SIGNER = "the signature verifies with a signer in the lists held"
    VOUCHED = "TVS vouches for the signer, and the signature verifies with its key"
    UNSIGNED = "no list held names a TVS or TFTP certificate: the file is taken unsigned"
    MALFORMED = "the file cannot be read"
    WRONG_NAME = "the name in the header is not the name asked for"
    DIGEST = "this model cannot check the digest the file is signed with"
    TOO_LONG = "the list is longer than the 64 kB phones can load"
    TOO_MANY = "the list has more certificates than phones can load"
    BAD_SIGNATURE = "the signature does not verify with the key of the signer it names"
    NO_TVS_IN_LIST = "the signer is in no list held, and the list names no TVS to ask"
    SIGNED_BY_TVS = "the signer is a TVS, and TVS is never asked about itself"
    NO_TVS_SERVERS = "the signer is in no list held, and the configuration names no TVS server"
    NO_ANSWER = "the signer is in no list held, and no TVS server gave a usable answer"
    TVS_STRANGER = "the TVS server's certificate is not in the list held"
    NOT_VOUCHED = "TVS does not know the signer"
    OTHER_CERTIFICATE = "TVS answered with a certificate that was not asked for"
    WRONG_ROLE = "TVS knows the signer, but not in the role that signs such a file"


@dataclass(frozen=True, slots=True)
class Question:
    """What the phone asks TVS: a certificate by names and serial number, and the role it needs."""

    subject: str
    issuer: str
    serial: bytes
    roles: frozenset[int]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a TVS said: its own certificate and the fields of the response."""

    server_certificate: bytes
    status: int
    roles: tuple[int, ...] = ()
    certificate: bytes | None = None
    lifetime_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """The trust lists installed and the digests ("sha1", "sha512") the model can check."""

    ctl: TrustList | None = None
    itl: TrustList | None = None
    digests: frozenset[str] = frozenset({"sha1", "sha512"})

    @property
    def lists(self) -> tuple[TrustList, ...]:
        """The lists installed, CTL first."""
        return tuple(held for held in (self.ctl, self.itl) if held is not None)

    def records(self, roles: frozenset[int]) -> Iterator[Record]:
        """The records with a key and one of ``roles``, over all lists held."""
        return records_with(self.lists, roles)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with the file and why; ``question`` where TVS must be asked first."""

    outcome: Outcome
    reason: Reason | None = None
    detail: str = ""
    document: Document | None = None
    question: Question | None = None

    @property
    def accepted(self) -> bool:
        """Whether the phone goes on with this file, or with the equal one it has."""
        return self.outcome in (Outcome.INSTALL, Outcome.UNCHANGED)

    def explain(self) -> str:
        """The reason in words."""
        text = str(self.reason) if self.reason else "the signer is in no list held: TVS is asked"
        return f"{text} ({self.detail})" if self.detail else text


def tvs_certificates(held: Held) -> frozenset[bytes]:
    """The DER octets of every TVS certificate in the lists held."""
    tvs = frozenset({int(Role.TVS)})
    return frozenset(entry.certificate for entry in held.records(tvs) if entry.certificate)


def wants_signed(held: Held) -> bool:
    """Whether the phone asks for signed files: it holds a list that is not an empty one."""
    return not all(each.is_emptied for each in held.lists)


def judge_list(held: Held, name: str, data: bytes, answer: Answer | None = None) -> Verdict:
    """Judge ``data``, received as the list ``name`` (``CTLFile.tlv`` or ``ITLFile.tlv``)."""
    current = held.ctl if name == CTL_FILENAME else held.itl
    if current is not None and current.raw == data:
        return Verdict(Outcome.UNCHANGED, Reason.SAME, document=current)
    if not data.strip(b"\0\t\r\n "):
        return Verdict(Outcome.PASS_OVER, Reason.BLANK, f"{len(data)} octets")
    try:
        return _judge_new_list(held, name, data, answer)
    except _RefusalError as refusal:
        return Verdict(Outcome.REFUSE, refusal.reason, refusal.detail)


def judge_file(held: Held, name: str, data: bytes, answer: Answer | None = None) -> Verdict:
    """Judge ``data``, received as the signed file ``name`` (``SEP….cnf.xml.sgn``)."""
    try:
        return _judge_signer(held, _fit(held, name, parse_signed_file, data), FILE_SIGNERS, answer)
    except _RefusalError as refusal:
        return Verdict(Outcome.REFUSE, refusal.reason, refusal.detail)


class _RefusalError(Exception):
    """Ends a judgement with a no; caught in this module."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


_TOO_MUCH = {"list-too-long": Reason.TOO_LONG, "too-many-certificates": Reason.TOO_MANY}


def _judge_new_list(held: Held, name: str, data: bytes, answer: Answer | None) -> Verdict:
    document = _fit(held, name, parse_trust_list, data)
    too_much = load_guards(document)
    if too_much:
        raise _RefusalError(_TOO_MUCH[too_much[0].code], too_much[0].text)
    return _judge_signer(held, document, LIST_SIGNERS, answer)


def _fit(held: Held, name: str, parse: Callable[[bytes], D], data: bytes) -> D:
    """The document in ``data``, if it is the one asked for and the model can check it."""
    try:
        document = parse(data)
    except ItlError as error:
        raise _RefusalError(Reason.MALFORMED, str(error)) from None
    header = document.header
    if header.filename != name:
        raise _RefusalError(Reason.WRONG_NAME, f"{header.filename!r}, asked for {name!r}")
    if header.digest not in held.digests:
        raise _RefusalError(Reason.DIGEST, header.digest)
    return document


_BY_THE_LISTS_HELD = {
    Acceptance.NO_LIST: Reason.LEAP_OF_FAITH,
    Acceptance.ROLLED_BACK: Reason.ROLLBACK,
    Acceptance.SIGNER_HELD: Reason.HELD_SIGNER,
    Acceptance.OTHER_KEY: Reason.BAD_SIGNATURE,
    Acceptance.IS_TVS: Reason.SIGNED_BY_TVS,
    Acceptance.NO_TVS: Reason.NO_TVS_IN_LIST,
}


def _judge_signer(
    held: Held, document: Document, roles: frozenset[int], answer: Answer | None
) -> Verdict:
    header = document.header
    reason = _BY_THE_LISTS_HELD.get(acceptance(document, ctl=held.ctl, itl=held.itl))
    if reason in (Reason.LEAP_OF_FAITH, Reason.ROLLBACK):
        return Verdict(Outcome.INSTALL, reason, document=document)
    if reason is Reason.HELD_SIGNER:
        return Verdict(Outcome.INSTALL, reason, header.signer_name, document)
    if reason is not None:
        raise _RefusalError(reason, header.signer_name)
    question = Question(header.signer_name, header.signer_issuer, header.signer_serial, roles)
    if answer is None:
        return Verdict(Outcome.ASK, document=document, question=question)
    _check_answer(held, document, question, answer)
    return Verdict(Outcome.INSTALL, Reason.VOUCHED, question.subject, document)


def _check_answer(held: Held, document: Document, question: Question, answer: Answer) -> None:
    if answer.server_certificate not in tvs_certificates(held):
        raise _RefusalError(Reason.TVS_STRANGER, "")
    if answer.status != 0:
        raise _RefusalError(Reason.NOT_VOUCHED, question.subject)
    if answer.certificate is None:
        raise _RefusalError(Reason.OTHER_CERTIFICATE, "none at all")
    try:
        certificate = describe(answer.certificate)
    except ItlError as error:
        raise _RefusalError(Reason.OTHER_CERTIFICATE, str(error)) from None
    if not (
        same_serial(certificate.serial, question.serial)
        and same_name(certificate.issuer, question.issuer)
    ):
        text = f"{certificate.issuer}, serial number {certificate.serial.hex()}"
        raise _RefusalError(Reason.OTHER_CERTIFICATE, text)
    if not question.roles & set(answer.roles):
        raise _RefusalError(Reason.WRONG_ROLE, f"roles {list(answer.roles)}")
    if not signed_by(document, answer.certificate):
        raise _RefusalError(Reason.BAD_SIGNATURE, question.subject)
