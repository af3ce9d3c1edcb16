"""All that may be done with a file, and what must hold whatever its octets are."""

import re

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from itl.difference import compare
from itl.encryption import decrypt_file
from itl.errors import FormatError, ItlError
from itl.show import show_text
from itl.signedfile import Kind, SignedFile, parse_signed_file, recognise
from itl.signing import Verdict, verify_data
from itl.trustlist import TrustList, parse_trust_list
from itl.values import document_value

PLACE = re.compile(r"(header|record \d+)( \S+ \(\d+\))?")


def examine(data: bytes, key: RSAPrivateKey) -> Verdict:
    """The verdict on ``data``; AssertionError where a promise of the readers is broken.

    ``key`` is tried on encrypted files.
    """
    assert recognise(data) in Kind
    for parse in (parse_trust_list, parse_signed_file):
        document = _parsed(parse, data)
        if document is None:
            continue
        assert show_text(document).replace("\n", "").replace("\t", "").isprintable()
        assert document_value(document)["length"] == len(data)
        if isinstance(document, TrustList):
            assert document.encode() == data
            assert compare(document, document).same_trust
        else:
            assert document.header.encode() + document.payload == data
            _decrypt(document, key)
    return verify_data(data).verdict


def _parsed(parse, data: bytes) -> TrustList | SignedFile | None:
    """The document, or None after an error that names a place within the file."""
    try:
        return parse(data)
    except FormatError as error:
        place, offset = error.element, error.offset
    assert PLACE.fullmatch(place), place
    assert 0 <= offset <= len(data)
    return None


def _decrypt(document: SignedFile, key: RSAPrivateKey) -> None:
    try:
        assert decrypt_file(document, key)
    except ItlError:
        return
