"""Content cut into DATA packets once, for every transfer of the same octets.

Framing is the one thing about a file that costs by its size. It is done in pieces of about 256 KiB,
as transfers reach them, and the pieces are shared and kept up to a byte limit. A retransmission is
the same frame again.
"""

from collections import OrderedDict
from collections.abc import Hashable  # noqa: TC003  annotations stay real for mypyc

from tftp.content import Content
from tftp.packets import BLOCK_NUMBERS, encode_ack, encode_data, wire_number

PIECE_BYTES = 256 * 1024
CROWDED_PIECE_BYTES = 16 * 1024
PIECE_BLOCKS = 512  # small blocks would make pieces of many thousand datagrams
KEPT_BYTES = 24 * 1024 * 1024
HEAD = 4  # octets before the payload of DATA
OVERHEAD = 48  # octets the interpreter keeps for a datagram beside it

_ACKS = [encode_ack(number) for number in range(BLOCK_NUMBERS)]
_HEADS = [encode_data(number, b"") for number in range(BLOCK_NUMBERS)]


class Piece:
    """Consecutive blocks of a content: the first's number counted from 1, and their datagrams.

    In lockstep ``frames`` has one datagram each and ``acks`` the ACK that answers it. With windows
    ``joined`` has them back to back, each of blksize + 4 octets but the last of all.
    """

    __slots__ = ("acks", "first", "frames", "joined", "last", "octets")

    def __init__(
        self, first: int, octets: bytes, *, count: int, blksize: int, windowed: bool, rollover: int
    ) -> None:
        self.first = first
        self.last = first + count - 1
        self.octets = len(octets) + (HEAD + OVERHEAD) * count
        frames = [
            head + octets[n * blksize : (n + 1) * blksize]
            for n, head in enumerate(_numbered(_HEADS, first, count, rollover))
        ]
        self.frames = [] if windowed else frames
        self.joined = memoryview(b"".join(frames) if windowed else b"")
        self.acks = [] if windowed else _numbered(_ACKS, first, count, rollover)


def _numbered(table: list[bytes], first: int, count: int, rollover: int) -> list[bytes]:
    """Entries of ``table`` for the numbers on the wire of ``count`` blocks."""
    if first + count <= BLOCK_NUMBERS:
        return table[first : first + count]
    return [table[wire_number(first + n, rollover)] for n in range(count)]


class Frames:
    """The pieces of all contents, least recently used ones dropped above ``kept_bytes``.

    ``rollover`` is the wire number after 65535: 0, or 1 for peers that want it. A transfer holds
    its piece beyond that limit, and any peer may have one of its own by its blksize: when there are
    so many transfers that this could fill the memory, pieces are short.
    """

    def __init__(self, *, kept_bytes: int = KEPT_BYTES, rollover: int = 0) -> None:
        self.rollover = rollover
        self.transfers = 0  # that may each hold a piece
        self._kept_bytes = kept_bytes
        self._bytes = 0
        self._pieces: OrderedDict[Hashable, Piece] = OrderedDict()

    def piece(self, content: Content, blksize: int, block: int, *, windowed: bool) -> Piece:
        """The piece that holds ``block``. Raises what reading ``content`` raises."""
        crowded = self.transfers * PIECE_BYTES > self._kept_bytes
        octets = CROWDED_PIECE_BYTES if crowded else PIECE_BYTES
        per_piece = min(max(1, octets // blksize), PIECE_BLOCKS)
        number = (block - 1) // per_piece
        key = (content.key, blksize, per_piece, number, windowed)
        piece = self._pieces.get(key)
        if piece is not None:
            self._pieces.move_to_end(key)
            return piece
        first = number * per_piece + 1
        last = min(content.size // blksize + 1, number * per_piece + per_piece)
        piece = Piece(
            first,
            content.read((first - 1) * blksize, per_piece * blksize),
            count=last - first + 1,
            blksize=blksize,
            windowed=windowed,
            rollover=self.rollover,
        )
        self._pieces[key] = piece
        self._bytes += piece.octets
        while self._bytes > self._kept_bytes and len(self._pieces) > 1:
            self._bytes -= self._pieces.popitem(last=False)[1].octets
        return piece
