"""Lists are written as CUCM or the open tools write them, and read in any order."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from conf.signer import Signer
from itl import document, records, trustlist
from itl.certificates import describe
from itl.elements import Element, encode_header, encode_record
from itl.errors import BuildError, FormatError
from itl.roles import parse_role, role_name
from itl.signedfile import sign_file
from itl.signing import Verdict, verify_data
from itl.trustlist import RecordSpec, build_trust_list, parse_trust_list


def tags(elements):
    return [element.tag for element in elements]


def test_elements_stand_in_cucms_order(forge):
    document = parse_trust_list(forge.list())
    assert tags(document.header.elements)[:14] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15]
    assert tags(document.records[0].elements) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert document.header.version == (1, 2)
    assert document.header.header_length % 4 == 0
    assert document.header.signer_version is None


@pytest.mark.parametrize(("text", "version"), [("1.0", (1, 0)), ("1.1", (1, 1))])
def test_elements_stand_in_the_open_tools_order(forge, text, version):
    document = parse_trust_list(forge.list(style="certutils", signer_version=text))
    assert tags(document.header.elements)[:9] == [1, 2, 28, 3, 4, 6, 5, 7, 8]
    assert tags(document.records[0].elements) == [1, 3, 5, 6, 4, 7, 8, 9]
    assert document.header.signer_version == version
    assert document.header.signer_name == "CN=cucm.lab,OU=Voice,O=Lab,L=City,ST=State,C=US"
    assert document.records[0].subject == document.header.signer_name


# Cisco documents 118893 and 118892 and the CTL of 2015: octets of the signer's name and issuer with
# their NUL, of its serial number, and of the whole header
@pytest.mark.parametrize(
    ("widths", "group", "header"),
    [((62, 62, 16), 149, 336), ((56, 42, 10), 117, 304), ((55, 55, 8), 127, 312)],
)
def test_headers_have_the_published_lengths(forge, widths, group, header):
    name, issuer, serial = widths
    subject = "CN=" + "s" * (name - 4 - len(";OU=TAC;O=Cisco")) + ",OU=TAC,O=Cisco"
    issued_by = "CN=" + "i" * (issuer - 4 - len(";OU=TAC;O=Cisco")) + ",OU=TAC,O=Cisco"
    signer = forge.signer(subject=subject, issuer=issued_by, serial=(0x70 << 8 * (serial - 1)) + 1)
    data = forge.list(signer, filename="CTLFile.tlv")
    document = parse_trust_list(data)
    groups = {
        e.tag: int.from_bytes(e.value) for e in document.header.elements if e.tag in {3, 7, 9}
    }
    assert groups == {3: group, 7: 15, 9: 8}
    assert document.header.header_length == header


# Octets of each element of a record, and of the record: Cisco documents 118893 and 118892
PUBLISHED_RECORDS = {
    1156: {2: 16, 3: 62, 4: 2, 5: 62, 6: 16, 7: 140, 8: 128, 9: 694, 10: 4},
    1675: {2: 16, 3: 62, 4: 2, 5: 62, 6: 16, 7: 270, 8: 256, 9: 955, 10: 4},
    1186: {2: 1, 3: 56, 4: 2, 5: 42, 6: 10, 7: 140, 9: 902, 10: 4},
    33: {2: 13, 4: 2, 10: 4},
}


@pytest.mark.parametrize(("length", "widths"), PUBLISHED_RECORDS.items())
def test_records_have_the_published_lengths(forge, length, widths):
    """Read from the published widths; a record without signature or certificate is one too."""
    elements = [Element(1, length.to_bytes(2), 0)]
    elements += [Element(tag, bytes(width), 0) for tag, width in widths.items()]
    record = encode_record(elements)
    assert len(record) == length
    header = parse_trust_list(forge.list()).header
    read = parse_trust_list(header.encode() + record).records[0]
    assert read.length == length
    assert (read.certificate is None) == (9 not in widths)
    assert {e.tag: len(e.value) for e in read.elements if e.tag != 1} == widths


def test_a_record_without_certificate_is_written_with_33_octets(forge):
    """``utils ctl set-cluster non-secure-mode`` leaves such records (Cisco document 118892)."""
    signer = forge.signer()
    specs = [RecordSpec(0, signer.certificate), RecordSpec(2, None, "cucm-1051-b1", "10.48.1.1")]
    short = parse_trust_list(forge.list(signer, specs)).records[1]
    assert (short.length, tags(short.elements)) == (33, [1, 2, 4, 10])
    assert (short.certificate, short.address, short.dns_name) == (None, "10.48.1.1", "cucm-1051-b1")


def test_a_record_repeats_the_certificates_octets(forge):
    der = forge.certificate("CN=ec.lab,O=Lab", key=forge.ec_key(), serial=0x9900)
    signer = forge.signer()
    specs = [RecordSpec(0, signer.certificate), RecordSpec(1, der)]
    record = parse_trust_list(forge.list(signer, specs)).records[1]
    described = describe(der)
    assert record.certificate == der
    assert record.public_key == described.public_key
    assert record.public_key[0] == 4
    assert record.signature == x509.load_der_x509_certificate(der).signature
    assert record.serial.hex() == "9900"


def test_a_key_that_records_have_no_form_for_is_refused(forge):
    der = forge.certificate("CN=ed.lab", key=ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(BuildError, match="RSA and EC keys only"):
        forge.list(records=[RecordSpec(0, der)])


def test_a_header_longer_than_its_length_field_is_refused(forge):
    long = ",".join(f"OU={'u' * 60}" for _ in range(600))
    signer = forge.signer(subject=f"CN=long,{long}")
    with pytest.raises(BuildError, match="too long for a header"):
        forge.list(signer, [RecordSpec(0, None)])
    with pytest.raises(BuildError, match="a header of 65"):
        sign_file(b"x", name="n" * 65_400, signer=forge.signer(), timestamp=1)


def test_elements_longer_than_their_length_field_are_refused(forge):
    long = ",".join(f"OU={'u' * 60}" for _ in range(1100))
    with pytest.raises(BuildError, match="octets"):
        forge.list(records=[RecordSpec(0, forge.certificate(f"CN=long,{long}"))])


@pytest.mark.parametrize("address", [None, "2001:db8::1", "cucm.lab"])
def test_what_is_no_ipv4_address_is_left_out(forge, address):
    signer = forge.signer()
    data = forge.list(signer, [RecordSpec(0, signer.certificate, "cucm.lab", address)])
    assert tags(parse_trust_list(data).records[0].elements) == [1, 2, 3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("bits", [1024, 2048, 4096])
@pytest.mark.parametrize("digest", ["sha1", "sha512"])
def test_signers_of_every_size_with_a_code(forge, bits, digest):
    data = forge.list(forge.signer(bits), digest=digest)
    header = parse_trust_list(data).header
    assert (header.modulus_bits, len(header.signature) * 8, header.digest) == (bits, bits, digest)
    assert verify_data(data).verdict is Verdict.VALID


@pytest.mark.parametrize(
    ("bits", "keywords", "reason"),
    [
        (3072, {}, "3072 bits"),
        (1024, {"digest": "sha256"}, "never written"),
        (1024, {"digest": "md5"}, "use sha1 or sha512"),
        (1024, {"style": "asterisk"}, "use cucm or certutils"),
        (1024, {"filename": "CTLFile.tlv", "signer_version": "1.0"}, "ITL only"),
        (1024, {"signer_version": "2.0"}, "use 1.0 or 1.1"),
        (1024, {"filename": "list.tlv"}, "ITLFile.tlv or CTLFile.tlv"),
        (1024, {"timestamp": 1 << 32}, "time stamp"),
        (1024, {"records": []}, "without records"),
        (1024, {"records": [RecordSpec(70_000, None)]}, "does not fit"),
        (1024, {"records": [RecordSpec(0, b"\x30\x00")]}, "record 1: not a certificate"),
        (1024, {"records": [RecordSpec(0, None, "a\0b")]}, "NUL"),
        (1024, {"records": [RecordSpec(0, None, "\udcff")]}, "not text in UTF-8"),
        (1024, {"records": [RecordSpec(0, None, "n" * 65_535)]}, "65534 fit"),
        (1024, {"records": [RecordSpec(0, None, "n" * 65_530)]}, "its length field holds 65535"),
    ],
)
def test_what_cannot_be_written_is_refused_with_the_reason(forge, bits, keywords, reason):
    with pytest.raises(BuildError, match=reason):
        forge.list(forge.signer(bits), **keywords)


def rsa_512():
    """A key that cryptography loads but no longer makes."""
    p = 0xFA45ED217C785C62C752DE18C7EF2BFBDCEED9AF73CFC0EB7C9907CB5D6A95E9
    q = 0xEC6E01A2247D9A62A22D4F35BD09075EC3FED22B58635963C47F20F670318DFD
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    rest = (d % (p - 1), d % (q - 1), pow(q, -1, p))
    return rsa.RSAPrivateNumbers(p, q, d, *rest, public).private_key()


@pytest.mark.parametrize("digest", ["sha1", "sha512"])
def test_a_signer_of_512_bits_is_refused_although_it_has_a_code(forge, digest):
    key = rsa_512()
    signer = Signer(forge.certificate(key=key, issuer_key=forge.key(1024)), key)
    with pytest.raises(BuildError, match="512 bits: read and shown, never written"):
        forge.list(signer, digest=digest)


def test_a_key_of_another_certificate_is_noticed_before_the_list_is_handed_over(forge):
    signer = Signer(forge.certificate(key=forge.key(2048)), forge.key(1024))
    with pytest.raises(BuildError, match="does not belong"):
        build_trust_list(
            [RecordSpec(0, signer.certificate)], signer=signer, filename="ITLFile.tlv", timestamp=0
        )


def test_any_order_of_elements_is_read(forge):
    """Header length and record length may stand last, too."""
    document = parse_trust_list(forge.list())
    first = document.records[0]
    turned = encode_header(document.header.elements[::-1]) + encode_record(first.elements[::-1])
    read = parse_trust_list(turned)
    assert (read.header.signer_name, read.header.digest) == (document.header.signer_name, "sha1")
    assert (read.records[0].subject, read.records[0].role) == (first.subject, first.role)
    assert read.encode() == turned


def test_unknown_elements_are_kept(forge):
    document = parse_trust_list(forge.list())
    extra = Element(200, b"kept", 0)
    first = document.records[0]
    length = Element(1, (first.length + 7).to_bytes(2), 0)
    record = encode_record((length, *first.elements[1:], extra))
    data = document.header.encode() + record
    read = parse_trust_list(data)
    assert read.records[0].elements[-1][:2] == (200, b"kept")
    assert read.encode() == data
    assert "unknown-element" in {finding.code for finding in verify_data(data).findings}


def test_names_that_are_no_utf8_or_not_ended_are_read(forge):
    document = parse_trust_list(forge.list())
    odd = 'cn="SAST-ADN0054f509        ";ou=IPCBU;o="Cisco Systems'  # Cisco document 118892
    changed = {3: odd.encode() + b"\0", 5: b"CN=M\xfcller"}
    first = document.records[0]
    elements = [Element(e.tag, changed.get(e.tag, e.value), 0) for e in first.elements[1:]]
    length = 5 + sum(3 + len(e.value) for e in elements)
    record = encode_record([Element(1, length.to_bytes(2), 0), *elements])
    read = parse_trust_list(document.header.encode() + record).records[0]
    assert (read.subject, read.issuer) == (odd, "CN=Müller")


def test_a_header_alone_is_no_list(forge):
    header = parse_trust_list(forge.list()).header.encode()
    with pytest.raises(FormatError, match="without records") as raised:
        parse_trust_list(header)
    assert raised.value.offset == len(header)


def test_roles_have_names_and_numbers():
    assert [role_name(code) for code in (0, 1, 2, 3, 4, 7, 21, 9)] == [
        "SAST",
        "CCM",
        "CCM+TFTP",
        "TFTP",
        "CAPF",
        "APP-SERVER",
        "TVS",
        "role 9",
    ]
    assert [parse_role(text) for text in ("sast", "CCM+TFTP", "App-Server", "9")] == [0, 2, 7, 9]
    for wrong in ("", "boss", "-1", "65536", "²"):
        with pytest.raises(BuildError, match="role"):
            parse_role(wrong)


def test_a_record_that_reads_back_as_another_is_noticed(forge, monkeypatch):
    """A fault of the writer is found before a phone finds it."""
    specs = [RecordSpec(0, forge.certificate("CN=never.written.before", serial=0x4711))]
    good = records._element
    monkeypatch.setattr(
        records, "_element", lambda tag, value: good(tag, b"\0\5" if tag == 4 else value)
    )
    with pytest.raises(BuildError, match="record 1: reads back as another record"):
        forge.list(records=specs)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (lambda parts: [*parts[:-1], parts[0]], "record 3: the list reads back with another one"),
        (lambda parts: [*parts, parts[0]], "more than its records"),
    ],
)
def test_a_list_that_reads_back_with_other_records_is_noticed(forge, monkeypatch, wrong, reason):
    sign = trustlist.sign_document
    monkeypatch.setattr(
        trustlist, "sign_document", lambda parts, **rest: sign(wrong(parts), **rest)
    )
    with pytest.raises(BuildError, match=reason):
        forge.list()


def test_a_header_that_reads_back_as_another_is_noticed(forge, monkeypatch):
    part, sha512 = document._signer_part, 3
    monkeypatch.setattr(
        document, "_signer_part", lambda der, style, _, modulus: part(der, style, sha512, modulus)
    )
    with pytest.raises(BuildError, match="the header reads back as another one"):
        forge.list()


def test_unknown_elements_that_come_again_are_kept(forge):
    document = parse_trust_list(forge.list())
    first = document.records[0]
    extra = [Element(200, b"one", 0), Element(201, b"", 0), Element(200, b"two", 0)]
    length = Element(1, (first.length + 6 + 3 + 6).to_bytes(2), 0)
    data = document.header.encode() + encode_record((length, *first.elements[1:], *extra))
    read = parse_trust_list(data)
    assert [e[:2] for e in read.records[0].elements[-3:]] == [e[:2] for e in extra]
    assert read.encode() == data
    codes = [f.text for f in verify_data(data).findings if f.code == "unknown-element"]
    assert len(codes) == 2
