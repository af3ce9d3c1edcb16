"""HOST, HOST:PORT and [IPV6]:PORT as people write them on a command line."""

import re

from lab import LabError

_BRACKETS = re.compile(r"\[(?P<host>[^\]]+)\](?::(?P<port>\d{1,5}))?")
_PLAIN = re.compile(r"(?P<host>[^:\[\]\s]+)(?::(?P<port>\d{1,5}))?")
_BARE_IPV6 = re.compile(r"(?P<host>[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.%\w]*)(?P<port>)")


class UsageError(LabError):
    """Something asked for that cannot be carried out as it was given; the text says why."""

    exit_code = 2


def parse_endpoint(text: str, default_port: int) -> tuple[str, int]:
    """Host and port of ``text``. Raises :class:`UsageError`."""
    for form in (_BRACKETS, _PLAIN, _BARE_IPV6):
        found = form.fullmatch(text)
        if found is not None:
            port = int(found["port"] or default_port)
            if 0 < port < 1 << 16:
                return found["host"], port
    raise UsageError(f"{text!r}: HOST or HOST:PORT expected, with a port of 1 to 65535")
