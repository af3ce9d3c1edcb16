"""The text beside CUCM's, the JSON schema, and nothing that drives a terminal."""

import pytest

from itl.elements import Element, encode_record
from itl.show import printable, show_text
from itl.signedfile import parse_signed_file, sign_file
from itl.trustlist import RecordSpec, parse_trust_list
from itl.values import document_value

SIGNER = "CN=cucm-1051-a-pub,OU=TAC,O=Cisco,L=Krakow,ST=Malopolska,C=PL"

# Octets of the elements of each record, in CUCM's order: Cisco documents 118893 and 118892
TOKENLESS = {
    "header": (SIGNER, SIGNER, 0x70CAF64E090751B9DF22F49F754FC5BB, 336),
    "records": [
        {2: 16, 3: 62, 4: 2, 5: 62, 6: 16, 7: 140, 8: 128, 9: 694, 10: 4},
        {2: 16, 3: 62, 4: 2, 5: 62, 6: 16, 7: 140, 8: 128, 9: 694, 10: 4},
        {2: 16, 3: 58, 4: 2, 5: 58, 6: 16, 7: 140, 8: 128, 9: 684, 10: 4},
        {2: 16, 3: 62, 4: 2, 5: 62, 6: 16, 7: 140, 8: 128, 9: 699, 10: 4},
    ],
    "lengths": ["1156", "1156", "1138", "1161"],
    "total": 4947,
}
NON_SECURE = {
    "header": (
        'CN="SAST-ADN0054f509        ",OU=IPCBU,O="Cisco Systems',
        "CN=Cisco Manufacturing CA,O=Cisco Systems",
        0x83E9080000005545AF31,
        304,
    ),
    "records": [
        {2: 1, 3: 56, 4: 2, 5: 42, 6: 10, 7: 140, 9: 902, 10: 4},
        {2: 1, 3: 56, 4: 2, 5: 42, 6: 10, 7: 140, 9: 902, 10: 4},
        {2: 13, 4: 2, 10: 4},
        {2: 13, 3: 59, 4: 2, 5: 59, 6: 16, 7: 140, 9: 682, 10: 4},
        {2: 13, 4: 2, 10: 4},
    ],
    "lengths": ["1186", "1186", "33", "1004", "33"],
    "total": 3746,
}


@pytest.mark.parametrize("published", [TOKENLESS, NON_SECURE], ids=["118893", "118892"])
def test_the_published_sums_come_out(forge, published):
    subject, issuer, serial, header_length = published["header"]
    signer = forge.signer(subject=subject, issuer=issuer, serial=serial)
    octets = parse_trust_list(forge.list(signer, filename="CTLFile.tlv")).header.encode()
    for widths in published["records"]:
        length = 5 + sum(3 + width for width in widths.values())
        elements = [Element(tag, bytes(width), 0) for tag, width in widths.items()]
        octets += encode_record([Element(1, length.to_bytes(2), 0), *elements])
    lines = show_text(parse_trust_list(octets)).splitlines()
    assert f"Length of CTL file: {published['total']}" in lines
    assert f"HeaderLength:\t{header_length} (BYTES)" in lines
    shown = [line.split("\t")[3] for line in lines if "RECORDLENGTH" in line]
    assert shown == published["lengths"]


