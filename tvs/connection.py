"""One TVS connection's octets, either role: data in, whole messages out; pure and bounded.

Requests may arrive in single octets or several at once; what is kept is at most one header more
than the largest message allowed.
"""

from tvs.messages import (
    HEADER_BYTES,
    MAX_BODY_BYTES,
    Header,
    MessageError,
    Request,
    Response,
    parse_header,
    parse_request,
    parse_response,
)


class MessageBuffer:
    """Collects octets and gives out whole messages in order.

    ``max_body_bytes`` is the longest body taken (a header that promises more is refused at once).
    """

    def __init__(self, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._max_body_bytes = max_body_bytes
        self._octets = bytearray()
        self._header: Header | None = None

    def __len__(self) -> int:
        """How many octets of messages not yet given out there are."""
        return len(self._octets)

    def receive_data(self, octets: bytes) -> None:
        """Take octets from the peer."""
        self._octets += octets

    def end(self) -> None:
        """Take note that the peer sends no more. Raises MessageError inside a message."""
        if self._octets:
            raise MessageError("message", len(self._octets), "the peer ended the connection here")

    def next_request(self) -> Request | None:
        """The next whole request, or None: more octets are needed. Raises MessageError."""
        whole = self._next_message()
        return parse_request(*whole) if whole else None

    def next_response(self) -> Response | None:
        """The next whole answer, or None: more octets are needed. Raises MessageError."""
        whole = self._next_message()
        return parse_response(*whole) if whole else None

    def _next_message(self) -> tuple[Header, bytes] | None:
        header = self._header
        if header is None:
            if len(self._octets) < HEADER_BYTES:
                return None
            header = self._header = parse_header(self._octets)
            if header.length > self._max_body_bytes:
                raise MessageError(
                    "header", 8, f"{header.length} octets promised, {self._max_body_bytes} allowed"
                )
        end = HEADER_BYTES + header.length
        if len(self._octets) < end:
            return None
        body = bytes(self._octets[HEADER_BYTES:end])
        del self._octets[:end]
        self._header = None
        return header, body
