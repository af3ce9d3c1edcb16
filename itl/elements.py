"""Elements of a header or a record, walked and written back octet for octet."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from itl.errors import FormatError
from itl.layout import (
    ELEMENT_HEAD,
    HEADER_GROUPS,
    HEADER_NAMES,
    HEADER_WIDTHS,
    MAX_LENGTH,
    PAD,
    RECORD_NAMES,
    RECORD_WIDTHS,
)

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
    # Every element of a list passes here: what the loop needs is bound outside it.
    names, widths, groups, pads = grammar.names, grammar.widths, grammar.groups, grammar.pads
    elements: list[Element] = []
    seen: dict[int, int] = {}
    position, bound, declared = start, min(len(data), start + MAX_LENGTH), False
    while position < bound:
        tag = data[position]
        if tag in pads:
            elements.append(Element(tag, b"", position))
            position += 1
            continue
        value_at = position + ELEMENT_HEAD
        if tag in groups:
            following, value = value_at, data[position + 1 : value_at]
        else:
            following = value_at + int.from_bytes(data[position + 1 : value_at])
            value = data[value_at:following]
        if following > bound:
            raise _overrun(data, position, bound, _label(grammar, place, tag))
        if tag in widths and len(value) != widths[tag]:
            reason = f"length {len(value)} where {widths[tag]} is the only one known"
            raise FormatError(_label(grammar, place, tag), position, reason)
        if tag in seen and tag in names:
            reason = f"a second one; the first is at byte {seen[tag]}"
            raise FormatError(_label(grammar, place, tag), position, reason)
        seen[tag] = position
        elements.append(Element(tag, value, position))
        if tag == grammar.length_tag:
            declared = True
            bound = _declared_end(data, start, elements[-1], _label(grammar, place, tag))
        position = following
    if not declared:
        label = _label(grammar, place, grammar.length_tag)
        raise FormatError(label, start, "missing: the file ends before it, or it comes too late")
    return tuple(elements), position


def _overrun(data: bytes, position: int, bound: int, label: str) -> FormatError:
    """An element that does not end before byte ``bound``: of its header or record, or the file."""
    end = "the file's end" if bound == len(data) else f"the end of its place, byte {bound}"
    head = data[position + 1 : min(position + ELEMENT_HEAD, bound)]
    if len(head) < ELEMENT_HEAD - 1:
        return FormatError(label, position, f"cut off in its length by {end}")
    return FormatError(label, position, f"length {int.from_bytes(head)} runs past {end}")


def _declared_end(data: bytes, start: int, element: Element, label: str) -> int:
    """Where the header or record that begins at ``start`` ends by its length element."""
    length = int.from_bytes(element.value)
    if start + length > len(data):
        reason = f"{length} octets from byte {start} run past the file's end"
        raise FormatError(label, element.offset, reason)
    if start + length < element.offset + ELEMENT_HEAD + len(element.value):
        reason = f"{length} octets do not even hold the elements before it"
        raise FormatError(label, element.offset, reason)
    return start + length


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
