"""ITL and CTL: a header and its records, read and written.

Both lists have one format; only the file name in the header tells them apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from conf.signer import Signer
from itl.document import Header, parse_header, sign_document
from itl.errors import BuildError, FormatError, ItlError
from itl.layout import RecordTag
from itl.records import Record, RecordSpec, read_record, record_octets
from itl.roles import SIGNS_FILES, Role

__all__ = [
    "CTL_FILENAME",
    "ITL_FILENAME",
    "Record",
    "RecordSpec",
    "TrustList",
    "build_trust_list",
    "parse_trust_list",
]

ITL_FILENAME = "ITLFile.tlv"
CTL_FILENAME = "CTLFile.tlv"
_EMPTIED_SECTIONS = SIGNS_FILES | {Role.TVS}
_MAX_ELEMENTS = 200_000  # each takes three octets at least, and forty times that in memory


@dataclass(frozen=True)
class TrustList:
    """A list as read; ``raw`` holds the octets received, over which alone it is verified."""

    header: Header
    records: tuple[Record, ...]
    raw: bytes = field(repr=False)

    @property
    def kind(self) -> str:
        """By the header's file name: "CTL" or else "ITL"."""
        return "CTL" if self.header.filename.upper().startswith("CTL") else "ITL"

    @property
    def certificate_count(self) -> int:
        """Records with a certificate, which phones can load a limited number of."""
        return sum(RecordTag.CERTIFICATE in record.places for record in self.records)

    @property
    def is_emptied(self) -> bool:
        """Whether the TFTP and TVS sections hold no key.

        So does an ITL after "Prepare Cluster for Rollback to pre 8.0": a phone that holds it takes
        unsigned files and any new ITL (Security Guide; the octets are assumed).
        """
        return not any(
            record.role in _EMPTIED_SECTIONS and record.has_key for record in self.records
        )

    def encode(self) -> bytes:
        """The file's octets, written back from its elements."""
        return self.header.encode() + b"".join(record.encode() for record in self.records)


def parse_trust_list(data: bytes) -> TrustList:
    """Read an ITL or CTL.

    Raises :class:`~itl.errors.FormatError` naming element and byte where no header or no record
    can be found; a wrong signature or group length is a matter of :func:`itl.signing.verify`.
    """
    header = parse_header(data)
    records: list[Record] = []
    position, end, elements_read = header.header_length, len(data), len(header.elements)
    if position == end:
        raise FormatError(
            "record 1", position, "the file ends after the header: a list without records"
        )
    while position < end:
        number = len(records) + 1
        record = read_record(data, position, number)
        elements_read += len(record.places)
        if elements_read > _MAX_ELEMENTS:
            reason = f"more than {_MAX_ELEMENTS} elements; phones load 39 certificates"
            raise FormatError(f"record {number}", position, reason)
        records.append(record)
        position += record.length
    return TrustList(header=header, records=tuple(records), raw=data)


def build_trust_list(
    records: Sequence[RecordSpec],
    *,
    signer: Signer,
    filename: str,
    timestamp: int,
    digest: str = "sha1",
    style: str = "cucm",
    signer_version: str | None = None,
) -> bytes:
    """Write and sign a list; it was read back and verified before it is returned.

    A record is read as soon as it is written, and kept: the next list nearly always repeats it. Of
    the list the header is read, each of those records must follow in its place, and the signature
    must verify over all octets with the signer's certificate.

    ``filename`` is "ITLFile.tlv" or "CTLFile.tlv", ``timestamp`` Unix seconds, ``digest`` "sha1"
    or "sha512", ``style`` "cucm" (names joined by ``;`` in CUCM's order, DNS and address elements)
    or "certutils" (names in the certificate's order joined by ``,``, neither DNS nor address,
    other element order), ``signer_version`` None, "1.0" or "1.1" (element 28, ITL only).
    Raises :class:`~itl.errors.BuildError`. What phones refuse although it can be written is a
    matter of :func:`itl.limits.check_build`.
    """
    if filename not in {ITL_FILENAME, CTL_FILENAME}:
        raise BuildError(f"file name {filename!r}: phones want {ITL_FILENAME} or {CTL_FILENAME}")
    if not records:
        raise BuildError("a list without records")
    written = _written(records, style)
    signed, header = sign_document(
        written,
        signer=signer,
        filename=filename,
        timestamp=timestamp,
        digest=digest,
        style=style,
        signer_version=_signer_version(signer_version, filename),
    )
    _check_built(signed, header.header_length, written)
    return signed


def _check_built(signed: bytes, position: int, records: Sequence[bytes]) -> None:
    """The records stand one after another from byte ``position`` to the end."""
    for number, octets in enumerate(records, start=1):
        if not signed.startswith(octets, position):
            raise BuildError(f"record {number}: the list reads back with another one")
        position += len(octets)
    if position != len(signed):
        raise BuildError("the list reads back with more than its records")


def _signer_version(version: str | None, filename: str) -> tuple[int, int] | None:
    if version is None:
        return None
    if filename != ITL_FILENAME:
        raise BuildError("a signer version (element 28) belongs into an ITL only")
    if version not in {"1.0", "1.1"}:
        raise BuildError(f"signer version {version!r}: use 1.0 or 1.1")
    major, minor = version.split(".")
    return int(major), int(minor)


def _written(records: Sequence[RecordSpec], style: str) -> list[bytes]:
    written: list[bytes] = []
    try:
        for each in records:
            octets = record_octets(each.role, each.certificate, each.dns_name, each.address, style)
            written.append(octets)
    except ItlError as error:
        raise BuildError(f"record {len(written) + 1}: {error}") from None
    return written
