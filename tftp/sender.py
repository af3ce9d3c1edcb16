"""The side of a transfer that sends DATA; the rules are those of :mod:`tftp.transfer`."""

from tftp import PacketError, TftpError
from tftp.content import Content
from tftp.frames import HEAD, Frames, Piece
from tftp.options import OptionError, Terms, accept
from tftp.packets import (
    ErrorCode,
    OptionAck,
    Request,
    encode_ack,
    encode_option_ack,
    encode_request,
    parse,
    wire_number,
)
from tftp.timer import MOST_SECONDS, RetransmitTimer
from tftp.transfer import (
    RETRIES,
    UNPROVEN_SENDS,
    Burst,
    Ending,
    Outcome,
    failure,
    last_wait,
    remote_outcome,
    steps_ahead,
)

SAMPLE_BLOCKS = 32  # a round trip is measured once in so many blocks
NO_BLOCK = -1
_ACK_0 = encode_ack(0)
_DONE = Outcome(Ending.DONE, "all blocks acknowledged")


class Sender:
    """Sends ``content`` under ``terms`` (serving an RRQ), or asks by ``request`` first (a WRQ).

    ``frames`` cuts the content. Serving, at most three copies of the first packet go out before the
    first ACK proves the address; asking, ``retries`` copies.
    """

    __slots__ = (
        "_acked",
        "_asking",
        "_content",
        "_echoing",
        "_gap_answered",
        "_opening",
        "_piece",
        "_repeated",
        "_resent",
        "_resent_block",
        "_retries",
        "_source",
        "_tries",
        "_window_end",
        "acks",
        "expected",
        "frames",
        "limit",
        "outcome",
        "position",
        "proven",
        "retransmissions",
        "segment",
        "sent_at",
        "size",
        "terms",
        "timer",
        "total",
    )

    def __init__(
        self,
        source: Frames,
        content: Content,
        *,
        terms: Terms | None = None,
        request: Request | None = None,
        retries: int = RETRIES,
        timer: RetransmitTimer | None = None,
    ) -> None:
        self._source = source
        self._content = content
        self._asking = request
        self._opening = b""
        if request is not None:
            self._opening = encode_request(request)
        elif terms is not None and terms.granted:
            self._opening = encode_option_ack(terms.granted)
        self._retries = retries
        self.proven = request is not None
        self._tries = 0
        self._resent = False
        self._resent_block = NO_BLOCK
        self._gap_answered = False
        self._repeated = False  # the window: its ACK may come twice
        self._echoing = False  # the window before was repeated: what repeats its ACK tells no gap
        self._piece: Piece | None = None
        self.frames: list[bytes] = []
        self.acks: list[bytes] = []
        self.position = 0
        self.limit = 0
        self._acked = 0
        self._window_end = 0
        self.size = content.size
        self.expected = _ACK_0
        self.outcome: Outcome | None = None
        self.retransmissions = 0
        self.sent_at = 0.0
        self._agree(terms or Terms())
        self.timer = timer or RetransmitTimer(self.terms.timeout or MOST_SECONDS)

    def _agree(self, terms: Terms) -> None:
        self.terms = terms
        self.segment = terms.blksize + HEAD
        self.total = self.size // terms.blksize + 1

    @property
    def acked(self) -> int:
        """Blocks acknowledged so far."""
        if self._piece is None or self.terms.windowsize > 1 or self.outcome is _DONE:
            return self._acked
        return self._piece.first + self.position - 1

    @property
    def octets(self) -> int:
        """Octets of the content acknowledged so far."""
        return min(self.acked * self.terms.blksize, self.size)

    @property
    def deadline(self) -> float:
        """When :meth:`timeout` is due."""
        return self.sent_at + self.timer.seconds

    @property
    def progressing(self) -> bool:
        """Whether nothing was sent twice since the peer's last answer."""
        return self._tries == 0

    def start(self, now: float) -> Burst:
        """What opens the transfer: WRQ, OACK, or the first DATA."""
        self.sent_at = now
        if self._opening:
            return self._opening
        return self._send_from(1, now)

    def again(self, now: float) -> Burst:
        """The peer repeated its request before it acknowledged anything: one packet for one."""
        if self.proven:
            return b""
        self._resent = True
        self.limit = 0
        self.retransmissions += 1
        self.sent_at = now
        return self.frames[self.position] if self.frames else self._opening

    def receive(self, datagram: bytes, now: float) -> Burst:
        """Take a datagram of the peer; answers what to send."""
        if datagram == self.expected:
            position = self.position + 1
            if position < self.limit:
                self.position = position
                self.expected = self.acks[position]
                self.sent_at = now
                return self.frames[position]
            return self._advance(now)
        return self._unusual(datagram, now)

    def timeout(self, now: float) -> Burst:
        """No answer came in time: the last packet or window again, or the end."""
        most = self._retries if self.proven else UNPROVEN_SENDS - 1
        if self._tries >= most:
            return self._give_up()
        return self._repeat(now, last=self._tries + 1 == most)

    def gone(self) -> None:
        """The peer's port is closed: it has all and lost interest in saying so, or went away."""
        if self.outcome is not None:
            return
        if self._last_is_out() and self.proven:
            self.outcome = Outcome(Ending.UNCONFIRMED, "port closed before the last ACK")
        else:
            self.outcome = Outcome(Ending.GONE, "the peer's port is closed")

    def _give_up(self) -> Burst:
        if not self.proven:
            self.outcome = Outcome(Ending.TIMED_OUT, "no answer to the first packet")
            return b""
        if self._last_is_out():
            self.outcome = Outcome(Ending.UNCONFIRMED, "the last ACK did not come")
            return b""
        reason = f"no answer to {self._tries + 1} copies of block {self.acked + 1}"
        self.outcome = Outcome(Ending.TIMED_OUT, reason)
        return b""

    def _last_is_out(self) -> bool:
        if self._piece is None:
            return False
        if self.terms.windowsize > 1:
            return self._window_end == self.total
        return self._piece.first + self.position == self.total

    def _repeat(self, now: float, *, last: bool) -> Burst:
        self._tries += 1
        self._resent = True
        self.limit = 0  # the next ACK goes the slow way and clears the count
        self.retransmissions += 1
        self.sent_at = now
        self.timer.lost(last_wait(self.terms.timeout, proven=self.proven) if last else 0.0)
        if self._piece is None:
            return self._opening
        if self.terms.windowsize == 1:
            return self.frames[self.position]
        self._echoing, self._repeated = False, True
        return self._send_from(self._acked + 1, now)

    def _advance(self, now: float) -> Burst:
        """The ACK that was waited for, on the way where something beside the next DATA is due."""
        self.proven = True
        lockstep = self.terms.windowsize == 1
        if self._piece is not None:
            self._acked = self._piece.first + self.position if lockstep else self._window_end
            if self._acked == self.total:
                self.outcome = _DONE
                return b""
        resent, self._resent = self._resent, False
        if resent:
            self.timer.progress()
        else:
            self.timer.sample(now - self.sent_at)
        self._tries = 0
        self._resent_block = self._acked if resent and lockstep else NO_BLOCK
        self._echoing, self._repeated = self._repeated, False
        return self._send_from(self._acked + 1, now)

    def _send_from(self, block: int, now: float) -> Burst:
        self.sent_at = now
        try:
            if self.terms.windowsize == 1:
                return self._lockstep(block)
            return self._window(block)
        except TftpError as error:
            burst, self.outcome = failure(ErrorCode.UNDEFINED, str(error))
        except OSError as error:
            text = f"the file cannot be read: {error.strerror}"
            burst, self.outcome = failure(ErrorCode.UNDEFINED, text)
        return burst

    def _lockstep(self, block: int) -> bytes:
        piece = self._piece
        if piece is None or not piece.first <= block <= piece.last:
            piece = self._fetch(block)
            self.frames, self.acks = piece.frames, piece.acks
        self.position = block - piece.first
        # the first ACK goes the slow way too, as it proves the address; and that after a loss, as
        # what was sent twice gave no sample
        careful = not self.proven or self._resent_block != NO_BLOCK
        blocks = 1 if careful else SAMPLE_BLOCKS
        self.limit = min(len(piece.frames), self.position + blocks)
        self.expected = piece.acks[self.position]
        return piece.frames[self.position]

    def _fetch(self, block: int) -> Piece:
        windowed = self.terms.windowsize > 1
        piece = self._source.piece(self._content, self.terms.blksize, block, windowed=windowed)
        if piece.first == 1 and piece.last == self.total:
            self._content.close()  # all of it is at hand: a descriptor less for each phone
        else:
            self._content.hold()
        self._piece = piece
        return piece

    def _window(self, block: int) -> memoryview:
        end = min(block + self.terms.windowsize - 1, self.total)
        parts = []
        while True:
            piece = self._piece
            if piece is None or not piece.first <= block <= piece.last:
                piece = self._fetch(block)
            upto = min(end, piece.last)
            start = (block - piece.first) * self.segment
            parts.append(piece.joined[start : (upto - piece.first + 1) * self.segment])
            block = upto + 1
            if upto == end:
                break
        self._window_end = end
        self._gap_answered = False
        self.expected = encode_ack(wire_number(end, self._source.rollover))
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    def _unusual(self, datagram: bytes, now: float) -> Burst:
        opcode = datagram[:2]
        if opcode == b"\0\4" and len(datagram) >= HEAD:
            return self._odd_ack(datagram[:HEAD], now)
        if opcode == b"\0\6" and self._asking is not None and self._piece is None:
            return self._agreed(datagram, now)
        if opcode == b"\0\5":
            self.outcome = remote_outcome(datagram)
        return b""

    def _agreed(self, datagram: bytes, now: float) -> Burst:
        asked = self._asking.options if self._asking else {}
        try:
            packet = parse(datagram)
            self._agree(accept(asked, packet.options if isinstance(packet, OptionAck) else {}))
        except PacketError:
            return b""
        except OptionError as error:
            burst, self.outcome = failure(ErrorCode.OPTIONS_REFUSED, str(error))
            return burst
        return self._advance(now)

    def _odd_ack(self, datagram: bytes, now: float) -> Burst:
        """An ACK that is not simply the expected one: longer, repeated, of a gap, or stale."""
        if datagram == self.expected:
            return self._advance(now)
        if self._piece is None:
            return b""
        rollover = self._source.rollover
        acked = self.acked
        ahead = steps_ahead(
            int.from_bytes(datagram[2:4], "big"), wire_number(acked, rollover), rollover
        )
        if self.terms.windowsize > 1:
            return self._gap(ahead, now)
        if ahead == 0 and acked == self._resent_block:
            self._resent_block = NO_BLOCK
            self.timer.too_early()
        return b""

    def _gap(self, ahead: int, now: float) -> Burst:
        """An ACK inside a window: again from the block after it, once per burst if it is stuck."""
        stuck = ahead == 0
        if self._acked + ahead >= self._window_end or (
            stuck and (self._gap_answered or self._echoing or not self.proven)
        ):
            return b""
        self._repeated = self._repeated or stuck
        if not stuck:
            self._acked += ahead
            self._tries = 0
            self.timer.progress()
            self._echoing = False
            self.proven = True
        self._resent = True
        self.retransmissions += 1
        burst = self._send_from(self._acked + 1, now)
        self._gap_answered = stuck
        return burst
