"""From a datagram on the service port to a transfer, an ERROR, or nothing.

One small answer at most goes to an address that has proven nothing yet, and none to one that is
over its share.
"""

from collections.abc import Callable
from contextlib import suppress
from socket import SocketType
from typing import TypeAlias

from tftp import PacketError
from tftp.content import Answer, Content, ErrorReply, Later
from tftp.engine import Engine
from tftp.flow import Flow
from tftp.frames import Frames
from tftp.limits import Gate, Limits
from tftp.listener import Listener
from tftp.netascii import Translations
from tftp.options import Terms, grant
from tftp.packets import ErrorCode, Opcode, Request, parse_request
from tftp.ports import Port, shares
from tftp.refusals import Arrival, busy, fail, refuse
from tftp.sender import Sender
from tftp.sockets import Address, path_blksize
from tftp.uploads import MAX_AT_ONCE, Uploads

Find: TypeAlias = Callable[[str, str], Answer]
ReplyPolicy: TypeAlias = Callable[[str, str, Answer], Answer | None]
Link: TypeAlias = Callable[[str, str, SocketType], SocketType]
Resume: TypeAlias = Callable[[Content | ErrorReply | Exception], None]
Make: TypeAlias = Callable[[Later, Resume], None]

_REPEAT_SECONDS = 1.0  # a request again within it is the network's doing, not a new start
_REQUEST_OPCODES = (b"\0\1", b"\0\2")
_MODES = ("octet", "netascii")
_WRQ = Opcode.WRQ


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
        limits: Callable[[], Limits],
        uploads: Uploads | None = None,
        reply_policy: ReplyPolicy | None = None,
        link: Link | None = None,
    ) -> None:
        self._engine = engine
        self._frames = frames
        self._find = find
        self._make = make
        self._gate = Gate(engine, limits)
        self._uploads = uploads
        self._reply_policy = reply_policy
        self._link = link
        self._making: dict[bytes, bytes] = {}  # the last request of a peer whose content is made
        self._translations = Translations()

    @property
    def making(self) -> int:
        """How many requests wait for their content."""
        return self._gate.making

    def admit(
        self, listener: Listener, datagram: bytes, name: bytes, asked: Address, now: float
    ) -> None:
        """Take one datagram of a service socket, of ``name``, as the kernel has the address.

        ``asked`` is the local address it came to.
        """
        if datagram[:2] not in _REQUEST_OPCODES or not self._gate.listens(name, now):
            return
        if (self._making or name in self._engine.flows) and self._known(datagram, name, now):
            return
        if not self._gate.lets_begin(name, now):
            return
        arrival = Arrival(listener, datagram, name, asked, now)
        try:
            request = parse_request(datagram)
        except PacketError as error:
            self._refuse(arrival, None, ErrorReply(ErrorCode.ILLEGAL_OPERATION, str(error)))
            return
        try:
            self._take(arrival, request)
        except Exception as error:  # noqa: BLE001  one request must not end the service for all
            self._fail(arrival, request, error)

    def _take(self, arrival: Arrival, request: Request) -> None:
        if request.mode not in _MODES:
            text = f"mode {request.mode[:16]!r} is none of octet and netascii"
            self._refuse(arrival, request, ErrorReply(ErrorCode.ILLEGAL_OPERATION, text))
        elif request.opcode is _WRQ:
            self._write(arrival, request)
        else:
            self._answer(arrival, request, self._find(request.name, arrival.host))

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

    def _answer(self, arrival: Arrival, request: Request, found: Answer) -> None:
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

    def _translate(self, arrival: Arrival, request: Request, content: Content) -> None:
        answer = self._translations.of(content)
        if isinstance(answer, ErrorReply):
            self._refuse(arrival, request, answer)
        elif isinstance(answer, Later):
            self._wait(arrival, request, answer, translated=True)
        else:
            self._read(arrival, request, answer)

    def _wait(
        self, arrival: Arrival, request: Request, later: Later, *, translated: bool = False
    ) -> None:
        if not self._gate.begin_making(arrival.name):
            return
        self._making[arrival.name] = arrival.datagram

        def resume(made: Content | ErrorReply | Exception) -> None:
            self._gate.made(arrival.name)
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

    def _read(self, arrival: Arrival, request: Request, content: Content) -> None:
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
        self._frames.transfers = len(self._engine.flows)
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

    def _write(self, arrival: Arrival, request: Request) -> None:
        uploads, running = self._uploads, self._engine.uploads
        if uploads is None:
            no = ErrorReply(ErrorCode.ACCESS_VIOLATION, "uploads are not accepted here")
            self._refuse(arrival, request, no)
            return
        if len(running) >= MAX_AT_ONCE and not self._engine.make_room(running, arrival.now):
            full = ErrorReply(ErrorCode.UNDEFINED, "too many uploads at once; try again")
            self._refuse(arrival, request, full)
            return
        upload = uploads.open(request.name, self._terms(request, None, None).tsize or 0)
        if isinstance(upload, ErrorReply):
            self._refuse(arrival, request, upload)
            return
        port = self._port(arrival, request, upload.abort, shared=False)
        if port is None:
            return
        connected = self._connect(arrival, request, port, upload.abort)
        if connected is None:
            return
        terms = self._terms(request, connected, None)
        flow = Flow(
            uploads.receiver(upload, terms, text=request.mode == "netascii"),
            port,
            connected,
            name=arrival.name,
            request=request,
            datagram=arrival.datagram,
            now=arrival.now,
            upload=upload,
        )
        self._engine.start(flow, self._engine.clock())

    def _port(
        self, arrival: Arrival, request: Request, let_go: Callable[[], None], *, shared: bool
    ) -> Port | None:
        """Where the transfer runs from; None if there is no socket to be had, which is answered."""
        ports, family = self._engine.ports, arrival.listener.family
        try:
            return ports.port(family, arrival.asked, arrival.name, shared=shared)
        except OSError as error:
            let_go()
            self._refuse(arrival, request, busy(error))
            return None

    def _connect(
        self, arrival: Arrival, request: Request, port: Port, let_go: Callable[[], None]
    ) -> SocketType | None:
        """A socket of the transfer's own; None if there is none, which is answered."""
        try:
            connected = self._engine.ports.connect(port, arrival.name)
        except OSError as error:
            let_go()
            self._refuse(arrival, request, busy(error))
            return None
        if self._link is None or request.opcode is _WRQ:
            return connected
        try:
            return self._link(request.name, arrival.host, connected)
        except Exception:
            connected.close()
            raise

    def _terms(self, request: Request, connected: SocketType | None, size: int | None) -> Terms:
        if not request.options:
            return _NO_OPTIONS
        limits = self._gate.limits()
        max_blksize = limits.max_blksize
        if connected is not None and "blksize" in request.options:
            max_blksize = min(max_blksize, path_blksize(connected))
        return grant(
            request.options,
            max_blksize=max_blksize,
            max_windowsize=limits.max_windowsize,
            size=size,
        )

    def _fail(self, arrival: Arrival, request: Request, error: Exception) -> None:
        fail(self._engine, arrival, request, error)

    def _refuse(self, arrival: Arrival, request: Request | None, reply: ErrorReply) -> None:
        refuse(self._engine, arrival, request, reply)


_NO_OPTIONS = Terms()
