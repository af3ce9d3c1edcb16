"""Encrypted configuration: for one phone only, and all or nothing."""

import hashlib

import pytest

from itl.certificates import describe
from itl.document import parse_header
from itl.elements import encode_header
from itl.encryption import DecryptionError, decrypt_file, encrypt_file, pointer_file
from itl.errors import BuildError, FormatError
from itl.signedfile import Kind, parse_signed_file, recognise, sign_file
from itl.signing import Verdict, verify_data

CONFIGURATION = b"""<device><fullConfig>true</fullConfig><loadInformation>sip88xx</loadInformation>
<capfAuthMode>0</capfAuthMode><capfList><capf><phonePort>3804</phonePort></capf></capfList>
<sshPassword>secret</sshPassword><ipAddressMode>0</ipAddressMode></device>"""


def encrypt(forge, plain=CONFIGURATION, **keywords):
    settings = {
        "name": "SEP001122334455.cnf.xml.enc.sgn",
        "phone_certificate": forge.certificate("CN=SEP001122334455", key=forge.key(2048)),
        "signer": forge.signer(),
        "timestamp": 7,
        **keywords,
    }
    return encrypt_file(plain, **settings)


@pytest.mark.parametrize("digest", ["sha1", "sha512"])
@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 4096])
def test_the_phone_reads_what_was_encrypted(forge, length, digest):
    plain = b"x" * length
    data = encrypt(forge, plain, digest=digest)
    document = parse_signed_file(data)
    assert decrypt_file(document, forge.key(2048)) == plain
    assert len(document.payload) % 16 == 0
    assert len(document.payload) > length
    assert recognise(data) is Kind.ENCRYPTED_FILE


def test_the_signature_is_over_the_encrypted_form(forge):
    data = encrypt(forge)
    signer = forge.signer().certificate
    assert verify_data(data, [signer]).verdict is Verdict.VALID
    assert verify_data(data[:-1] + bytes((data[-1] ^ 1,)), [signer]).verdict is Verdict.INVALID
    assert b"secret" not in data


def test_elements_stand_in_the_open_tools_order(forge):
    header = parse_header(encrypt(forge))
    tags = [element.tag for element in header.elements if element.tag != 13]
    assert tags == [*range(1, 13), *range(14, 28)]
    assert header.version == (2, 0)
    verification = verify_data(encrypt(forge))
    assert "group-length" not in {finding.code for finding in verification.findings}


def test_another_phones_key_gives_an_error_and_no_text(forge):
    document = parse_signed_file(encrypt(forge))
    for other in (forge.key(1024), forge.key(4096)):
        with pytest.raises(DecryptionError):
            decrypt_file(document, other)


def test_a_changed_text_is_an_error(forge):
    data = bytearray(encrypt(forge))
    data[-20] ^= 1
    with pytest.raises(DecryptionError, match="another digest"):
        decrypt_file(parse_signed_file(bytes(data)), forge.key(2048))


def changed(data, tag, value):
    header = parse_header(data)
    elements = [e._replace(value=value) if e.tag == tag else e for e in header.elements]
    return encode_header(elements) + data[header.header_length :]


@pytest.mark.parametrize(
    ("tag", "value", "place"),
    [
        (20, b"\x00\x00", "PADDINGCOUNT"),
        (20, b"\x00\x11", "PADDINGCOUNT"),
        (26, b"\x09", "PLAINDIGESTALGORITHM"),
    ],
)
def test_encryption_elements_that_lie_are_named(forge, tag, value, place):
    document = parse_signed_file(changed(encrypt(forge), tag, value))
    with pytest.raises(FormatError, match=place):
        decrypt_file(document, forge.key(2048))


def test_a_payload_that_is_no_multiple_of_a_block_is_named(forge):
    with pytest.raises(FormatError, match="payload of"):
        decrypt_file(parse_signed_file(encrypt(forge)[:-1]), forge.key(2048))


def test_a_file_that_is_not_encrypted_is_named(forge):
    signed = sign_file(b"x", name="a.sgn", signer=forge.signer(), timestamp=7)
    with pytest.raises(FormatError, match="not encrypted"):
        decrypt_file(parse_signed_file(signed), forge.key(2048))


def test_ec_phones_are_refused_with_the_reason(forge):
    with pytest.raises(BuildError, match="EC key"):
        encrypt(forge, phone_certificate=forge.certificate("CN=SEP", key=forge.ec_key()))


def test_the_pointer_keeps_what_a_phone_needs_to_fetch_the_rest(forge):
    certificate = describe(forge.certificate("CN=SEP001122334455")).der
    pointer = pointer_file(CONFIGURATION, certificate).decode()
    digest = hashlib.md5(certificate, usedforsecurity=False).hexdigest()
    assert "<fullConfig>false</fullConfig>" in pointer
    assert f"<certHash>{digest}</certHash>" in pointer
    assert "<encrConfig>true</encrConfig>" in pointer
    assert "<loadInformation>sip88xx</loadInformation>" in pointer
    assert "<phonePort>3804</phonePort>" in pointer
    assert "secret" not in pointer


@pytest.mark.parametrize(
    ("plain", "reason"),
    [
        (b"plain text", "not XML"),
        (b"<Default/>", "not <device>"),
        (b'<!DOCTYPE device [<!ENTITY a "b">]><device>&a;</device>', "document type"),
        ("<!DOCTYPE device><device/>".encode("utf-16"), "document type"),
        (b"\xff\xfe\x00", "not XML"),
        (b'<?xml version="1.0" encoding="nonsense"?><device/>', "not XML"),
        (b"<device>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</device>", "64 deep"),
    ],
)
def test_what_is_no_configuration_has_no_pointer(forge, plain, reason):
    with pytest.raises(BuildError, match=reason):
        pointer_file(plain, forge.certificate())
