"""Elements of a header or a record: found where they stand, and written back octet for octet.

A list of 400 records holds 4000 elements, and every one passes the loop in :func:`_walk`. It notes
places only; values are cut out of the file's octets when somebody asks for them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

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
    HeaderTag,
    RecordTag,
)

Places: TypeAlias = dict[int, int]
"""The byte of each element's tag by tag, in the file's order.

An unknown element or padding that comes again stands under its negative place.
"""


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
    """How the elements of a header, or of a record, are told apart.

    ``length_tag`` tells where all end. ``heads`` holds tag and length of the others that have only
    one width; ``steps`` the octets of those whose size is not three and what their length says, and
    of the first.
    """

    names: Mapping[int, str]
    heads: Mapping[int, bytes]
    steps: Mapping[int, int]
    length_tag: int
    groups: frozenset[int] = frozenset()
    pads: frozenset[int] = frozenset()


def _heads(widths: Mapping[int, int], length_tag: int) -> dict[int, bytes]:
    others = {tag: width for tag, width in widths.items() if tag != length_tag}
    return {tag: bytes((tag,)) + width.to_bytes(2) for tag, width in others.items()}


_LENGTH_WIDTH = b"\0\2"
_LENGTH_STEP = ELEMENT_HEAD + 2
_HEADER = _Grammar(
    names=HEADER_NAMES,
    heads=_heads(HEADER_WIDTHS, HeaderTag.HEADER_LENGTH),
    steps={
        PAD: 1,
        HeaderTag.HEADER_LENGTH: _LENGTH_STEP,
        **dict.fromkeys(HEADER_GROUPS, ELEMENT_HEAD),
    },
    length_tag=HeaderTag.HEADER_LENGTH,
    groups=frozenset(HEADER_GROUPS),
    pads=frozenset({PAD}),
)
_RECORD = _Grammar(
    names=RECORD_NAMES,
    heads=_heads(RECORD_WIDTHS, RecordTag.RECORD_LENGTH),
    steps={RecordTag.RECORD_LENGTH: _LENGTH_STEP},
    length_tag=RecordTag.RECORD_LENGTH,
)


def header_elements(data: bytes) -> tuple[tuple[Element, ...], int]:
    """The elements of the header at byte 0, in any order, and where the header ends."""
    places, end = _walk(data, 0, _HEADER, 0)
    return _elements(data, places, _HEADER), end


def record_places(data: bytes, start: int, number: int) -> tuple[Places, int]:
    """Where the elements of record ``number`` (from 1) at ``start`` stand, and where it ends."""
    return _walk(data, start, _RECORD, number)


def record_elements(data: bytes, places: Places) -> tuple[Element, ...]:
    """The elements of a record that stand at these places of the file."""
    return _elements(data, places, _RECORD)


def value_at(data: bytes, place: int) -> bytes:
    """The value of the element (neither group nor padding) whose tag is at ``place``."""
    start = place + ELEMENT_HEAD
    return data[start : start + int.from_bytes(data[place + 1 : start])]


def header_label(tag: int) -> str:
    """How errors and findings call a header element: ``"header SIGNERNAME (4)"``."""
    return _label(_HEADER, 0, tag)


def record_label(number: int, tag: int) -> str:
    """The same for an element of a record: ``"record 3 FUNCTION (4)"``."""
    return _label(_RECORD, number, tag)


def encode_header(elements: Iterable[Element]) -> bytes:
    """The octets of a header from its elements."""
    return _encode(elements, _HEADER)


def encode_record(elements: Iterable[Element]) -> bytes:
    """The octets of a record from its elements."""
    return _encode(elements, _RECORD)


def _walk(data: bytes, start: int, grammar: _Grammar, number: int) -> tuple[Places, int]:
    """Find elements until the length that one of them declares is used up exactly.

    The length element may stand anywhere; until it was met, the longest length is the bound.
    ``number`` is the record's, 0 for the header.
    """
    # Every element of a list passes here: what the loop needs is bound outside it, and what can
    # be judged after it is.
    names, steps, length_tag = grammar.names, grammar.steps, grammar.length_tag
    places: Places = {}
    position, bound = start, min(len(data), start + MAX_LENGTH)
    try:
        while position < bound:
            tag = data[position]
            if tag not in places:
                places[tag] = position
            elif tag not in names:
                places[-position] = position
            else:
                reason = f"a second one; the first is at byte {places[tag]}"
                raise FormatError(_label(grammar, number, tag), position, reason)
            if tag not in steps:
                position += ELEMENT_HEAD + (data[position + 1] << 8 | data[position + 2])
                continue
            if tag == length_tag and position + _LENGTH_STEP <= bound:
                bound = _declared_end(data, start, position, grammar, number)
            position += steps[tag]
    except IndexError:
        position = bound + 1  # the file ends before the element's length does
    if position > bound:
        raise _overrun(data, bound, places, grammar, number)
    if length_tag not in places:
        label = _label(grammar, number, length_tag)
        raise FormatError(label, start, "missing: the file ends before it, or it comes too late")
    _check_widths(data, places, grammar, number)
    return places, position


def _check_widths(data: bytes, places: Places, grammar: _Grammar, number: int) -> None:
    for tag, head in grammar.heads.items():
        if tag in places:
            place = places[tag]
            found = data[place : place + ELEMENT_HEAD]
            if found != head:
                raise _other_width(found[1:], head[1:], place, _label(grammar, number, tag))


def _declared_end(data: bytes, start: int, position: int, grammar: _Grammar, number: int) -> int:
    """Where the header or record that begins at ``start`` ends by its length element."""
    value_place = position + ELEMENT_HEAD
    width = data[position + 1 : value_place]
    if width != _LENGTH_WIDTH:
        raise _other_width(width, _LENGTH_WIDTH, position, _label(grammar, number, data[position]))
    length = data[value_place] << 8 | data[value_place + 1]
    if start + length > len(data):
        reason = f"{length} octets from byte {start} run past the file's end"
    elif start + length < position + _LENGTH_STEP:
        reason = f"{length} octets do not even hold the elements before it"
    else:
        return start + length
    raise FormatError(_label(grammar, number, grammar.length_tag), position, reason)


def _overrun(
    data: bytes, bound: int, places: Places, grammar: _Grammar, number: int
) -> FormatError:
    """The last element does not end before byte ``bound``: of its header or record, or the file."""
    position = next(reversed(places.values()))
    label = _label(grammar, number, data[position])
    end = "the file's end" if bound == len(data) else f"the end of its place, byte {bound}"
    length = data[position + 1 : min(position + ELEMENT_HEAD, bound)]
    if len(length) < ELEMENT_HEAD - 1:
        return FormatError(label, position, f"cut off in its length by {end}")
    return FormatError(label, position, f"length {int.from_bytes(length)} runs past {end}")


def _other_width(width: bytes, known: bytes, position: int, label: str) -> FormatError:
    found, wanted = int.from_bytes(width), int.from_bytes(known)
    reason = f"length {found} where {wanted} is the only one known"
    return FormatError(label, position, reason)


def _elements(data: bytes, places: Places, grammar: _Grammar) -> tuple[Element, ...]:
    elements = []
    for place in places.values():
        tag = data[place]
        if tag in grammar.pads:
            value = b""
        elif tag in grammar.groups:
            value = data[place + 1 : place + ELEMENT_HEAD]
        else:
            value = value_at(data, place)
        elements.append(Element(tag, value, place))
    return tuple(elements)


def _encode(elements: Iterable[Element], grammar: _Grammar) -> bytes:
    parts: list[bytes] = []
    for tag, value, _ in elements:
        parts.append(bytes((tag,)))
        if tag in grammar.groups:
            parts.append(value)
        elif tag not in grammar.pads:
            parts += (len(value).to_bytes(2), value)
    return b"".join(parts)


def _label(grammar: _Grammar, number: int, tag: int) -> str:
    place = f"record {number}" if number else "header"
    return f"{place} {grammar.names.get(tag, 'element')} ({tag})"
