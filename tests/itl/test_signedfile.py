"""Signed files: recognised by their octets, never signed twice."""

import pytest

from itl.errors import BuildError, FormatError
from itl.signedfile import Kind, is_signed, parse_signed_file, recognise, sign_file
from itl.signing import verify_data


@pytest.fixture
def signed(forge) -> bytes:
    return sign_file(
        b"<device/>", name="New_Zealand/g3-tones.xml.sgn", signer=forge.signer(), timestamp=7
    )


def test_the_payload_comes_back_and_the_name_keeps_its_folder(signed):
    document = parse_signed_file(signed)
    assert document.payload == b"<device/>"
    assert document.header.filename == "New_Zealand/g3-tones.xml.sgn"
    assert (document.header.version, document.header.timestamp) == ((1, 0), 7)
    assert document.header.encode() + document.payload == signed


def test_an_empty_file_can_be_signed(forge):
    signed = sign_file(b"", name="a.sgn", signer=forge.signer(), timestamp=7)
    assert parse_signed_file(signed).payload == b""
    assert recognise(signed) is Kind.SIGNED_FILE


# the first 20 octets of sip88xx.12-0-7MPP0201-66.loads, GitHub GarnetAlliance/Cisco-8861-mpp
CONTAINER = bytes.fromhex("cd3412ab 58010000 04000000 37060000 00000000")


@pytest.mark.parametrize(
    ("octets", "kind", "signed"),
    [
        (b"", Kind.EMPTY, False),
        (b"<device/>", Kind.UNKNOWN, False),
        (b"\x01\x00", Kind.UNKNOWN, False),
        (CONTAINER, Kind.FIRMWARE_88XX, True),
        (bytes.fromhex("0100020101 0200020198 03005b"), Kind.DAMAGED, True),
    ],
)
def test_octets_tell_what_a_file_is(octets, kind, signed):
    assert recognise(octets) is kind
    assert is_signed(octets) is signed


@pytest.mark.parametrize("name", [b"", b"\xff\xff\xff\xff", b"\x09\x00\x00\x00short"])
def test_a_container_whose_head_is_cut_is_still_named(name):
    octets = CONTAINER + bytes(32) + name
    (finding,) = verify_data(octets).findings
    assert finding.code == "container-88xx"
    assert "container:" in finding.text


def test_lists_are_told_from_signed_files(forge, signed):
    assert recognise(forge.list()) is Kind.TRUST_LIST
    assert recognise(signed) is Kind.SIGNED_FILE


def test_nothing_is_signed_twice(forge, signed):
    for payload in (signed, forge.list(), signed[:50], CONTAINER):
        with pytest.raises(BuildError, match="serve it as it is"):
            sign_file(payload, name="a.sgn", signer=forge.signer(), timestamp=7)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../a.sgn", "a/../../b.sgn", "a\\b.sgn"])
def test_names_that_lead_out_of_the_root_are_refused(forge, name):
    with pytest.raises(BuildError, match="below the TFTP root"):
        sign_file(b"x", name=name, signer=forge.signer(), timestamp=7)


def test_a_name_that_would_make_a_list_of_it_is_refused(forge):
    with pytest.raises(BuildError, match="a trust list's"):
        sign_file(b"x", name="Folder/ITLFile.TLV", signer=forge.signer(), timestamp=7)


def test_every_cut_of_the_header_is_an_error_that_names_a_place(signed):
    length = parse_signed_file(signed).header.header_length
    for cut in range(length):
        with pytest.raises(FormatError) as raised:
            parse_signed_file(signed[:cut])
        assert raised.value.element.startswith("header")
        assert 0 <= raised.value.offset <= cut
