"""One signed document: a header, and whatever follows it.

A signature covers every octet of the file except the signature element itself (12: head and value),
with the header's length already final and its padding included; PKCS#1 v1.5. Checked on a CTL that
CUCM wrote in 2015.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, TypeAlias, get_args

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from conf.signer import Signer
from itl import layout
from itl.certificates import CertificateError, describe, verification_key
from itl.elements import Element, encode_header, header_elements
from itl.errors import BuildError
from itl.layout import ELEMENT_HEAD, HEADER_ALIGNMENT, HEADER_GROUPS, MAX_LENGTH, HeaderTag

Style: TypeAlias = Literal["cucm", "certutils"]

DIGESTS = {1: "sha1", 2: "sha256", 3: "sha512"}
"""Digest codes: 1 in every real file; 2 and 3 in usecallmanagernz/certutils only."""
WRITTEN_DIGESTS = {"sha1": 1, "sha512": 3}
MODULUS_CODES = {512: 0, 1024: 1, 2048: 2, 4096: 3}
"""Codes by key size in bits: 1 and 2 in real files, 0 and 3 in certutils; none for 3072."""
LEAST_SIGNER_BITS = 1024
RSA_PKCS1 = 0
"""The only signature algorithm known (10), which a header may also leave out."""
_ALGORITHMS: dict[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),  # noqa: S303 - the digest of every list CUCM writes
    "sha256": hashes.SHA256(),
    "sha512": hashes.SHA512(),
}


@dataclass(frozen=True)
class Header:
    """A header as read. Text that is missing is "", octets that are missing are b"".

    ``header_length`` counts octets, signature and padding included. ``digest`` is "sha1",
    "sha256", "sha512", "code N" for an unknown code or "" without one; ``timestamp`` is in Unix
    seconds. ``signature_at`` is the byte of the signature element's tag.
    """

    version: tuple[int, int]
    header_length: int
    signer_version: tuple[int, int] | None
    signer_name: str
    signer_serial: bytes
    signer_issuer: str
    digest: str
    signature_algorithm: int | None
    modulus_code: int | None
    signature: bytes = field(repr=False)
    signature_at: int | None
    filename: str
    timestamp: int | None
    elements: tuple[Element, ...] = field(repr=False)

    @property
    def modulus_bits(self) -> int | None:
        """The signer's key size that the header declares, in bits; None for an unknown code."""
        codes = {code: bits for bits, code in MODULUS_CODES.items()}
        return None if self.modulus_code is None else codes.get(self.modulus_code)

    def value(self, tag: HeaderTag) -> bytes | None:
        """The octets of one element, None where the header has none."""
        return next((element.value for element in self.elements if element.tag == tag), None)

    def encode(self) -> bytes:
        """The header's octets, written back from its elements."""
        return encode_header(self.elements)


def parse_header(data: bytes) -> Header:
    """Read the header at the start of ``data``. Raises :class:`~itl.errors.FormatError`."""
    elements, end = header_elements(data)
    values = {element.tag: element.value for element in elements}
    version = _number(values, HeaderTag.VERSION)
    signer_version = _number(values, HeaderTag.SIGNER_VERSION)
    code = _number(values, HeaderTag.DIGEST_ALGORITHM)
    signature_at = next((e.offset for e in elements if e.tag == HeaderTag.SIGNATURE), None)
    return Header(
        version=(0, 0) if version is None else (version.major, version.minor),
        header_length=end,
        signer_version=signer_version and (signer_version.major, signer_version.minor),
        signer_name=text(values.get(HeaderTag.SIGNER_NAME, b"")),
        signer_serial=values.get(HeaderTag.SERIAL_NUMBER, b""),
        signer_issuer=text(values.get(HeaderTag.CA_NAME, b"")),
        digest="" if code is None else DIGESTS.get(code, f"code {code}"),
        signature_algorithm=_number(values, HeaderTag.SIGNATURE_ALGORITHM),
        modulus_code=_number(values, HeaderTag.SIGNATURE_MODULUS),
        signature=values.get(HeaderTag.SIGNATURE, b""),
        signature_at=signature_at,
        filename=text(values.get(HeaderTag.FILENAME, b"")),
        timestamp=_number(values, HeaderTag.TIMESTAMP),
        elements=elements,
    )


