r"""Text of others, from files and peers, as it is shown: all of it UTF-8, none drives a terminal.

Octets of a name that is not UTF-8, which Python keeps as U+DC80 to U+DCFF, become ``\xNN``.
"""

import codecs
import json
import re

import msgspec

OCTETS = "trustlab.octets"
"""How :meth:`str.encode` writes what an encoding lacks: such octets as above, the rest escaped."""

_UNDECODED = re.compile("[\udc80-\udcff]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    r"""``text`` with such octets and control characters as ``\xNN``; line feeds and tabs stay."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", _with_octets(text))


def json_text(value: object) -> str:
    r"""``value`` as compact JSON on one line, nothing in it able to drive a terminal.

    JSON leaves DEL, C1, direction and line separators as they are; here they are escaped too.
    """
    text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False, separators=(",", ":"))
    text = _with_octets(text, backslash="\\\\")
    return _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _with_octets(text: str, backslash: str = "\\") -> str:
    return _UNDECODED.sub(lambda found: f"{backslash}x{ord(found.group()) - 0xDC00:02x}", text)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return _with_octets(lacking).encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error(OCTETS, _escaped)
