"""Checks of an ITL or CTL file."""

import time

from itl.certificates import CertificateError, describe
from itl.limits import MAX_CERTIFICATES, MAX_LIST_OCTETS, SHA1_ONLY_IN_WORDS
from itl.roles import role_name
from lab.conformance.model import Standing, Timeline, check, checks_in, demand, inapplicable, untold
from lab.conformance.sgn_suite import group_lengths, modulus_code, padded, signature_digest
from lab.conformance.tlv import Document, Record, RecordTag, Tag, value_of

REAL = "a CTL written by a real CUCM (public); Cisco document 118893"
GUIDE = "Cisco security guide, Default Security Setup"
SAST, TFTP, CCM_TFTP, TVS = 0, 3, 2, 21
KNOWN_ROLES = frozenset((0, 1, 2, 3, 4, 7, 21))
HEADER_ORDER = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15]
RECORD_ORDER = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


def roles(document: Document, *, keyed: bool = False) -> list[int]:
    """The role of each record, or with ``keyed`` of those that hold a certificate or a key."""
    return [
        int.from_bytes(value_of(record, RecordTag.ROLE) or b"\xff\xff", "big")
        for record in document.records
        if not keyed
        or value_of(record, RecordTag.CERTIFICATE)
        or value_of(record, RecordTag.PUBLIC_KEY)
    ]


@check("list.structure", Standing.REQUIRED, "header and records fill the file exactly", REAL)
async def structure(document: Document, seen: Timeline) -> str:
    """Walk it."""
    seen.received(document.data, document.name)
    demand(document.records, "there is no record")
    return f"header of {document.header_length} octets, {len(document.records)} records"


@check("list.header.version", Standing.OBSERVED, "the header's version is 1.2", REAL)
async def version(document: Document, _seen: Timeline) -> str:
    """Look at element 1."""
    value = document.value(Tag.VERSION)
    demand(value == b"\1\2", f"it is {'.'.join(str(octet) for octet in value)}")
    return "1.2"


@check("list.header.order", Standing.OBSERVED, "the header's elements come in CUCM's order", REAL)
async def header_order(document: Document, _seen: Timeline) -> str:
    """Compare it."""
    order = [element.tag for element in document.header]
    demand([tag for tag in order if tag != Tag.CAPABILITY] == HEADER_ORDER, f"the order is {order}")
    return "as CUCM writes it"


@check(
    "list.header.groups",
    Standing.OBSERVED,
    "elements 3, 7 and 9 hold the length of their members",
    REAL,
)
async def groups(document: Document, _seen: Timeline) -> str:
    """Add them up."""
    return group_lengths(document)


@check(
    "list.header.padding",
    Standing.OBSERVED,
    "0d pads the header to a multiple of 4",
    REAL,
)
async def padding(document: Document, _seen: Timeline) -> str:
    """Look at its end."""
    return padded(document)


@check(
    "list.header.file-name",
    Standing.REQUIRED,
    "the header names ITLFile.tlv or CTLFile.tlv, whatever the file is asked for as",
    REAL,
)
async def file_name(document: Document, _seen: Timeline) -> str:
    """Look at element 14."""
    value = document.value(Tag.FILE_NAME)
    demand(value in {b"ITLFile.tlv\0", b"CTLFile.tlv\0"}, f"it names {value!r}")
    return value[:-1].decode()


@check(
    "list.header.timestamp",
    Standing.RECOMMENDED,
    "the header has a time, not in the future",
    REAL,
)
async def timestamp(document: Document, _seen: Timeline) -> str:
    """Look at element 15."""
    value = int.from_bytes(document.value(Tag.TIMESTAMP), "big")
    demand(value <= time.time() + 300, f"{value} lies in the future")
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(value))


@check(
    "list.header.capability",
    Standing.OBSERVED,
    "there is no element 28 (a CTL was never seen with it; an ITL with 1.1 makes phones use 6971)",
    REAL,
)
async def capability(document: Document, _seen: Timeline) -> str:
    """Look for element 28."""
    value = value_of(document.header, Tag.CAPABILITY)
    demand(value is None, f"element 28 is {(value or b'').hex()}")
    return "absent"