def text(value: bytes) -> str:
    """Text of an element without its final NUL; octets that are not UTF-8 are read as Latin-1."""
    octets = value.removesuffix(b"\0")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def encode_text(value: str, what: str) -> bytes:
    """The octets of a text element without the NUL that ends it. Raises BuildError."""
    if "\0" in value:
        raise BuildError(f"{what} {value!r}: a NUL ends a text, it cannot be inside")
    try:
        octets = value.encode()
    except UnicodeEncodeError:
        raise BuildError(f"{what} {value!r}: not text in UTF-8") from None
    if len(octets) >= MAX_LENGTH:
        raise BuildError(f"{what}: {len(octets)} octets; {MAX_LENGTH - 1} fit")
    return octets


def leads_out(filename: str) -> bool:
    """Whether a header's file name would lead out of the folder that phones are served from."""
    return filename.startswith("/") or "\\" in filename or ".." in filename.split("/")


def group_errors(header: Header) -> tuple[tuple[int, int, int, int], ...]:
    """Groups whose length is not that of their members: tag, offset, declared, real octets."""
    sizes = [
        (element.tag, ELEMENT_HEAD + (0 if element.tag in HEADER_GROUPS else len(element.value)))
        for element in header.elements
    ]
    wrong = []
    for element in header.elements:
        members = HEADER_GROUPS.get(element.tag)
        if members is not None:
            real = sum(size for tag, size in sizes if tag in members)
            declared = int.from_bytes(element.value)
            if declared != real:
                wrong.append((element.tag, element.offset, declared, real))
    return tuple(wrong)


def signature_holds(data: bytes, header: Header, key: RSAPublicKey) -> bool:
    """Whether the header's signature was made over these octets with the private part of ``key``.

    False too where the header has no signature, a digest other than :data:`DIGESTS`, or another
    algorithm than :data:`RSA_PKCS1`.
    """
    digest = signed_digest(data, header)
    return digest is not None and digest_holds(digest, header, key)


def signed_digest(data: bytes, header: Header) -> bytes | None:
    """The digest over all octets but the signature element; None where none could be signed."""
    if header.digest not in _ALGORITHMS or header.signature_at is None:
        return None
    if header.signature_algorithm not in {None, RSA_PKCS1}:
        return None
    view, following = memoryview(data), header.signature_at + ELEMENT_HEAD + len(header.signature)
    return _digest(header.digest, view[: header.signature_at], view[following:])


def _digest(name: str, *parts: bytes | memoryview) -> bytes:
    digest = hashlib.new(name, usedforsecurity=False)
    for part in parts:
        digest.update(part)
    return digest.digest()


