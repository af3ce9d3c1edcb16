"""The names of certificates as lists and TVS write them, and when two of them mean the same.

CUCM joins attributes with ``;`` in an order of its own (Cisco documents 118893 and 213407); the
open tools use ``,``, the certificate's order, and attributes that CUCM leaves out. That a phone or
TVS which takes one for the other does no harm is assumed: the serial number must agree too.
"""

import re

MAX_NAME_CHARACTERS = 2048  # several times what X.520 lets CUCM's attributes be

_ATTRIBUTE = re.compile(r"(?:^|[;,/+])\s*([A-Za-z][A-Za-z0-9]*)\s*=")
_COMPARED = frozenset({"CN", "OU", "O", "L", "ST", "C"})  # what CUCM's name text holds


def same_name(one: str, other: str) -> bool:
    """Whether two name texts mean the same, whatever their order, joiner, case and blanks."""
    if one == other:
        return True
    if max(len(one), len(other)) > MAX_NAME_CHARACTERS:
        return False
    return name_attributes(one) == name_attributes(other)


def name_attributes(name: str) -> tuple[tuple[str, str], ...]:
    """The attributes of a name text that CUCM prints, sorted; the whole text if there are none."""
    found = list(_ATTRIBUTE.finditer(name))
    ends = [match.start() for match in found[1:]] + [len(name)]
    pairs = (
        (match[1].upper(), " ".join(name[match.end() : end].split()).casefold())
        for match, end in zip(found, ends, strict=False)
    )
    return tuple(sorted(pair for pair in pairs if pair[0] in _COMPARED)) or (("", name),)
