"""From a datagram on the service port to a transfer, an ERROR, or nothing.

One small answer at most goes to an address that has proven nothing yet, and none to one that is
over its share.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from socket import SocketType
from typing import NamedTuple, TypeAlias

from tftp import PacketError
from tftp.content import BROKEN, Answer, Content, ErrorReply, Later
from tftp.engine import Engine, Report
from tftp.flow import Flow, device_of
from tftp.frames import Frames
from tftp.listener import Listener
from tftp.names import host_of, host_text, is_privileged, peer_text
from tftp.netascii import FromNetascii, Translations
from tftp.options import MAX_BLKSIZE, Terms, grant
from tftp.packets import ErrorCode, Opcode, Request, encode_error, parse_request
from tftp.ports import Port, shares
from tftp.receiver import Receiver
from tftp.sender import Sender
from tftp.sockets import Address, path_blksize
from tftp.uploads import MAX_AT_ONCE, Uploads

Find: TypeAlias = Callable[[str, str], Answer]
ReplyPolicy: TypeAlias = Callable[[str, str, Answer], Answer | None]
Link: TypeAlias = Callable[[str, str, SocketType], SocketType]
Resume: TypeAlias = Callable[[Content | ErrorReply | Exception], None]
Make: TypeAlias = Callable[[Later, Resume], None]

_TFTP_PORT = (69).to_bytes(2, "big")
_REPEAT_SECONDS = 1.0  # a request again within it is the network's doing, not a new start
_REQUEST_OPCODES = (b"\0\1", b"\0\2")
_MODES = ("octet", "netascii")
_WRQ = Opcode.WRQ
_OUTCOMES = [code.name.lower().replace("_", " ") for code in ErrorCode]


@dataclass(frozen=True)
class Limits:
    """What a service allows.

    Transfers at once, in all and for each address (a thousand phones behind one address must fit);
    requests a second for each address, beyond which there is silence, since the address may be one
    that somebody wants flooded; ``max_making`` requests at once whose content is being made;
    largest blksize in octets and windowsize in blocks.
    """

    max_transfers: int = 8192
    max_transfers_per_address: int = 2048
    max_requests_per_second: int = 10_000
    max_making: int = 2048
    max_blksize: int = MAX_BLKSIZE
    max_windowsize: int = 64


class RequestRate:
    """Counts the requests of each address within a second."""

    def __init__(self) -> None:
        self._second = 0
        self._counts: dict[bytes, int] = {}

    def count(self, host: bytes, now: float) -> int:
        """Count a request of ``host``; answers how many it is in this second."""
        if int(now) != self._second:
            self._second = int(now)
            self._counts.clear()
        count = self._counts.get(host, 0) + 1
        self._counts[host] = count
        return count


class Admission:
    """Answers requests: ``find`` for content, ``make`` to have content made in a worker thread.

    ``make`` is given what to make and what to call with the result, or with what it raised.
    ``reply_policy`` may replace an answer by another (for faults on purpose), None for silence;
    ``link`` may replace a transfer's connected socket, given the name asked for and the peer's
    address. ``limits`` is asked for each request.
    """

    def __init__(
        self,
        engine: Engine,
        frames: Frames,
        *,
        find: Find,
        make: Make,
        report: Report,
        limits: Callable[[], Limits],
        uploads: Uploads | None = None,
        reply_policy: ReplyPolicy | None = None,
        link: Link | None = None,
    ) -> None:
        self.requests = self.refused = self.garbage = self.dropped = 0
        self._engine = engine
        self._frames = frames
        self._find = find
        self._make = make
        self._report = report
        self._limits = limits
        self._uploads = uploads
        self._reply_policy = reply_policy
        self._link = link
        self._making: dict[bytes, bytes] = {}  # the last request of a peer whose content is made
        self._made = 0  # contents in the making, of later requests too
        self._translations = Translations()
        self._rate = RequestRate()

    def admit(
        self, listener: Listener, datagram: bytes, name: bytes, asked: Address, now: float
    ) -> None:
        """Take one datagram of a service socket, of ``name``, as the kernel has the address.

        ``asked`` is the local address it came to.
        """
        if datagram[:2] not in _REQUEST_OPCODES:
            self.garbage += 1
            return
        if is_privileged(name) and name[2:4] != _TFTP_PORT:
            self.dropped += 1  # a reflection towards a service of the victim's
            return
        limits, host = self._limits(), host_of(name)
        over = self._rate.count(host, now) - limits.max_requests_per_second
        if over > 0:
            self.dropped += 1
            if over == 1:
                self._tell_flood(name, limits.max_requests_per_second)
            return
        engine = self._engine
        if (self._making or name in engine.flows) and self._known(datagram, name, now):
            return
        if engine.per_host.get(host, 0) >= limits.max_transfers_per_address or (
            len(engine.flows) >= limits.max_transfers and not engine.make_room(engine.unproven, now)
        ):
            self.dropped += 1
            return
        self.requests += 1
        arrival = _Arrival(listener, datagram, name, asked, now)
        try:
            request = parse_request(datagram)
        except PacketError as error:
            self._refuse(arrival, None, ErrorReply(ErrorCode.ILLEGAL_OPERATION, str(error)))
            return
        try:
            self._take(arrival, request)
        except Exception as error:  # noqa: BLE001  one request must not end the service for all
            self._fail(arrival, request, error)

    def _take(self, arrival: "_Arrival", request: Request) -> None:
        if request.mode not in _MODES:
            text = f"mode {request.mode[:16]!r} is none of octet and netascii"
            self._refuse(arrival, request, ErrorReply(ErrorCode.ILLEGAL_OPERATION, text))
        elif request.opcode is _WRQ:
            self._write(arrival, request)
        else:
            self._answer(arrival, request, self._find(request.name, arrival.host))

    def _tell_flood(self, name: bytes, limit: int) -> None:
        """Once a second for each address; what is dropped is not told one by one."""
        self._report(
            {
                "event": "tftp.flood",
                "device": None,
                "peer": peer_text(name),
                "outcome": "refused",
                "reason": f"more than {limit} requests in a second: no answer to any more of them",
                "milliseconds": 0,
            }
        )

    def _known(self, datagram: bytes, name: bytes, now: float) -> bool:
        """Whether this is a repetition of a request that is being served."""
        if name in self._making:
            if self._making[name] == datagram:
                return True
            del self._making[name]  # it wants this one now
        flow = self._engine.flows.get(name)
        if flow is None:
            return False
        self._engine.hear(flow, now)  # a port may be used again while its last ACK waits here
        flow = self._engine.flows.get(name)
        if flow is None:
            return False
        if flow.datagram == datagram and flow.transfer.outcome is None:
            if isinstance(flow.transfer, Sender) and not flow.transfer.proven:
                with suppress(OSError):  # who asked before is gone
                    self._engine.send(flow, flow.transfer.again(now))
                    return True
            elif now - flow.started < _REPEAT_SECONDS or flow.transfer.progressing:
                return True  # late, and the transfer it began is well under way
        self._engine.supersede(flow, now)
        return False

    def _answer(self, arrival: "_Arrival", request: Request, found: Answer) -> None:
        answer: Answer | None = found
        if self._reply_policy is not None:
            answer = self._reply_policy(request.name, arrival.host, found)
        if answer is None:
            return
        if isinstance(answer, ErrorReply):
            self._refuse(arrival, request, answer)
        elif isinstance(answer, Later):
            self._wait(arrival, request, answer)
        elif request.mode == "netascii":
            self._translate(arrival, request, answer)
        else:
            self._read(arrival, request, answer)

    def _translate(self, arrival: "_Arrival", request: Request, content: Content) -> None:
        answer = self._translations.of(content)
        if isinstance(answer, ErrorReply):
            self._refuse(arrival, request, answer)
        elif isinstance(answer, Later):
            self._wait(arrival, request, answer, translated=True)
        else:
            self._read(arrival, request, answer)

    def _wait(
        self, arrival: "_Arrival", request: Request, later: Later, *, translated: bool = False
    ) -> None:
        if self._made >= self._limits().max_making:
            self.dropped += 1
            return
        self._made += 1
        self._making[arrival.name] = arrival.datagram

        def resume(made: Content | ErrorReply | Exception) -> None:
            self._made -= 1
            if self._making.get(arrival.name) is not arrival.datagram:
                return  # it asked for something else since, or for the same anew
            del self._making[arrival.name]
            try:
                if isinstance(made, Exception):
                    self._fail(arrival, request, made)
                elif isinstance(made, ErrorReply):
                    self._refuse(arrival, request, made)
                elif request.mode == "netascii" and not translated:
                    self._translate(arrival, request, made)
                else:
                    self._read(arrival, request, made)
            except Exception as error:  # noqa: BLE001  as one that is answered at once
                self._fail(arrival, request, error)
            self._engine.flush()

        self._make(later, resume)

    def _read(self, arrival: "_Arrival", request: Request, content: Content) -> None:
        terms = self._terms(request, None, content.size)
        shared = self._link is None and shares(content.size, terms)
        port = self._port(arrival, request, content.close, shared=shared)
        if port is None:
            return
        connected = None
        if not shared:
            connected = self._connect(arrival, request, port, content.close)
            if connected is None:
                return
            terms = self._terms(request, connected, content.size)
        flow = Flow(
            Sender(self._frames, content, terms=terms),
            port,
            connected,
            name=arrival.name,
            request=request,
            datagram=arrival.datagram,
            now=arrival.now,
            content=content,
        )
        self._engine.start(flow, self._engine.clock())

    def _write(self, arrival: "_Arrival", request: Request) -> None:
        if self._uploads is None:
            no = ErrorReply(ErrorCode.ACCESS_VIOLATION, "uploads are not accepted here")
            self._refuse(arrival, request, no)
            return
        uploads = self._engine.uploads
        if len(uploads) >= MAX_AT_ONCE and not self._engine.make_room(uploads, arrival.now):
            busy = ErrorReply(ErrorCode.UNDEFINED, "too many uploads at once; try again")
            self._refuse(arrival, request, busy)
            return
        upload = self._uploads.open(request.name)
        if isinstance(upload, ErrorReply):
            self._refuse(arrival, request, upload)
            return
        port = self._port(arrival, request, upload.abort, shared=False)
        if port is None:
            return
        connected = self._connect(arrival, request, port, upload.abort)
        if connected is None:
            return
        decoder = FromNetascii(upload.write)

        def complete() -> None:
            decoder.finish()
            upload.commit()

        receiver = Receiver(
            decoder if request.mode == "netascii" else upload.write,
            max_bytes=self._uploads.max_bytes,
            complete=complete,
            terms=self._terms(request, connected, None),
        )
        flow = Flow(
            receiver,
            port,
            connected,
            name=arrival.name,
            request=request,
            datagram=arrival.datagram,
            now=arrival.now,
            upload=upload,
        )
        if (receiver.terms.tsize or 0) > self._uploads.max_bytes:
            connected.close()
            flow.close()
            text = f"at most {self._uploads.max_bytes} octets are accepted"
            self._refuse(arrival, request, ErrorReply(ErrorCode.DISK_FULL, text))
            return
        self._engine.start(flow, self._engine.clock())

    def _port(
        self, arrival: "_Arrival", request: Request, let_go: Callable[[], None], *, shared: bool
    ) -> Port | None:
        """Where the transfer runs from; None if there is no socket to be had, which is answered."""
        ports, family = self._engine.ports, arrival.listener.family
        try:
            return ports.port(family, arrival.asked, arrival.name, shared=shared)
        except OSError as error:
            self._busy(arrival, request, let_go, error)
            return None

    def _connect(
        self, arrival: "_Arrival", request: Request, port: Port, let_go: Callable[[], None]
    ) -> SocketType | None:
        """A socket of the transfer's own; None if there is none, which is answered."""
        try:
            connected = self._engine.ports.connect(port, arrival.name)
        except OSError as error:
            self._busy(arrival, request, let_go, error)
            return None
        if self._link is None or request.opcode is _WRQ:
            return connected
        try:
            return self._link(request.name, arrival.host, connected)
        except Exception:
            connected.close()
            raise

    def _busy(
        self, arrival: "_Arrival", request: Request, let_go: Callable[[], None], error: OSError
    ) -> None:
        let_go()
        busy = ErrorReply(ErrorCode.UNDEFINED, f"the server is busy: {error.strerror}")
        self._refuse(arrival, request, busy)

    def _terms(self, request: Request, connected: SocketType | None, size: int | None) -> Terms:
        if not request.options:
            return _NO_OPTIONS
        limits = self._limits()
        max_blksize = limits.max_blksize
        if connected is not None and "blksize" in request.options:
            max_blksize = min(max_blksize, path_blksize(connected))
        return grant(
            request.options,
            max_blksize=max_blksize,
            max_windowsize=limits.max_windowsize,
            size=size,
        )

    def _fail(self, arrival: "_Arrival", request: Request, error: Exception) -> None:
        self._refuse(arrival, request, BROKEN, f"{type(error).__name__}: {error}")

    def _refuse(
        self, arrival: "_Arrival", request: Request | None, reply: ErrorReply, why: str = ""
    ) -> None:
        """One ERROR, out of the service port: no transfer is made for it."""
        self.refused += 1
        error = encode_error(reply.code, reply.text)
        arrival.listener.answer(error, arrival.asked, arrival.name)
        took = self._engine.clock() - arrival.now
        self._engine.tell(partial(_refusal, arrival, request, reply, why, took))


class _Arrival(NamedTuple):
    """A request as it came in."""

    listener: Listener
    datagram: bytes
    name: bytes  # who sent it, as the kernel has the address
    asked: Address
    now: float

    @property
    def host(self) -> str:
        """The address of the sender."""
        return host_text(host_of(self.name))


def _refusal(
    arrival: _Arrival, request: Request | None, reply: ErrorReply, why: str, took: float
) -> dict[str, object]:
    return {
        "event": "tftp.error",
        "device": device_of(request.name) if request else None,
        "peer": peer_text(arrival.name),
        "outcome": _OUTCOMES[reply.code],
        "reason": why or reply.text,
        "milliseconds": round(took * 1000, 1),
        "file": request.name if request else None,
        "code": int(reply.code),
        "expected": reply.expected,
    }


_NO_OPTIONS = Terms()
