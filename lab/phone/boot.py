"""The order in which a phone asks after a reset, and what it ends with.

``CTLSEP<MAC>.tlv``, ``ITLSEP<MAC>.tlv`` (else ``ITLFile.tlv``), ``ext_ITLSEP<MAC>.tlv`` where the
model does, ``SEP<MAC>.cnf.xml.sgn`` (``.cnf.xml`` with no list, or only empty ones),
``XMLDefault.cnf.xml`` when that is missing, then the files the configuration names.

Sources: Cisco document 213407, the Security Guide for Unified CM, published TFTP logs. Assumed:
that a phone that refuses a list stays with its old configuration and asks for nothing more.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum, unique
from functools import partial
from hashlib import sha256

from itl.signedfile import SignedFile
from itl.trustlist import CTL_FILENAME, ITL_FILENAME
from lab.phone.cache import recall, remember
from lab.phone.configuration import Configuration, ConfigurationError, parse_configuration
from lab.phone.fetch import Fetched, FileServer, Transfer, fetch
from lab.phone.inquiry import CACHE, Inquiry, inquire, settle
from lab.phone.log import Message, Status
from lab.phone.state import Phone
from lab.phone.trust import (
    Answer,
    Held,
    Outcome,
    Question,
    Reason,
    Verdict,
    judge_file,
    judge_list,
    tvs_certificates,
    wants_signed,
)


@unique
class BootVerdict(StrEnum):
    """How a boot ended, as far as trust goes."""

    UPDATED = "updated"
    UNCHANGED = "unchanged"
    NO_LIST = "no trust list"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    NOTHING_SERVED = "nothing served"

    @property
    def exit_code(self) -> int:
        """0 the phone goes on with this server, 1 it refused, 3 it could not tell."""
        if self is BootVerdict.REFUSED:
            return 1
        return 3 if self in (BootVerdict.UNREACHABLE, BootVerdict.NOTHING_SERVED) else 0


@dataclass(frozen=True, slots=True)
class Installed:
    """A file the phone took in this boot: its size in octets, and who signed it."""

    bytes: int
    sha256: str
    signer: str | None
    why: str


@dataclass
class Boot:
    """One boot as it goes; afterwards its report.

    ``call_managers`` are where the phone would register now, by the configuration taken.
    """

    phone: Phone
    server: FileServer
    tvs_seconds: float
    now: Callable[[], datetime]
    held_before: bool
    stopped: BootVerdict | None = None
    call_managers: tuple[str, ...] = ()
    messages: list[Message] = field(default_factory=list)
    requests: list[Fetched] = field(default_factory=list)
    inquiries: list[Inquiry] = field(default_factory=list)
    installed: dict[str, Installed] = field(default_factory=dict)

    @property
    def verdict(self) -> BootVerdict:
        """How the boot ended."""
        if self.stopped is not None:
            return self.stopped
        if not any(asked.transfer is Transfer.OK for asked in self.requests):
            return BootVerdict.NOTHING_SERVED
        if CTL_FILENAME in self.installed or ITL_FILENAME in self.installed:
            return BootVerdict.UPDATED
        return BootVerdict.UNCHANGED if self.held_before else BootVerdict.NO_LIST

    def say(self, status: Status | None, file: str, why: str) -> None:
        """Add a line to the phone's log."""
        self.messages.append(Message(status, file, why))

    def report(self) -> Mapping[str, object]:
        """What ``phone boot --json`` prints."""
        held = {CTL_FILENAME: self.phone.ctl, ITL_FILENAME: self.phone.itl}
        return {
            "device": self.phone.name,
            "model": self.phone.model.name,
            "verdict": str(self.verdict),
            "messages": [line.text for line in self.messages if line.text],
            "log": [line.line() for line in self.messages],
            "requests": [
                {
                    "name": asked.name,
                    "transport": asked.transport,
                    "outcome": str(asked.transfer),
                    "bytes": len(asked.data),
                    "text": asked.text,
                }
                for asked in self.requests
            ],
            "tvs": [inquiry.report() for inquiry in self.inquiries],
            "installed": self.installed,
            "call_managers": self.call_managers,
            "held": {
                name: None if data is None else {"sha256": sha256(data).hexdigest()}
                for name, data in held.items()
            },
        }


def _utc_now() -> datetime:
    return datetime.now(UTC)


async def boot(
    phone: Phone,
    server: FileServer,
    *,
    tvs_seconds: float = 5.0,
    bare_ctl: bool = False,
    now: Callable[[], datetime] = _utc_now,
) -> Boot:
    """Boot ``phone``, whose TFTP server is now ``server``; what it installs is put into ``phone``.

    ``tvs_seconds`` is how long each TVS server may take; ``bare_ctl`` makes the phone ask for
    ``CTLFile.tlv`` when its own CTL is missing. Every failure of a server is part of the result.
    """
    held_before = phone.ctl is not None or phone.itl is not None
    run = Boot(phone, server, tvs_seconds, now, held_before)
    ctl_names = [f"CTL{phone.name}.tlv", *([CTL_FILENAME] if bare_ctl else [])]
    if await _take_list(run, CTL_FILENAME, ctl_names) and await _take_list(
        run, ITL_FILENAME, [f"ITL{phone.name}.tlv", ITL_FILENAME]
    ):
        await _ask_extended_itl(run)
        if phone.ctl is None and phone.itl is None:
            run.say(Status.NO_LIST, "", "the server has no trust list, and none was installed")
        configuration = await _take_configuration(run)
        if configuration is not None:
            await _take_named_files(run, configuration)
    return run


