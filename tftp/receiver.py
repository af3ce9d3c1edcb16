"""The side of a transfer that takes DATA; the rules are those of :mod:`tftp.transfer`."""

from collections.abc import Callable

from tftp import PacketError
from tftp.options import OptionError, Terms, accept
from tftp.packets import (
    BLOCK_NUMBERS,
    Data,
    Error,
    ErrorCode,
    OptionAck,
    Request,
    encode_ack,
    encode_option_ack,
    encode_request,
    parse,
)
from tftp.timer import MOST_SECONDS, RetransmitTimer
from tftp.transfer import (
    RETRIES,
    UNPROVEN_SENDS,
    Ending,
    Outcome,
    failure,
    last_wait,
    remote_outcome,
)

DALLY_SECONDS = 1.0  # how long a repeated last DATA is still acknowledged (RFC 1350 section 6)


class Receiver:
    """Takes a file under ``terms`` (serving a WRQ), or asks for it by ``request`` first (an RRQ).

    ``deliver`` gets the octets in order, each once, and ``complete`` is called before the last
    ACK; an OSError of theirs ends the transfer with ERROR 3, FileExistsError with ERROR 6. More
    than ``max_bytes`` octets end it with ERROR 3. ``outcome`` is set once all is delivered; until
    ``deadline`` a repeated last DATA may still be answered.
    """

    def __init__(
        self,
        deliver: Callable[[bytes], None],
        *,
        max_bytes: int,
        complete: Callable[[], None] = lambda: None,
        terms: Terms | None = None,
        request: Request | None = None,
        retries: int = RETRIES,
        timer: RetransmitTimer | None = None,
    ) -> None:
        self._deliver = deliver
        self._complete = complete
        self._max_bytes = max_bytes
        self._asking = request
        self._retries = retries
        self._tries = 0
        self._window_place = 0  # blocks taken since the last ACK
        self._gap_answered = False
        self._begun = False
        self._fresh = True
        self._wire = 0  # number of the last block taken
        self.terms = terms or Terms()
        self.timer = timer or RetransmitTimer(self.terms.timeout or MOST_SECONDS)
        self.blocks = 0
        self.octets = 0
        self.retransmissions = 0
        self.sent_at = 0.0
        self._heard_at = 0.0  # when the last block came that was due
        self.outcome: Outcome | None = None
        if request is not None:
            self._answer = encode_request(request)
        elif self.terms.granted:
            self._answer = encode_option_ack(self.terms.granted)
        else:
            self._answer = encode_ack(0)

    @property
    def deadline(self) -> float:
        """When :meth:`timeout` is due; after the end, how long to stay for a repeated last DATA."""
        if self.outcome is not None:
            return self.sent_at + DALLY_SECONDS
        return max(self.sent_at, self._heard_at) + self.timer.seconds

    @property
    def proven(self) -> bool:
        """Whether the peer is there: it has answered, or was asked by this side."""
        return self._begun or self._asking is not None

    @property
    def progressing(self) -> bool:
        """Whether nothing was sent twice since the peer's last DATA."""
        return self._tries == 0

    def start(self, now: float) -> bytes:
        """What opens the transfer: RRQ, OACK, or ACK 0."""
        self.sent_at = now
        return self._answer

    def receive(self, datagram: bytes, now: float) -> bytes:
        """Take a datagram of the peer; answers what to send."""
        try:
            packet = parse(datagram)
        except PacketError:
            return b""
        if isinstance(packet, Data):
            return self._data(packet, now)
        if self.outcome is not None:
            return b""
        if isinstance(packet, Error):
            self.outcome = remote_outcome(datagram)
        elif isinstance(packet, OptionAck) and self._asking is not None:
            return self._agreed(packet, now)
        return b""

    def timeout(self, now: float) -> bytes:
        """No DATA came in time: what is there acknowledged again, or the end."""
        most = self._retries if self.proven else UNPROVEN_SENDS - 1
        if self._tries >= most:
            reason = f"no answer to {self._tries + 1} copies after block {self.blocks}"
            self.outcome = Outcome(Ending.TIMED_OUT, reason)
            return b""
        self._tries += 1
        self._gap_answered = False
        self._window_place = 0
        last = self._tries == most
        self.timer.lost(last_wait(self.terms.timeout, proven=self.proven) if last else 0.0)
        return self._again_from_here(now)

    def gone(self) -> None:
        """The peer's port is closed."""
        if self.outcome is None:
            self.outcome = Outcome(Ending.GONE, "the peer's port is closed")

    def fail(self, code: ErrorCode, text: str) -> bytes:
        """End the transfer from this side; answers the ERROR to send."""
        burst, self.outcome = failure(code, text)
        return burst

    def _again(self, now: float) -> bytes:
        self.retransmissions += 1
        self._fresh = False
        self.sent_at = now
        return self._answer

    def _again_from_here(self, now: float) -> bytes:
        """The last answer, or the ACK of the last block if a part of a window came since."""
        if self.blocks:
            self._answer = encode_ack(self._wire)
        return self._again(now)

    def _agreed(self, packet: OptionAck, now: float) -> bytes:
        if self._begun:
            # a repeated OACK: its ACK 0 was lost, unless blocks came already
            return self._again(now) if self.blocks == 0 else b""
        try:
            self.terms = accept(self._asking.options if self._asking else {}, packet.options)
        except OptionError as error:
            return self.fail(ErrorCode.OPTIONS_REFUSED, str(error))
        if self.terms.tsize is not None and self.terms.tsize > self._max_bytes:
            return self.fail(
                ErrorCode.DISK_FULL, f"{self.terms.tsize} octets are above {self._max_bytes}"
            )
        self._begun = True
        self._progress()
        if self.terms.timeout:
            self.timer.most_seconds = float(self.terms.timeout)
        return self._acknowledge(now)

    def _data(self, packet: Data, now: float) -> bytes:
        ahead = self._ahead(packet.block)
        if self.outcome is not None:
            done = self.outcome.ending is Ending.DONE and packet.block == self._wire
            return self._again(now) if done else b""
        if ahead != 1:
            return self._out_of_order(ahead, now)
        refused = self._take(packet.payload)
        if refused:
            return refused
        self._begun = True
        self._gap_answered = False
        self._progress()
        self._heard_at = now
        self._wire = packet.block
        self.blocks += 1
        self.octets += len(packet.payload)
        self._window_place += 1
        if len(packet.payload) < self.terms.blksize:
            return self._last(now)
        if self._window_place >= self.terms.windowsize:
            return self._acknowledge(now)
        return b""

    def _progress(self) -> None:
        if self._tries:
            self.timer.progress()
        self._tries = 0

    def _take(self, payload: bytes) -> bytes:
        """Hand on the octets of the block that is due; answers the ERROR if that cannot be."""
        length = len(payload)
        if length > self.terms.blksize:
            text = f"DATA of {length} octets where {self.terms.blksize} were agreed"
            return self.fail(ErrorCode.ILLEGAL_OPERATION, text)
        if self.octets + length > self._max_bytes:
            return self.fail(ErrorCode.DISK_FULL, f"more than {self._max_bytes} octets")
        try:
            self._deliver(payload)
        except OSError as error:
            return self.fail(ErrorCode.DISK_FULL, f"cannot be stored: {error.strerror}")
        return b""

    def _last(self, now: float) -> bytes:
        try:
            self._complete()
        except FileExistsError:
            return self.fail(ErrorCode.FILE_EXISTS, "nothing is overwritten")
        except OSError as error:
            return self.fail(ErrorCode.DISK_FULL, f"cannot be stored: {error.strerror}")
        self.outcome = Outcome(Ending.DONE, "all blocks received")
        return self._acknowledge(now)

    def _acknowledge(self, now: float) -> bytes:
        if self._fresh:
            self.timer.sample(now - self.sent_at)
        else:
            self.timer.progress()
        self._fresh = True
        self._window_place = 0
        self.sent_at = now
        self._answer = encode_ack(self._wire)
        return self._answer

    def _ahead(self, block: int) -> int:
        """How far ``block`` is after the last one taken; either number may follow 65535."""
        if self._wire == BLOCK_NUMBERS - 1 and block in {0, 1}:
            return 1
        return (block - self._wire) % BLOCK_NUMBERS

    def _out_of_order(self, ahead: int, now: float) -> bytes:
        """A repeated block, or one after a gap: the ACK says from where to go on."""
        if not self._begun:
            return b""
        if ahead == 0 and self.blocks:
            self._window_place = 0
            return self._again_from_here(now)
        if ahead < BLOCK_NUMBERS // 2 and self.terms.windowsize > 1 and not self._gap_answered:
            self._gap_answered = True
            self._window_place = 0
            return self._again_from_here(now)
        return b""