@check(
    "list.signature.digest",
    Standing.REQUIRED,
    "the digest is SHA-1 or SHA-512, the two that phones know",
    GUIDE,
)
async def digest(document: Document, _seen: Timeline) -> str:
    """Look at element 8."""
    return signature_digest(document)


@check(
    "list.signature.digest-sha1",
    Standing.OBSERVED,
    f"the digest is SHA-1: {SHA1_ONLY_IN_WORDS} phones check no other",
    "Cisco security guide, Phone Security",
)
async def digest_sha1(document: Document, _seen: Timeline) -> str:
    """Look at element 8."""
    demand(document.value(Tag.DIGEST) == b"\1", signature_digest(document))
    return "SHA-1"


@check(
    "list.signature.modulus",
    Standing.REQUIRED,
    "element 11 fits the signature's length",
    REAL,
)
async def modulus(document: Document, _seen: Timeline) -> str:
    """Compare them."""
    return modulus_code(document)


def _signers(document: Document) -> list[Record]:
    issuer, serial = document.value(Tag.SIGNER_ISSUER), document.value(Tag.SIGNER_SERIAL)
    return [
        record
        for record in document.records
        if value_of(record, RecordTag.ISSUER) == issuer
        and value_of(record, RecordTag.SERIAL) == serial
    ]


@check(
    "list.signature.signer",
    Standing.REQUIRED,
    "the signer, by issuer and serial number, is among the SAST records",
    REAL,
)
async def signer(document: Document, _seen: Timeline) -> str:
    """Look it up."""
    records = _signers(document)
    demand(records, "no record has the header's issuer and serial number")
    found = [value_of(record, RecordTag.ROLE) for record in records]
    demand(b"\0\0" in found, "the signer's record is no SAST")
    return (value_of(records[0], RecordTag.SUBJECT) or b"").rstrip(b"\0").decode(errors="replace")


@check("list.signature.valid", Standing.REQUIRED, "the signature is right", REAL)
async def signature(document: Document, _seen: Timeline) -> str:
    """Verify it with the signer's certificate, from the list or given."""
    own = [value_of(record, RecordTag.CERTIFICATE) for record in _signers(document)]
    candidates = [der for der in own if der] + list(document.signers)
    if not candidates:
        untold("no certificate of the signer is at hand (--signer CERT)")
    document.check_signature(candidates)
    return f"{len(document.value(Tag.SIGNATURE)) * 8} bits, verified"


@check("list.record.order", Standing.OBSERVED, "a record's elements come in CUCM's order", REAL)
async def record_order(document: Document, _seen: Timeline) -> str:
    """Compare them."""
    for number, record in enumerate(document.records, 1):
        order = [element.tag for element in record]
        demand(order == [tag for tag in RECORD_ORDER if tag in order], f"record {number}: {order}")
    return "as CUCM writes it"


@check(
    "list.record.role",
    Standing.REQUIRED,
    "every record has a role of two octets that is known",
    REAL,
)
async def known_roles(document: Document, _seen: Timeline) -> str:
    """Look at element 4."""
    for number, record in enumerate(document.records, 1):
        value = value_of(record, RecordTag.ROLE)
        demand(value is not None and len(value) == 2, f"record {number}: no role of two octets")  # noqa: PLR2004  as the demand says
        role = int.from_bytes(value or b"", "big")
        demand(role in KNOWN_ROLES, f"record {number}: role {role}")
    return ", ".join(role_name(role) for role in roles(document))