async def _request(run: Boot, name: str) -> Fetched:
    fetched = await fetch(run.server, name)
    run.requests.append(fetched)
    if fetched.transfer is Transfer.NO_ANSWER:
        run.say(Status.TFTP_TIMEOUT, name, fetched.text)
    elif fetched.transfer is Transfer.ERROR:
        run.say(Status.TFTP_ERROR, name, fetched.text)
    return fetched


async def _first_served(run: Boot, names: list[str]) -> Fetched | None:
    """The first of ``names`` the server has; no answer at all ends the boot."""
    for name in names:
        fetched = await _request(run, name)
        if fetched.transfer is Transfer.NO_ANSWER:
            run.stopped = BootVerdict.UNREACHABLE
            return None
        if fetched.transfer is Transfer.OK:
            return fetched
    return None


async def _take_list(run: Boot, name: str, asked: list[str]) -> bool:
    """Fetch and judge one list; answers whether the boot goes on."""
    fetched = await _first_served(run, asked)
    if fetched is None:
        return run.stopped is None
    verdict = await _judge(run, name, fetched.data, judge_list)
    if verdict.outcome is Outcome.REFUSE:
        run.say(Status.UPDATE_FAILED, fetched.name, verdict.explain())
        run.stopped = BootVerdict.REFUSED
        return False
    if verdict.outcome is Outcome.INSTALL:
        if name == CTL_FILENAME:
            run.phone.ctl = fetched.data
        else:
            run.phone.itl = fetched.data
        run.installed[name] = _installed(fetched.data, verdict)
        run.say(Status.UPDATED, fetched.name, verdict.explain())
    else:
        run.say(None, fetched.name, verdict.explain())
    return True


async def _ask_extended_itl(run: Boot) -> None:
    if run.phone.model.extended_itl:
        fetched = await _request(run, f"ext_ITL{run.phone.name}.tlv")
        if fetched.transfer is Transfer.OK:
            run.say(None, fetched.name, "what it holds is not public: not used")


async def _take_configuration(run: Boot) -> Configuration | None:
    """Fetch and judge the configuration; None where there is none to go on with."""
    signed = wants_signed(run.phone.held())
    ending = ".sgn" if signed else ""
    fetched = await _first_served(
        run, [f"{run.phone.name}.cnf.xml{ending}", f"XMLDefault.cnf.xml{ending}"]
    )
    if fetched is None:
        if run.stopped is None:
            name = f"{run.phone.name}.cnf.xml{ending}"
            run.say(Status.FILE_NOT_FOUND, name, "the server has no configuration for this phone")
        return None
    verdict = await _judge_file(run, fetched, signed=signed)
    if verdict.outcome is Outcome.REFUSE:
        run.say(Status.FILE_AUTH_ERROR, fetched.name, verdict.explain())
        run.stopped = BootVerdict.REFUSED
        return None
    document = verdict.document
    payload = document.payload if isinstance(document, SignedFile) else fetched.data
    try:
        configuration = parse_configuration(payload)
    except ConfigurationError as error:
        run.say(None, fetched.name, f"verified, but of no use: {error}")
        return None
    run.phone.configuration = payload
    run.phone.tvs = configuration.tvs
    run.call_managers = configuration.call_managers
    run.installed[fetched.name] = _installed(fetched.data, verdict)
    run.say(None, fetched.name, verdict.explain())
    return configuration


async def _take_named_files(run: Boot, configuration: Configuration) -> None:
    if configuration.load is not None:
        await _request(
            run, configuration.load
        )  # signed by Cisco inside: no list is needed to judge it
    signed = wants_signed(run.phone.held())
    for name in configuration.files:
        fetched = await _request(run, f"{name}.sgn" if signed else name)
        if fetched.transfer is not Transfer.OK:
            continue
        verdict = await _judge_file(run, fetched, signed=signed)
        if verdict.outcome is Outcome.REFUSE:
            run.say(Status.FILE_AUTH_ERROR, fetched.name, verdict.explain())
        else:
            run.installed[fetched.name] = _installed(fetched.data, verdict)


async def _judge_file(run: Boot, fetched: Fetched, *, signed: bool) -> Verdict:
    if not signed:
        return Verdict(Outcome.INSTALL, Reason.UNSIGNED)
    return await _judge(run, fetched.name, fetched.data, judge_file)


async def _judge(
    run: Boot,
    name: str,
    data: bytes,
    judge: Callable[[Held, str, bytes, Answer | None], Verdict],
) -> Verdict:
    """Judge a file, asking the cache or TVS when the lists held do not settle it."""
    held = run.phone.held()

    async def ask(question: Question) -> Sequence[Inquiry]:
        cached = recall(run.phone.cache, held, question, run.now())
        if cached is not None:
            return [Inquiry(CACHE, question, cached, cached.server_certificate)]
        return await inquire(
            question,
            run.phone.tvs,
            believed=tvs_certificates(held),
            device=run.phone.device,
            tls_profile=run.phone.model.tls_profile,
            timeout_seconds=run.tvs_seconds,
        )

    verdict, inquiries = await settle(partial(judge, held, name, data), ask)
    run.inquiries += inquiries
    last = inquiries[-1] if verdict.reason is Reason.VOUCHED else None
    if last and last.answer and last.server != CACHE:  # used again it lives no longer
        run.phone.cache = remember(run.phone.cache, last.question, last.answer, run.now())
    return verdict


def _installed(data: bytes, verdict: Verdict) -> Installed:
    signer = verdict.document.header.signer_name if verdict.document else None
    return Installed(len(data), sha256(data).hexdigest(), signer, verdict.explain())
