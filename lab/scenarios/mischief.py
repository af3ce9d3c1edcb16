"""A scenario at work: the policies by which the daemon's services misbehave, phone by phone.

Everything a phone asks is reported as ``scenario.asked`` at the moment it asks, with the boot it
belongs to and the fault it met; that is what expectations are judged by.
"""

import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TypeVar

import trio
from OpenSSL import SSL

from lab.events import Reader
from lab.scenarios import forgery
from lab.scenarios.links import FaultyLink
from lab.scenarios.model import ConfigurationFault, ListFault, Scenario, TransferFault, TvsFault
from lab.scenarios.stranger import Stranger
from tftp.content import Answer, ErrorReply, Later, octets_of, whole
from tftp.packets import ErrorCode
from tvs.messages import Request, Response, encode_response
from tvs.service import Reply
from tvs.tls import Profile, server_context

_PHONE = re.compile(r"SEP([0-9A-Fa-f]{12})")
_LIST = re.compile(r"(CTL|ITL)(?:File|SEP[0-9A-Fa-f]{12})\.tlv")
_CONFIGURATION = re.compile(r"SEP[0-9A-Fa-f]{12}\.cnf\.xml(?:\.sgn)?")
SAME_BOOT_SECONDS = 3.0  # a first request again within it, and nothing between, is a repetition
STALL_SECONDS = 600.0
MAX_PHONES = 10_000
SESSION = slice(4, 8)  # of a message: the octets to be echoed
NOT_FOUND = ErrorReply(ErrorCode.NOT_FOUND, "file not found", expected=True)

F = TypeVar("F", ListFault, ConfigurationFault, TransferFault, TvsFault)


@dataclass
class _Phone:
    """What is known of one phone since the scenario began; ``address`` is where it was last."""

    device: str
    address: str = ""
    boot: int = 0
    began: float = 0.0
    asked_more: bool = True


