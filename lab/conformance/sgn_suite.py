"""Checks of a signed file (``.sgn``), and those of a header that lists share."""

from lab.conformance.model import (
    Standing,
    Timeline,
    check,
    checks_in,
    demand,
    fail,
    inapplicable,
)
from lab.conformance.tlv import GROUPS, HEAD, PAD, Document, Tag

FORMAT = "open tools whose files phones take; a header as lists have it"
DIGEST_NAMES = {1: "SHA-1", 3: "SHA-512"}
MODULUS_OCTETS = {0: 64, 1: 128, 2: 256, 3: 512}


def signature_digest(document: Document) -> str:
    """The digest's name; one that no phone knows fails the check."""
    code = int.from_bytes(document.value(Tag.DIGEST), "big")
    name = DIGEST_NAMES.get(code)
    if name is None:
        fail(f"the digest is {code}")
    return name


def modulus_code(document: Document) -> str:
    """Element 11 against the length of the signature."""
    code = int.from_bytes(document.value(Tag.MODULUS), "big")
    length = len(document.value(Tag.SIGNATURE))
    demand(MODULUS_OCTETS.get(code) == length, f"code {code}, signature of {length} octets")
    return f"code {code}, {length * 8} bits"


def group_lengths(document: Document) -> str:
    """Elements 3, 7 and 9 against the sum of their members."""
    sizes = {one.tag: HEAD + len(one.value) for one in document.header if one.tag not in GROUPS}
    sizes[9] = HEAD + sum(sizes.get(tag, 0) for tag in GROUPS[9])
    for group, members in GROUPS.items():
        said = next((one.value for one in document.header if one.tag == group), b"")
        true = sum(sizes.get(tag, 0) for tag in members)
        # CUCM counts elements 8 octets for 9 itself: its members with their heads
        demand(
            int.from_bytes(said, "big") == true, f"element {group} says {said.hex()}, not {true}"
        )
    return "right"


def padded(document: Document) -> str:
    """The end of the header."""
    last = max(document.header, key=lambda element: element.offset)
    end = last.offset + HEAD + (0 if last.tag in GROUPS else len(last.value))
    pad = document.data[end : document.header_length]
    demand(set(pad) <= {PAD}, f"the header ends in {pad.hex()}")
    demand(document.header_length % 4 == 0, f"the header has {document.header_length} octets")
    return f"{len(pad)} octet(s) of padding"


@check("sgn.structure", Standing.REQUIRED, "the header can be read, more follows", FORMAT)
async def structure(document: Document, seen: Timeline) -> str:
    """Walk it."""
    seen.received(document.data, document.name)
    demand(document.header, "there is no header")
    demand(document.payload, "nothing follows the header")
    return f"header of {document.header_length} octets, {len(document.payload)} octets follow"


@check("sgn.header.version", Standing.ASSUMED, "the header's version is 1.0", FORMAT)
async def version(document: Document, _seen: Timeline) -> str:
    """Look at element 1."""
    value = document.value(Tag.VERSION)
    demand(value == b"\1\0", f"it is {'.'.join(str(octet) for octet in value)}")
    return "1.0"


@check(
    "sgn.header.file-name",
    Standing.REQUIRED,
    "the header names the file as it is asked for, .sgn and folder included",
    "usecallmanager.nz; chan-sccp guides",
)
async def file_name(document: Document, _seen: Timeline) -> str:
    """Compare element 14."""
    value = document.value(Tag.FILE_NAME)
    demand(value == document.name.encode() + b"\0", f"it names {value!r}, not {document.name}")
    return document.name


@check(
    "sgn.header.groups",
    Standing.OBSERVED,
    "elements 3, 7 and 9 hold the length of their members",
    "a CTL written by a real CUCM (public)",
)
async def groups(document: Document, _seen: Timeline) -> str:
    """Add them up."""
    return group_lengths(document)


@check(
    "sgn.header.padding",
    Standing.OBSERVED,
    "0d pads the header to a multiple of 4",
    FORMAT,
)
async def padding(document: Document, _seen: Timeline) -> str:
    """Look at its end."""
    return padded(document)


@check(
    "sgn.signature.digest",
    Standing.REQUIRED,
    "the digest is SHA-1 or SHA-512, the two that phones know",
    "Cisco security guide, Encrypted Phone Configuration",
)
async def digest(document: Document, _seen: Timeline) -> str:
    """Look at element 8."""
    return signature_digest(document)


@check(
    "sgn.signature.modulus",
    Standing.REQUIRED,
    "element 11 fits the signature's length",
    FORMAT,
)
async def modulus(document: Document, _seen: Timeline) -> str:
    """Compare them."""
    return modulus_code(document)


@check("sgn.signature.valid", Standing.REQUIRED, "the signature is right", FORMAT)
async def signature(document: Document, _seen: Timeline) -> str:
    """Verify it with the certificates given."""
    if not document.signers:
        inapplicable("not observed: no certificate of the signer was given (--signer CERT)")
    document.check_signature(document.signers)
    return f"{len(document.value(Tag.SIGNATURE)) * 8} bits, verified"


CHECKS = checks_in(globals())
