"""Certificates as the lists see them; weak, old and odd ones are read like any other."""

import base64
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from itl.certificates import (
    CertificateError,
    describe,
    load_certificates,
    load_rsa_key,
    serial_octets,
)


def as_version_1(der: bytes) -> bytes:
    """The same certificate without its version field, which makes it version 1."""
    assert der[:2] == b"\x30\x82"
    assert der[4:6] == b"\x30\x82"
    assert der[8:13] == bytes.fromhex("a003020102")
    outer = int.from_bytes(der[2:4]) - 5
    inner = int.from_bytes(der[6:8]) - 5
    return b"\x30\x82" + outer.to_bytes(2) + b"\x30\x82" + inner.to_bytes(2) + der[13:]


def test_names_are_cucm_text_whatever_the_certificates_order(forge):
    described = describe(forge.certificate("C=US,O=Cisco,OU=TAC,CN=pub.lab,ST=NC,L=RTP"))
    assert described.subject == "CN=pub.lab;OU=TAC;O=Cisco;L=RTP;ST=NC;C=US"
    assert described.subject_in_order == "C=US,O=Cisco,OU=TAC,CN=pub.lab,ST=NC,L=RTP"


def test_attributes_that_are_missing_are_left_out(forge):
    assert describe(forge.certificate("O=Lab,CN=x")).subject == "CN=x;O=Lab"


def test_repeated_attributes_keep_their_order(forge):
    assert describe(forge.certificate("OU=a,CN=x,OU=b")).subject == "CN=x;OU=a;OU=b"


@pytest.mark.parametrize(
    ("number", "octets"),
    [(0, ""), (1, "01"), (0x80, "80"), (0x83E908, "83e908"), (1 << 64, "010000000000000000")],
)
def test_serial_numbers_have_no_sign_octet(number, octets):
    assert serial_octets(number).hex() == octets


@pytest.mark.parametrize(("number", "octets"), [(-1, "ff"), (-128, "80"), (-129, "ff7f")])
def test_a_negative_serial_number_has_the_octets_of_der(number, octets):
    assert serial_octets(number).hex() == octets


def test_a_serial_with_its_top_bit_set_is_read_unsigned(forge):
    assert describe(forge.certificate(serial=0x8210AA)).serial.hex() == "8210aa"


def test_serial_zero_and_negative_serials_are_read(forge):
    der = forge.certificate(serial=5)
    at = der.index(bytes.fromhex("020105"))
    assert describe(der[: at + 2] + b"\x00" + der[at + 3 :]).serial == b""
    assert describe(der[: at + 2] + b"\x85" + der[at + 3 :]).serial == b"\x85"


def test_version_1_is_read(forge):
    assert describe(as_version_1(forge.certificate())).subject.startswith("CN=cucm.lab")


def test_expired_certificates_are_read(forge):
    end = datetime(2001, 1, 1, tzinfo=UTC)
    der = forge.certificate(not_before=datetime(2000, 1, 1, tzinfo=UTC), not_after=end)
    assert describe(der).not_after == end


def test_key_octets_of_rsa_are_pkcs1_and_of_ec_the_point(forge):
    rsa = describe(forge.certificate())
    assert (rsa.key_type, rsa.key_bits, len(rsa.public_key)) == ("RSA", 1024, 140)
    assert load_rsa_key(rsa.public_key).key_size == 1024
    key = forge.ec_key()
    ec = describe(forge.certificate(key=key))
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert (ec.key_type, ec.key_bits, ec.public_key) == ("EC", 256, point)


def test_pem_files_with_a_key_and_a_chain_give_all_certificates(forge):
    ders = [forge.certificate(serial=number) for number in (1, 2)]
    pem = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    for der in ders:
        pem += x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
    assert load_certificates(pem) == ders
    assert load_certificates(ders[0]) == ders[:1]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30\x03\x02\x01\x01",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ],
)
def test_what_is_no_certificate_is_one_error_of_ours(data):
    with pytest.raises(CertificateError):
        load_certificates(data)


def test_every_mutation_of_a_certificate_is_read_or_refused_by_our_error(forge):
    der = forge.certificate()
    for at in range(len(der)):
        for value in (0x00, 0x1F, 0xFF, der[at] ^ 0x01):
            try:
                described = describe(der[:at] + bytes((value,)) + der[at + 1 :])
            except CertificateError:
                continue
            assert base64.b16encode(described.serial).decode().lower() == described.serial.hex()


def test_real_ca_certificates_of_cisco_are_read(real_files):
    subjects = {
        describe(load_certificates(path.read_bytes())[0]).subject
        for path in (real_files / "certs").glob("*.pem")
    }
    assert "CN=Cisco Root CA 2048;O=Cisco Systems" in subjects


@pytest.mark.timeout(10)
def test_pem_text_of_beginnings_alone_is_read_in_one_pass():
    with pytest.raises(CertificateError):
        load_certificates(b"-----BEGIN CERTIFICATE-----\n" * 100_000)
