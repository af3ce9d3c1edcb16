"""Elements of a header or a record, walked and written back octet for octet."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from itl.errors import FormatError
from itl.layout import HEADER_GROUPS, HEADER_NAMES, HEADER_WIDTHS, PAD, RECORD_NAMES, RECORD_WIDTHS

_HEAD = 3  # tag and length
_MAX_LENGTH = 0xFFFF  # of a header or record: its length has two octets
_HEADER_PLACE = "header"


class Element(NamedTuple):
    """One element as it stands in the file; ``offset`` is the byte of its tag.

    The value of a group is its two length octets (its members follow as elements of their own);
    the value of a padding octet is empty.
    """

    tag: int
    value: bytes
    offset: int


@dataclass(frozen=True)
class _Grammar:
    names: Mapping[int, str]
    widths: Mapping[int, int]
    groups: frozenset[int]
    pads: frozenset[int]
    length_tag: int


_HEADER = _Grammar(
    names=HEADER_NAMES,
    widths=HEADER_WIDTHS,
    groups=frozenset(HEADER_GROUPS),
    pads=frozenset({PAD}),
    length_tag=2,
)
_RECORD = _Grammar(
    names=RECORD_NAMES,
    widths=RECORD_WIDTHS,
    groups=frozenset(),
    pads=frozenset(),
    length_tag=1,
)


def header_elements(data: bytes) -> tuple[tuple[Element, ...], int]:
    """The elements of the header at byte 0, in any order, and where the header ends."""
    return _walk(data, 0, _HEADER, _HEADER_PLACE)


def record_elements(data: bytes, start: int, number: int) -> tuple[tuple[Element, ...], int]:
    """The elements of record ``number`` (counted from 1) at ``start``, and where it ends."""
    return _walk(data, start, _RECORD, f"record {number}")


def header_label(tag: int) -> str:
    """How errors and findings call a header element: ``"header SIGNERNAME (4)"``."""
    return _label(_HEADER, _HEADER_PLACE, tag)


def record_label(number: int, tag: int) -> str:
    """The same for an element of a record: ``"record 3 FUNCTION (4)"``."""
    return _label(_RECORD, f"record {number}", tag)


def encode_header(elements: Iterable[Element]) -> bytes:
    """The octets of a header from its elements."""
    return _encode(elements, _HEADER)


def encode_record(elements: Iterable[Element]) -> bytes:
    """The octets of a record from its elements."""
    return _encode(elements, _RECORD)


def _walk(
    data: bytes, start: int, grammar: _Grammar, place: str
) -> tuple[tuple[Element, ...], int]:
    """Read elements until the length that one of them declares is used up exactly.

    The length element may stand anywhere; until it was met, the longest length is the bound.
    """
    length_tag, groups, pads, widths = (
        grammar.length_tag,
        grammar.groups,
        grammar.pads,
        grammar.widths,
    )
    elements: list[Element] = []
    seen: dict[int, int] = {}
    position, bound, declared = start, min(len(data), start + _MAX_LENGTH), False
    while position < bound:
        tag = data[position]
        if tag in pads:
            elements.append(Element(tag, b"", position))
            position += 1
            continue
        value_at = position + _HEAD
        if value_at > bound:
            raise FormatError(_label(grammar, place, tag), position, "cut off before its length")
        if tag in groups:
            following = value_at
            value = data[position + 1 : value_at]
        else:
            length = data[position + 1] << 8 | data[position + 2]
            following = value_at + length
            if following > bound:
                what = f"the {place.split(maxsplit=1)[0]}'s" if declared else "the file's"
                reason = f"length {length} runs past {what} end at byte {bound}"
                raise FormatError(_label(grammar, place, tag), position, reason)
            value = data[value_at:following]
            if tag in widths and length != widths[tag]:
                reason = f"length {length} where {widths[tag]} is the only one known"
                raise FormatError(_label(grammar, place, tag), position, reason)
        if tag in seen and tag in grammar.names:
            reason = f"a second one; the first is at byte {seen[tag]}"
            raise FormatError(_label(grammar, place, tag), position, reason)
        seen[tag] = position
        elements.append(Element(tag, value, position))
        if tag == length_tag:
            label = _label(grammar, place, tag)
            bound = _declared_end(data, start, position, following, label)
            declared = True
        position = following
    if not declared:
        label = _label(grammar, place, length_tag)
        raise FormatError(label, start, "missing: the file ends before it, or it comes too late")
    return tuple(elements), position


def _declared_end(data: bytes, start: int, position: int, following: int, label: str) -> int:
    """Where the header or record ends by its length element, which stands at ``position``."""
    length = int.from_bytes(data[following - 2 : following])
    end = start + length
    if end > len(data):
        raise FormatError(
            label, position, f"{length} octets from byte {start} run past the file's end"
        )
    if end < following:
        raise FormatError(
            label, position, f"{length} octets do not even hold the elements before it"
        )
    return end


def _encode(elements: Iterable[Element], grammar: _Grammar) -> bytes:
    parts: list[bytes] = []
    for tag, value, _ in elements:
        parts.append(bytes((tag,)))
        if tag in grammar.groups:
            parts.append(value)
        elif tag not in grammar.pads:
            parts += (len(value).to_bytes(2), value)
    return b"".join(parts)


def _label(grammar: _Grammar, place: str, tag: int) -> str:
    return f"{place} {grammar.names.get(tag, 'element')} ({tag})"