@check(
    "list.record.names",
    Standing.RECOMMENDED,
    "subject, issuer, serial number and key of a record are those of its certificate",
    REAL,
)
async def names(document: Document, _seen: Timeline) -> str:
    """Compare them; names of tokens are malformed and left out."""
    compared = 0
    for number, record in enumerate(document.records, 1):
        der = value_of(record, RecordTag.CERTIFICATE)
        if der is None:
            continue
        try:
            known = describe(der)
        except CertificateError as error:
            untold(f"record {number}: {error}")
        demand(
            value_of(record, RecordTag.SERIAL) == known.serial, f"record {number}: serial number"
        )
        demand(value_of(record, RecordTag.PUBLIC_KEY) == known.public_key, f"record {number}: key")
        for tag, text in ((RecordTag.SUBJECT, known.subject), (RecordTag.ISSUER, known.issuer)):
            given = (value_of(record, tag) or b"").rstrip(b"\0").decode(errors="replace")
            is_token = given.startswith('cn="SAST-')
            demand(is_token or given == text, f"record {number}: {given} is not {text}")
        compared += 1
    return f"{compared} certificates"


@check(
    "list.record.strings",
    Standing.REQUIRED,
    "texts end in one NUL",
    REAL,
)
async def strings(document: Document, _seen: Timeline) -> str:
    """Look at the names of header and records."""
    texts = [
        (0, document.value(tag)) for tag in (Tag.SIGNER_NAME, Tag.SIGNER_ISSUER, Tag.FILE_NAME)
    ]
    for number, record in enumerate(document.records, 1):
        for tag in (RecordTag.DNS_NAME, RecordTag.SUBJECT, RecordTag.ISSUER):
            value = value_of(record, tag)
            if value is not None:
                texts.append((number, value))
    for number, value in texts:
        where = f"record {number}" if number else "header"
        demand(value.endswith(b"\0") and value.count(b"\0") == 1, f"{where}: {value!r}")
    return f"{len(texts)} texts"


@check(
    "list.size.certificates",
    Standing.REQUIRED,
    f"at most {MAX_CERTIFICATES} certificates and 64 kB: phones do not load more",
    GUIDE,
)
async def size(document: Document, _seen: Timeline) -> str:
    """Count."""
    count = sum(value_of(record, RecordTag.CERTIFICATE) is not None for record in document.records)
    demand(count <= MAX_CERTIFICATES, f"{count} certificates")
    demand(len(document.data) <= MAX_LIST_OCTETS, f"{len(document.data)} octets")
    return f"{count} certificates, {len(document.data)} octets"


@check(
    "list.itl.tvs",
    Standing.REQUIRED,
    "an ITL names a TVS: without one a phone asks none",
    "Cisco document 213407; firmware strings: Not using TVS - TVS not in Trust list",
)
async def itl_tvs(document: Document, _seen: Timeline) -> str:
    """Look for role 21."""
    if document.kind != "ITL":
        inapplicable("this is a CTL")
    count = roles(document, keyed=True).count(TVS)
    demand(count, "there is no TVS record with a certificate")
    return f"{count} TVS"


@check(
    "list.itl.tftp",
    Standing.REQUIRED,
    "an ITL names who signs configurations: TFTP or CCM+TFTP",
    GUIDE,
)
async def itl_tftp(document: Document, _seen: Timeline) -> str:
    """Look for roles 2 and 3."""
    if document.kind != "ITL":
        inapplicable("this is a CTL")
    signers = [role for role in roles(document, keyed=True) if role in {TFTP, CCM_TFTP}]
    demand(signers, "there is neither TFTP nor CCM+TFTP with a certificate")
    return ", ".join(role_name(role) for role in signers)


@check("list.ctl.no-tvs", Standing.OBSERVED, "a CTL names no TVS", GUIDE)
async def ctl_tvs(document: Document, _seen: Timeline) -> str:
    """Look for role 21."""
    if document.kind != "CTL":
        inapplicable("this is an ITL")
    demand(TVS not in roles(document), "there is a TVS record")
    return "none"


@check(
    "list.anchors",
    Standing.RECOMMENDED,
    "there are two SAST: if the signer's key is lost, another can sign the next list",
    "Cisco field notice 70613",
)
async def anchors(document: Document, _seen: Timeline) -> str:
    """Count role 0."""
    count = roles(document, keyed=True).count(SAST)
    demand(count > 1, f"{count} SAST record(s)")
    return f"{count} SAST records"


CHECKS = checks_in(globals())
