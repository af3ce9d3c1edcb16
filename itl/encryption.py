"""Encrypted configuration: ``SEP<MAC>.cnf.xml.enc.sgn`` and the short file that points to it.

The configuration is encrypted with a fresh AES-128 key (CBC), that key with the phone's RSA key
(PKCS#1 v1.5); the signature is over the encrypted form. Source: usecallmanagernz/certutils
``enccnf``; no file of a real CUCM is public. Configurations for phones with EC certificates exist,
their format is unknown.
"""

import hashlib
import secrets
from dataclasses import dataclass
from xml.etree import ElementTree as ET
from xml.parsers import expat

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CBC

from conf.signer import Signer
from itl.certificates import verification_key
from itl.document import DIGESTS, digest_code, sign_document
from itl.elements import header_label
from itl.errors import BuildError, FormatError, ItlError
from itl.layout import HeaderTag, encryption_part, header_value
from itl.signedfile import SignedFile, check_name, check_unsigned

ENCRYPTED_SUFFIX = ".enc.sgn"
ENCRYPTED_VERSION = (2, 0)
_BLOCK = 16
_PAD = b"\x0d"
_MAX_DEPTH = 64  # ElementTree indents and writes by recursion; real files are 5 deep
_KEPT = ("ipAddressMode", "loadInformation", "capfAuthMode", "capfList")


class DecryptionError(ItlError):
    """A file that this key does not decrypt, or whose plain text is not what was encrypted."""


@dataclass(frozen=True)
class _Sealed:
    iv: bytes
    padding: int
    key: bytes
    digest: str
    plain_digest: bytes


def encrypt_file(
    plain: bytes,
    *,
    name: str,
    phone_certificate: bytes,
    signer: Signer,
    timestamp: int,
    digest: str = "sha1",
) -> bytes:
    """``plain`` for one phone: encrypted with the key of its certificate (DER), then signed.

    ``name`` is the name in the header, ending in ``.enc.sgn``; ``timestamp`` Unix seconds. Raises
    :class:`~itl.errors.BuildError`, also for an EC certificate.
    """
    check_unsigned(plain)
    check_name(name)
    phone_key = verification_key(phone_certificate)
    if not isinstance(phone_key, RSAPublicKey):
        raise BuildError(
            "the phone's certificate has an EC key: how such phones are sent their configuration"
            " is not known; use the phone's RSA certificate"
        )
    code = digest_code(digest)
    key, iv = secrets.token_bytes(_BLOCK), secrets.token_bytes(_BLOCK)
    padding = _BLOCK - len(plain) % _BLOCK
    encryptor = Cipher(AES128(key), CBC(iv)).encryptor()
    payload = encryptor.update(plain + _PAD * padding) + encryptor.finalize()
    part = encryption_part(
        iv=iv,
        padding=padding,
        key_bits=phone_key.key_size,
        key=phone_key.encrypt(key, PKCS1v15()),
        digest_code=code,
        digest=hashlib.new(digest, plain, usedforsecurity=False).digest(),
    )
    signed, _ = sign_document(
        [payload],
        signer=signer,
        filename=name,
        timestamp=timestamp,
        digest=digest,
        version=ENCRYPTED_VERSION,
        encryption=part,
    )
    return signed


def decrypt_file(document: SignedFile, phone_key: RSAPrivateKey) -> bytes:
    """The plain configuration.

    Raises :class:`~itl.errors.FormatError` where the header lacks what decryption needs, and
    :class:`DecryptionError` where the key is another phone's or the text was changed. The signature
    is a matter of :func:`itl.signing.verify`.
    """
    sealed = _sealed(document)
    try:
        key = phone_key.decrypt(sealed.key, PKCS1v15())
    except ValueError as error:
        raise DecryptionError(f"the key in the file is not for this phone: {error}") from None
    if len(key) != _BLOCK:
        # A wrong RSA key yields random octets instead of an error (implicit rejection).
        raise DecryptionError("the key in the file is not for this phone")
    decryptor = Cipher(AES128(key), CBC(sealed.iv)).decryptor()
    padded = decryptor.update(document.payload) + decryptor.finalize()
    plain = padded[: len(padded) - sealed.padding]
    if hashlib.new(sealed.digest, plain, usedforsecurity=False).digest() != sealed.plain_digest:
        raise DecryptionError("the plain text has another digest than the header says")
    return plain


