"""Files of real systems: what CUCM and Cisco wrote is read, shown and judged."""

import hashlib
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from itl.errors import FormatError
from itl.show import show_text
from itl.signedfile import Kind, is_signed, parse_signed_file, recognise
from itl.signing import Verdict, verify_data
from itl.trustlist import parse_trust_list

NOW = datetime(2026, 1, 1, tzinfo=UTC)

# GitHub muthuayyanar/enterpriseXTLVParser @b4ed952, TLV/SCFFile.tlv: offset, length, role,
# DNS name, serial number, octets of key, signature and certificate, address
RECORDS = [
    (312, 1147, 0, "gigantic-6", "24491f10703fea9b", 140, 128, 712, "10.35.48.106"),
    (1459, 1147, 2, "gigantic-6", "24491f10703fea9b", 140, 128, 712, "10.35.48.106"),
    (2606, 1171, 2, "gigantic-7", "6330981c017c4743", 140, 128, 724, "10.35.150.151"),
    (
        3777,
        1085,
        4,
        "gigantic-6",
        "615dd8840a63eb4119be843e201550e0",
        140,
        128,
        656,
        "10.35.48.106",
    ),
    (
        4862,
        1161,
        0,
        "gigantic-6",
        "5b7328d0a02932d816d59eeef6ec9d18",
        140,
        128,
        694,
        "10.35.48.106",
    ),
    (
        6023,
        1143,
        2,
        "ccm-sjcctg-013",
        "418c549abc251e2f2609ecf6a092d22f",
        140,
        128,
        688,
        "10.32.134.77",
    ),
]


@pytest.fixture
def ctl(real_files) -> bytes:
    return (real_files / "trustlists/CTLFile.gigantic-6.tlv").read_bytes()


def test_a_ctl_of_cucm_is_read(ctl):
    document = parse_trust_list(ctl)
    header = document.header
    assert (header.version, header.header_length, header.digest) == ((1, 2), 312, "sha1")
    assert header.signer_serial.hex() == "24491f10703fea9b"
    assert (header.filename, header.signer_version) == ("CTLFile.tlv", None)
    assert datetime.fromtimestamp(header.timestamp, UTC).isoformat() == "2015-05-07T03:10:47+00:00"
    read = [
        (
            record.offset,
            record.length,
            record.role,
            record.dns_name,
            record.serial.hex(),
            len(record.public_key),
            len(record.signature),
            len(record.certificate),
            record.address,
        )
        for record in document.records
    ]
    assert read == RECORDS
    assert document.encode() == ctl


def test_a_ctl_of_cucm_verifies(ctl):
    verification = verify_data(ctl, now=NOW)
    assert verification.verdict is Verdict.VALID
    assert verification.signer.record == 1
    codes = [finding.code for finding in verification.findings]
    assert codes == ["weak-digest", *["certificate-expired"] * 5]


def test_a_ctl_of_cucm_is_shown(ctl):
    lines = show_text(parse_trust_list(ctl)).splitlines()
    assert "0c43d702a9bc273d1ba7e9512877ab6a(MD5)" in lines
    assert "7bc2b30ebc2c52dcb6af9389af7a32e4a65be824(SHA1)" in lines
    assert "Length of CTL file: 7166" in lines
    assert "HeaderLength:\t312 (BYTES)" in lines
    assert "3\tSIGNERID\t2\t127" in lines
    assert [line.split("\t")[3] for line in lines if "RECORDLENGTH" in line] == [
        str(record[1]) for record in RECORDS
    ]
    assert lines.count("This etoken was used to sign the CTL file.") == 1
    assert lines.count("This etoken was not used to sign the CTL file.") == 1
    assert lines[-1] == "The CTL file was verified successfully."


def test_groups_without_length_are_named_and_the_signature_fails(real_files):
    data = (real_files / "trustlists/CTLFile.gigantic-6.groups-zero.tlv").read_bytes()
    verification = verify_data(data)
    assert verification.verdict is Verdict.INVALID
    found = [f.text.split(" at")[0] for f in verification.findings if f.code == "group-length"]
    assert found == [
        "header SIGNERID (3)",
        "header SIGNATUREINFO (7)",
        "header SIGNATUREALGOINFO (9)",
    ]
    assert parse_trust_list(data).encode() == data


def test_a_blank_is_no_list(real_files):
    data = (real_files / "trustlists/CTLSEP.one-byte.tlv").read_bytes()
    verification = verify_data(data)
    assert verification.verdict is Verdict.MALFORMED
    assert "blank" in verification.findings[0].text


@pytest.mark.parametrize(
    "name",
    [
        "CP7921G-1.4.6.3.LOADS",
        "P0030801SR02.loads",
        "SCCP45.9-4-2SR4-3S.loads",
        "SCCP69xx.9-3-1-3.loads",
        "SCCP70.9-4-2SR3-1S.loads",
    ],
)
def test_firmware_of_cisco_is_read_and_known_as_signed(real_files, name):
    data = (real_files / "firmware" / name).read_bytes()
    document = parse_signed_file(data)
    assert (document.header.version, document.header.timestamp) == ((1, 1), None)
    assert document.header.filename.lower() == name.lower()
    assert recognise(data) is Kind.SIGNED_FILE
    assert is_signed(data)
    verification = verify_data(data)
    assert verification.verdict is Verdict.UNKNOWN
    assert "cisco-firmware" in {finding.code for finding in verification.findings}
    assert document.header.encode() + document.payload == data


def test_the_88xx_container_is_named_for_what_it_is(real_files):
    data = (real_files / "firmware/sip88xx.12-0-7MPP0201-66.loads").read_bytes()
    assert recognise(data) is Kind.FIRMWARE_88XX
    assert is_signed(data)
    (finding,) = verify_data(data).findings
    assert finding.text.startswith("a 78xx/88xx firmware container sip88xx.12-0-7MPP0201-66.loads")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.data())
def test_no_change_of_a_real_list_passes(ctl, data):
    """Any octet changed, inserted or cut: never valid, and only our error leaves the parser."""
    at = data.draw(st.integers(0, len(ctl) - 1))
    new = data.draw(st.binary(max_size=4))
    cut = data.draw(st.integers(0, 4))
    changed = ctl[:at] + new + ctl[at + cut :]
    if changed == ctl:
        return
    assert verify_data(changed, now=NOW).verdict is not Verdict.VALID
    try:
        document = parse_trust_list(changed)
    except FormatError:
        return
    assert document.encode() == changed


def test_the_files_are_the_ones_the_facts_are_about(ctl):
    assert hashlib.sha256(ctl).hexdigest().startswith("1e8d2ea5")
