"""The retransmission timer RFC 1123 section 4.2.3.3 asks for, after RFC 6298 with TFTP's bounds."""

FIRST_SECONDS = 0.1  # a LAN's phones answer within it; the first loss costs no more than this
LEAST_SECONDS = 0.04  # below, a busy scheduler looks like a loss
MOST_SECONDS = 5.0


class RetransmitTimer:
    """How long to wait for an answer: smoothed round trips, doubled by repeated loss.

    ``seconds`` is the wait now, ``smoothed`` the round trip (None before the first);
    ``most_seconds`` bounds it: a negotiated timeout (RFC 2349) or 5.
    """

    __slots__ = ("_base", "_losses", "_variation", "most_seconds", "seconds", "smoothed")

    def __init__(
        self, most_seconds: float = MOST_SECONDS, first_seconds: float = FIRST_SECONDS
    ) -> None:
        self.most_seconds = most_seconds
        self._base = first_seconds
        self._losses = 0
        self.smoothed: float | None = None
        self._variation = 0.0
        self.seconds = min(first_seconds, most_seconds)

    def sample(self, round_trip: float) -> None:
        """Learn from an answer to something sent once (Karn's rule)."""
        if self.smoothed is None:
            self.smoothed, self._variation = round_trip, round_trip / 2
        else:
            self._variation += (abs(round_trip - self.smoothed) - self._variation) / 4
            self.smoothed += (round_trip - self.smoothed) / 8
        self._base = max(LEAST_SECONDS, self.smoothed + 4 * self._variation)
        self.progress()

    def progress(self) -> None:
        """Something new was acknowledged: the next loss is a first one."""
        self._losses = 0
        self.seconds = min(self._base, self.most_seconds)

    def lost(self, least_seconds: float = 0.0) -> None:
        """The wait ended without an answer: doubled from the second loss in a row.

        ``least_seconds`` are waited now, whatever the bounds say.
        """
        self._losses += 1
        doubled = self._base * 2.0 ** min(self._losses - 1, 16)
        self.seconds = max(min(doubled, self.most_seconds), least_seconds)

    def too_early(self) -> None:
        """An answer to both copies came: the wait was shorter than the round trip."""
        self._base = min(self._base * 2, self.most_seconds)
        self.seconds = max(self.seconds, self._base)
