"""What goes wrong: input that is no document, and requests that none can be made from."""


class ItlError(Exception):
    """A document, certificate or build request that the formats do not allow."""

    exit_code = 3


class FormatError(ItlError):
    """Octets that are not what the format wants there.

    ``element`` names the place ("header SIGNERNAME (4)"), ``offset`` is its first byte in the
    file, ``reason`` says what is wrong with it.
    """

    def __init__(self, element: str, offset: int, reason: str) -> None:
        super().__init__(f"{element} at byte {offset}: {reason}")
        self.element = element
        self.offset = offset
        self.reason = reason


class BuildError(ItlError):
    """A list or file that cannot be written as asked for; the text says why."""

    exit_code = 2
