"""Options: what is asked for, what is granted (RFC 2348 blksize, 2349 timeout and tsize, 7440)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tftp import TftpError

DEFAULT_BLKSIZE = 512
MIN_BLKSIZE, MAX_BLKSIZE = 8, 65_464  # octets, RFC 2348
MIN_TIMEOUT, MAX_TIMEOUT = 1, 255  # seconds, RFC 2349
MIN_WINDOWSIZE, MAX_WINDOWSIZE = 1, 65_535  # blocks, RFC 7440
_DIGITS = re.compile(r"[0-9]{1,20}", re.ASCII)


class OptionError(TftpError):
    """An OACK that grants what was not asked for, or a value that must not be."""


@dataclass(frozen=True)
class Terms:
    """What both sides agreed on.

    ``blksize`` in octets, ``windowsize`` in blocks, ``timeout`` in seconds or None, ``tsize`` in
    octets or None, and ``granted``: the options of the OACK with their values, empty for none.
    """

    blksize: int = DEFAULT_BLKSIZE
    windowsize: int = 1
    timeout: int | None = None
    tsize: int | None = None
    granted: dict[str, str] = field(default_factory=dict)


def number(text: str, least: int, most: int) -> int | None:
    """The decimal number in ``text``, None unless it is one between ``least`` and ``most``."""
    if not _DIGITS.fullmatch(text):
        return None
    value = int(text)
    return value if least <= value <= most else None


def grant(
    asked: Mapping[str, str],
    *,
    max_blksize: int,
    max_windowsize: int,
    size: int | None,
) -> Terms:
    """What a server grants of the options ``asked`` for.

    Values out of range, garbage and unknown options are passed over as RFC 2347 says; nothing is
    granted that was not asked for. ``size`` is the transfer's true size in octets; None accepts the
    size that a WRQ announces.
    """
    blksize, windowsize, timeout, tsize = DEFAULT_BLKSIZE, 1, None, None
    granted: dict[str, str] = {}
    for name, text in asked.items():
        if name == "blksize":
            value = number(text, MIN_BLKSIZE, MAX_BLKSIZE)
            if value is not None:
                blksize = min(value, max_blksize)
                granted[name] = str(blksize)
        elif name == "windowsize":
            value = number(text, MIN_WINDOWSIZE, MAX_WINDOWSIZE)
            if value is not None:
                windowsize = min(value, max_windowsize)
                granted[name] = str(windowsize)
        elif name == "timeout":
            timeout = number(text, MIN_TIMEOUT, MAX_TIMEOUT)
            if timeout is not None:
                granted[name] = str(timeout)
        elif name == "tsize":
            value = number(text, 0, 2**63 - 1)
            if value is not None:
                tsize = value if size is None else size
                granted[name] = str(tsize)
    return Terms(blksize, windowsize, timeout, tsize, granted)


def accept(asked: Mapping[str, str], granted: Mapping[str, str]) -> Terms:
    """What a client agrees to of an OACK. Raises :class:`OptionError` (answered with ERROR 8).

    blksize and windowsize may be at most what was asked for, a timeout must be what was asked for.
    """
    limits = {
        "blksize": (MIN_BLKSIZE, MAX_BLKSIZE),
        "windowsize": (MIN_WINDOWSIZE, MAX_WINDOWSIZE),
        "timeout": (MIN_TIMEOUT, MAX_TIMEOUT),
        "tsize": (0, 2**63 - 1),
    }
    values: dict[str, int] = {}
    for name, text in granted.items():
        if name not in asked:
            raise OptionError(f"option {name} was granted and never asked for")
        least, most = limits.get(name, (0, 0))
        if name in {"blksize", "windowsize", "timeout"}:
            most = min(most, int(asked[name]))
        value = number(text, least, most)
        if value is None or (name == "timeout" and value != int(asked[name])):
            raise OptionError(f"option {name} was granted as {text!r}, asked for {asked[name]!r}")
        values[name] = value
    return Terms(
        values.get("blksize", DEFAULT_BLKSIZE),
        values.get("windowsize", 1),
        values.get("timeout"),
        values.get("tsize"),
        dict(granted),
    )