def digest_holds(digest: bytes, header: Header, key: RSAPublicKey) -> bool:
    """Whether the header's signature is one of this digest, by ``key``."""
    if len(header.signature) != (key.key_size + 7) // 8:
        return False
    try:
        key.verify(header.signature, digest, PKCS1v15(), Prehashed(_ALGORITHMS[header.digest]))
    except (InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def sign_document(
    payload: Sequence[bytes],
    *,
    signer: Signer,
    filename: str,
    timestamp: int,
    digest: str = "sha1",
    style: str = "cucm",
    version: tuple[int, int] = (1, 2),
    signer_version: tuple[int, int] | None = None,
    encryption: bytes = b"",
) -> tuple[bytes, Header]:
    """A header, signed over itself and ``payload``, and the payload, which is given in parts.

    Answers the octets, and their header as it reads back: its signature was verified with the
    signer's certificate. ``timestamp`` is in Unix seconds. ``encryption`` holds the octets of
    element group 16, if any. Raises :class:`~itl.errors.BuildError`.
    """
    check_signer(signer)
    code, size = digest_code(digest), signer.private_key.key_size
    start = b"" if signer_version is None else layout.signer_version(signer_version)
    start += _signer_part(signer.certificate, style, code, MODULUS_CODES[size])
    if not 0 <= timestamp < 1 << 32:
        raise BuildError(f"time stamp {timestamp}: four octets of Unix seconds hold no such time")
    end = layout.filename_element(encode_text(filename, "file name"))
    end += layout.timestamp_element(timestamp) + encryption
    opening_length, signature_length = 10, ELEMENT_HEAD + size // 8
    length = opening_length + len(start) + signature_length + len(end)
    end += bytes((layout.PAD,)) * (-length % HEADER_ALIGNMENT)
    length += -length % HEADER_ALIGNMENT
    if length > MAX_LENGTH:
        raise BuildError(f"a header of {length} octets; its length field holds {MAX_LENGTH}")
    start = layout.opening(version, length) + start
    # The payload may be long: it is hashed where it stands, and copied once.
    hashed = _digest(digest, start, end, *payload)
    signature = signer.private_key.sign(hashed, PKCS1v15(), Prehashed(_ALGORITHMS[digest]))
    element = bytes((HeaderTag.SIGNATURE,)) + len(signature).to_bytes(2) + signature
    signed = b"".join((start, element, end, *payload))
    header = parse_header(signed)
    # A reader that finds the signature in this place hashes the very octets that were hashed above.
    if (header.digest, header.signature_at, header.signature) != (digest, len(start), signature):
        raise BuildError("the header reads back as another one")
    _check_signature(hashed, header, signer)
    return signed, header


def check_signer(signer: Signer) -> None:
    """Refuse a key without a code, or a useless one. Raises :class:`~itl.errors.BuildError`."""
    size = signer.private_key.key_size
    if size not in MODULUS_CODES:
        known = ", ".join(str(bits) for bits in MODULUS_CODES)
        raise BuildError(
            f"signer with an RSA key of {size} bits: SIGNATUREMODULUS (11) has codes for {known}"
            " only, so no phone could be told how long the signature is"
        )
    if size < LEAST_SIGNER_BITS:
        raise BuildError(
            f"signer with an RSA key of {size} bits: read and shown, never written; anybody can"
            " find the private key"
        )


def digest_code(digest: str) -> int:
    """The code of a digest that may be written. Raises :class:`~itl.errors.BuildError`."""
    if digest in WRITTEN_DIGESTS:
        return WRITTEN_DIGESTS[digest]
    if digest in DIGESTS.values():
        raise BuildError(
            f"digest {digest}: read and shown, never written; no phone is known to verify it"
        )
    raise BuildError(f"digest {digest!r}: use {' or '.join(WRITTEN_DIGESTS)}")


@lru_cache(maxsize=64)
def _signer_part(certificate: bytes, style: str, digest: int, modulus: int) -> bytes:
    """The same for every document of one signer, so written once."""
    described = describe(certificate)
    names = names_of(style, described.subject, described.subject_in_order)
    issuers = names_of(style, described.issuer, described.issuer_in_order)
    name = encode_text(names, "signer's subject")
    issuer = encode_text(issuers, "signer's issuer")
    if len(name) + len(issuer) + len(described.serial) > MAX_LENGTH // 2:
        raise BuildError("the signer's names are too long for a header")
    return layout.signer_part(
        style,
        name=name,
        serial=described.serial,
        issuer=issuer,
        digest_code=digest,
        modulus_code=modulus,
    )


def names_of(style: str, cucm: str, in_order: str) -> str:
    """Which of a name's two texts ``style`` writes. Raises :class:`~itl.errors.BuildError`."""
    if style not in get_args(Style):
        raise BuildError(f"style {style!r}: use {' or '.join(get_args(Style))}")
    return cucm if style == "cucm" else in_order


def _check_signature(digest: bytes, header: Header, signer: Signer) -> None:
    """Verify what was just signed as a phone would: a signer whose key is another's is found."""
    try:
        key = verification_key(signer.certificate)
    except CertificateError as error:
        raise BuildError(f"signer's certificate: {error}") from None
    if not isinstance(key, RSAPublicKey) or not digest_holds(digest, header, key):
        raise BuildError("the private key does not belong to the signer's certificate")


def _number(values: dict[int, bytes], tag: HeaderTag) -> Any:  # noqa: ANN401 - construct is untyped
    value = values.get(tag)
    return None if value is None else layout.header_value(tag, value)