def pointer_file(plain: bytes, phone_certificate: bytes) -> bytes:
    """The short ``SEP<MAC>.cnf.xml`` that tells a phone to fetch the encrypted configuration.

    Of the configuration ``plain`` it keeps address mode, load, and CAPF settings. ``certHash`` is
    the MD5 of the phone's certificate (DER). Raises :class:`~itl.errors.BuildError`.
    """
    device = _device(plain)
    pointer = ET.Element("device")
    ET.SubElement(pointer, "fullConfig").text = "false"
    pointer.extend(child for child in device if child.tag in _KEPT)
    digest = hashlib.md5(phone_certificate, usedforsecurity=False).hexdigest()
    ET.SubElement(pointer, "certHash").text = digest
    ET.SubElement(pointer, "encrConfig").text = "true"
    ET.indent(pointer)
    return bytes(ET.tostring(pointer, encoding="UTF-8", xml_declaration=True)) + b"\n"


def _device(plain: bytes) -> ET.Element:
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse_document_type
    depth = 0

    def enter(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise BuildError(f"the configuration has elements more than {_MAX_DEPTH} deep")

    def leave(_: object) -> None:
        nonlocal depth
        depth -= 1

    parser.StartElementHandler, parser.EndElementHandler = enter, leave
    try:
        parser.Parse(plain, True)  # noqa: FBT003 - "this is all of it", by position only
        root = ET.fromstring(plain)  # noqa: S314 - without a document type there are no entities
    except (expat.ExpatError, ET.ParseError, LookupError, ValueError) as error:
        raise BuildError(f"the configuration is not XML: {error}") from None
    if root.tag != "device":
        raise BuildError(f"the configuration's root is <{root.tag}>, not <device>")
    return root


def _refuse_document_type(*_: object) -> None:
    raise BuildError("a configuration with a document type: its entities could be anything")


def _sealed(document: SignedFile) -> _Sealed:
    """The encryption elements, checked as far as decryption relies on them."""
    values = {element.tag: element for element in document.header.elements}
    for tag in _NEEDED:
        if tag not in values:
            raise FormatError(header_label(tag), 0, "missing: not encrypted")
    padding_element = values[HeaderTag.PADDING_COUNT]
    padding = header_value(HeaderTag.PADDING_COUNT, padding_element.value)
    payload = len(document.payload)
    if not 1 <= padding <= _BLOCK or payload % _BLOCK or not payload:
        reason = f"{padding} octets of padding in a payload of {payload}"
        raise FormatError(header_label(HeaderTag.PADDING_COUNT), padding_element.offset, reason)
    digest_element = values[HeaderTag.PLAIN_DIGEST_ALGORITHM]
    code = header_value(HeaderTag.PLAIN_DIGEST_ALGORITHM, digest_element.value)
    if code not in DIGESTS:
        reason = f"code {code}; known are 1 to 3"
        raise FormatError(
            header_label(HeaderTag.PLAIN_DIGEST_ALGORITHM), digest_element.offset, reason
        )
    return _Sealed(
        iv=values[HeaderTag.IV].value,
        padding=padding,
        key=values[HeaderTag.ENCRYPTED_KEY].value,
        digest=DIGESTS[code],
        plain_digest=values[HeaderTag.PLAIN_DIGEST].value,
    )


_NEEDED = (
    HeaderTag.IV,
    HeaderTag.PADDING_COUNT,
    HeaderTag.ENCRYPTED_KEY,
    HeaderTag.PLAIN_DIGEST_ALGORITHM,
    HeaderTag.PLAIN_DIGEST,
)
