"""Second floor: the TFTP server, its client, and the catalog of trust lists and signed files."""


class TftpError(Exception):
    """A TFTP transfer or catalog request that did not end with the content asked for."""

    exit_code = 3


class PacketError(TftpError):
    """A datagram that is no TFTP packet: the field, its byte offset, and what is wrong with it."""

    def __init__(self, field: str, offset: int, problem: str) -> None:
        super().__init__(f"{field} at byte {offset}: {problem}")
        self.field = field
        self.offset = offset
        self.problem = problem


class RemoteError(TftpError):
    """The peer ended the transfer with an ERROR packet: its code (0 to 65535) and its text."""

    exit_code = 1

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"the peer answered ERROR {code}: {text or 'no text'}")
        self.code = code
        self.text = text