@dataclass
class Mischief:
    """The policies of one scenario.

    ``find`` is the catalog's answer to a name, ``own_tvs`` where this daemon's TVS listens.
    """

    scenario: Scenario
    stranger: Stranger
    forger: Callable[[], forgery.Forger]
    find: Callable[[str, str], Answer]
    own_tvs: tuple[str, int]
    report: Reader
    profile: Profile = "modern"
    now: Callable[[], float] = time.monotonic
    _phones: dict[str, _Phone] = field(default_factory=dict)
    _at: dict[str, _Phone] = field(default_factory=dict)
    _late: trio.Nursery | None = None
    _dead: socket.socket | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep what lateness and dead ports need, until cancelled."""
        family = socket.AF_INET6 if ":" in self.own_tvs[0] else socket.AF_INET
        # bound and not listening: whoever connects is refused, and nobody else can take the port
        with socket.socket(family, socket.SOCK_STREAM) as dead:
            dead.bind((self.own_tvs[0], 0))
            self._dead = dead
            async with trio.open_nursery() as nursery:
                self._late = nursery
                self.begin(self.scenario)
                task_status.started()
                await trio.sleep_forever()

    def begin(self, scenario: Scenario) -> None:
        """Play ``scenario`` from now on; every phone's next boot is its first."""
        self.scenario = scenario
        self._phones.clear()
        self._at.clear()
        self.report(
            {
                "event": "scenario.started",
                "outcome": "misbehaving on purpose",
                "reason": scenario.title,
                "scenario": scenario.name,
            }
        )

    def file_answer(self, name: str, address: str, found: Answer) -> Answer | None:
        """What TFTP answers instead of ``found``; None for silence."""
        phone = self._phone(name, address)
        if phone is None:
            return found
        self._count(phone, name)
        answer: Answer | None = found
        met = "as it is"
        if listed := _LIST.fullmatch(name):
            other = self._fault(ListFault, phone)
            if other is not None and other.file == listed[1]:
                answer, met = self._list(other), other.what
        elif _CONFIGURATION.fullmatch(name):
            fault = self._fault(ConfigurationFault, phone)
            answer = self._configuration(fault, name, address, found)
            met = fault.what if fault else met
        if answer is not None and not isinstance(answer, ErrorReply):
            phone.asked_more = True  # who got it and asks for it again begins anew
        self._tell(phone, met, service="tftp", file=name)
        return answer

    def link(self, name: str, address: str, connected: socket.SocketType) -> socket.SocketType:
        """The socket a transfer of ``name`` runs over, in place of ``connected``."""
        phone = self._at.get(address)
        fault = self._fault(TransferFault, phone) if phone else None
        if fault is None or not fnmatchcase(name, fault.files):
            return connected
        return FaultyLink(connected, fault, later=self._later)

    def tvs_answer(self, request: Request, octets: bytes) -> Reply:
        """What TVS sends instead of ``octets``."""
        found = _PHONE.search(request.device or "")
        phone = self._phones.get(f"SEP{found[1].upper()}") if found else None
        if phone is None:
            return Reply(octets)
        fault = self._fault(TvsFault, phone) or TvsFault(boots=())
        self._tell(phone, fault.answer, service="tvs", about=self._about(request))
        return self._tvs_reply(fault, request, octets)

    def context(self, address: str) -> SSL.Context | None:
        """With what TVS greets a client from ``address`` instead; None for its own."""
        phone = self._at.get(address)
        fault = self._fault(TvsFault, phone) if phone else None
        if phone is None or fault is None or fault.shows == "own":
            return None
        self._tell(phone, "another certificate", service="tvs", about="nothing yet")
        identity = self.stranger.tvs
        return server_context([(identity.chain, identity.private_key)], profile=self.profile)

    def _phone(self, name: str, address: str) -> _Phone | None:
        """Whose request for ``name`` this is: the phone named in it, or the last one seen there."""
        found = _PHONE.search(name)
        if found is None:
            return self._at.get(address)
        device = f"SEP{found[1].upper()}"
        phone = self._phones.get(device)
        if phone is None:
            if len(self._phones) >= MAX_PHONES:
                return None
            phone = self._phones[device] = _Phone(device)
        phone.address = address
        self._at[address] = phone
        return phone

    def _count(self, phone: _Phone, name: str) -> None:
        """Count the boot that a request for the phone's own CTL begins, unless it repeats one."""
        if not name.startswith("CTLSEP"):
            phone.asked_more = True
            return
        now = self.now()
        if phone.asked_more or now - phone.began > SAME_BOOT_SECONDS:
            phone.boot += 1
            phone.began = now
        phone.asked_more = False

    def _fault(self, kind: type[F], phone: _Phone) -> F | None:
        for fault in self.scenario.fault:
            if isinstance(fault, kind) and phone.boot in fault.boots:
                named = {one.upper().removeprefix("SEP") for one in fault.phones}
                if not named or phone.device[3:] in named or phone.address in fault.phones:
                    return fault
        return None

    def _list(self, fault: ListFault) -> Answer | None:
        if fault.what == "silence":
            return None
        if fault.what == "missing":
            return NOT_FOUND
        return octets_of(self.forger().trust_list(fault))

    def _configuration(
        self, fault: ConfigurationFault | None, name: str, address: str, found: Answer
    ) -> Answer:
        if isinstance(found, ErrorReply):
            return found
        if not isinstance(found, Later):
            found.close()
        plain = self.find(name.removesuffix(".sgn"), address)
        if isinstance(plain, ErrorReply | Later):
            return plain
        true = whole(plain)
        fault = fault or ConfigurationFault(boots=(), names="good")
        if fault.what == "missing":
            return NOT_FOUND
        if fault.tvs:
            true = forgery.with_tvs(true, [self._server(which) for which in fault.tvs])
        return octets_of(self.forger().configuration(true, fault, name))

    def _server(self, which: str) -> tuple[str, int]:
        if which == "dead" and self._dead is not None:
            host, port = self._dead.getsockname()[:2]
            return str(host), int(port)
        return self.own_tvs

    def _about(self, request: Request) -> str:
        known = {
            "stranger": (self.stranger.recovery, self.stranger.callmanager),
            "expired": (self.stranger.expired,),
        }
        for name, signers in known.items():
            for signer in signers:
                if forgery.issued_by(signer) == (request.issuer, request.serial):
                    return name
        return "another"

    def _tvs_reply(self, fault: TvsFault, request: Request, octets: bytes) -> Reply:
        vouching = self._vouching(fault, request) or octets
        match fault.answer:
            case "yes" | "other certificate" | "no certificate":
                octets = vouching
            case "no":
                octets = _negative(request)
            case "other session":
                session = bytes(octet ^ 0xFF for octet in vouching[SESSION])
                octets = vouching[: SESSION.start] + session + vouching[SESSION.stop :]
            case "half":
                octets = vouching[: len(vouching) // 2]
            case "close":
                octets = b""
        return Reply(
            octets,
            delay_seconds=STALL_SECONDS if fault.answer == "stall" else 0,
            close=fault.answer in {"half", "close"},
        )

    def _vouching(self, fault: TvsFault, request: Request) -> bytes | None:
        """A yes for the stranger's signer that is asked about; None if it is about another."""
        signers = (self.stranger.recovery, self.stranger.callmanager, self.stranger.expired)
        for signer in signers:
            if forgery.issued_by(signer) == (request.issuer, request.serial):
                certificate: bytes | None = signer.certificate
                if fault.answer == "other certificate":
                    certificate = self.stranger.tvs.chain[0]
                elif fault.answer == "no certificate":
                    certificate = None
                return encode_response(
                    Response(
                        command=request.command + 1,
                        session=request.session,
                        status=0,
                        certificate=certificate,
                        roles=fault.roles,
                        ttl_seconds=86_400,
                    )
                )
        return None

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        async def wait() -> None:
            await trio.sleep(seconds)
            call()

        if self._late is not None:
            self._late.start_soon(wait)

    def _tell(self, phone: _Phone, met: str, **asked: str) -> None:
        self.report(
            {
                "event": "scenario.asked",
                "device": phone.device,
                "outcome": met,
                "reason": f"boot {phone.boot} of scenario {self.scenario.name}",
                "boot": phone.boot,
                **asked,
            }
        )


def _negative(request: Request) -> bytes:
    return encode_response(Response(command=request.command + 1, session=request.session, status=1))