def test_the_words_are_cucms(forge):
    signer = forge.signer(subject=SIGNER, serial=0x70CAF64E090751B9DF22F49F754FC5BB)
    specs = [
        RecordSpec(0, signer.certificate, "cucm-1051-a-pub", "10.48.47.153"),
        RecordSpec(0, forge.certificate("CN=recovery"), "", None),
        RecordSpec(2, signer.certificate, "cucm-1051-a-pub", "10.48.47.153"),
    ]
    lines = show_text(parse_trust_list(forge.list(signer, specs))).splitlines()
    name = "CN=cucm-1051-a-pub;OU=TAC;O=Cisco;L=Krakow;ST=Malopolska;C=PL"
    assert lines[0] == "The checksum value of the ITL file:"
    assert lines[5] == "The ITL File was last modified on Thu May 07 03:10:47 UTC 2015"
    table = lines.index("BYTEPOS\tTAG\t\tLENGTH\tVALUE")
    assert lines[table + 1 : table + 11] == [
        "-------\t---\t\t------\t-----",
        "3\tSIGNERID\t2\t149",
        f"4\tSIGNERNAME\t62\t{name}",
        "5\tSERIALNUMBER\t16\t70:CA:F6:4E:09:07:51:B9:DF:22:F4:9F:75:4F:C5:BB",
        f"6\tCANAME\t\t62\t{name}",
        "7\tSIGNATUREINFO\t2\t15",
        "8\tDIGESTALGORTITHM\t1",
        "9\tSIGNATUREALGOINFO\t2\t8",
        "10\tSIGNATUREALGORTITHM\t1",
        "11\tSIGNATUREMODULUS\t1",
    ]
    record = lines.index("\tITL Record #:1")
    assert lines[record + 5] == "2\tDNSNAME\t\t16\tcucm-1051-a-pub"
    assert lines[record + 7] == "4\tFUNCTION\t2\tSystem Administrator Security Token"
    assert lines[record + 12].endswith("(SHA1 Hash HEX)")
    assert lines[record + 13] == "10\tIPADDRESS\t4"
    assert lines[record + 14] == "This etoken was used to sign the ITL file."
    assert "This etoken was not used to sign the ITL file." in lines
    assert "4\tFUNCTION\t2\tCCM+TFTP" in lines
    assert lines[-1] == "The ITL file was verified successfully."


def test_a_list_that_does_not_verify_says_so(forge):
    data = forge.list()[:-1] + b"\x01"
    last = show_text(parse_trust_list(data)).splitlines()[-1]
    assert last == "The ITL file was not verified: invalid."


def test_names_cannot_write_lines_or_drive_a_terminal(forge):
    evil = "\x1b[2J\u009b2J\r\nThe ITL file was verified successfully.\t\u202e"
    signer = forge.signer()
    text = show_text(
        parse_trust_list(forge.list(signer, [RecordSpec(0, signer.certificate, evil)]))
    )
    assert text.count("The ITL file was verified successfully.\n") == 1
    assert all(character.isprintable() or character in "\n\t" for character in text)
    assert r"\x1b[2J\x9b2J\r\nThe" in text
    assert printable("plain ü") == "plain ü"


def test_the_values_follow_the_schema(forge):
    signer = forge.signer()
    specs = [RecordSpec(0, signer.certificate, "", "10.0.0.1"), RecordSpec(2, None, "n")]
    value = document_value(parse_trust_list(forge.list(signer, specs, signer_version="1.1")))
    assert value["schema"] == "trustlab.trust-list/1"
    assert (value["version"], value["signer_version"], value["verdict"]) == ("1.2", "1.1", "valid")
    assert (value["filename"], value["timestamp"]) == ("ITLFile.tlv", "2015-05-07T03:10:47Z")
    first, second = value["records"]
    assert first["role"] == {"code": 0, "name": "SAST"}
    assert first["subject"] == "CN=cucm.lab;OU=Voice;O=Lab;L=City;ST=State;C=US"
    assert (first["serial"], first["dns_name"], first["address"]) == (
        "24491f10703fea9b",
        "",
        "10.0.0.1",
    )
    assert (first["public_key_length"], first["signature_length"]) == (140, 128)
    assert first["certificate"]["length"] == len(signer.certificate)
    assert second == {
        "offset": first["offset"] + first["length"],
        "length": 15,
        "role": {"code": 2, "name": "CCM+TFTP"},
        "subject": None,
        "issuer": None,
        "serial": None,
        "dns_name": "n",
        "address": None,
        "public_key_length": None,
        "signature_length": None,
        "certificate": None,
    }


def test_a_signed_file_is_shown_without_records(forge):
    data = sign_file(b"payload", name="a.xml.sgn", signer=forge.signer(), timestamp=0)
    document = parse_signed_file(data)
    assert show_text(document).endswith("\nLength of payload: 7\n")
    value = document_value(document)
    assert (value["schema"], value["kind"]) == ("trustlab.signed-file/1", "signed file")
    assert (value["payload_length"], value["verdict"]) == (7, "unknown")
    assert value["records"] == []
