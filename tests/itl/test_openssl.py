"""OpenSSL's own program agrees about signatures, keys and encryption."""

import subprocess

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from itl.encryption import encrypt_file
from itl.layout import HeaderTag
from itl.signedfile import parse_signed_file
from itl.trustlist import parse_trust_list


@pytest.fixture
def openssl(program, tmp_path):
    """Run openssl in an empty folder; answers its output, fails with its messages."""

    def run(*arguments: str) -> bytes:
        command = [program("openssl"), *arguments]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    return run


@pytest.mark.parametrize(("bits", "digest"), [(1024, "sha1"), (2048, "sha512"), (4096, "sha1")])
def test_the_signature_covers_the_file_without_its_element(forge, openssl, tmp_path, bits, digest):
    signer = forge.signer(bits)
    data = forge.list(signer, digest=digest)
    # found as the format says, without our reader: tag 12, two octets of length, the value
    length = bits // 8
    at = data.index(b"\x0c" + length.to_bytes(2))
    (tmp_path / "signature").write_bytes(data[at + 3 : at + 3 + length])
    (tmp_path / "signed").write_bytes(data[:at] + data[at + 3 + length :])
    public = signer.private_key.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(pem)
    said = openssl("dgst", f"-{digest}", "-verify", "key.pem", "-signature", "signature", "signed")
    assert said == b"Verified OK\n"


def test_key_and_certificate_of_a_record_are_what_openssl_reads(forge, openssl, tmp_path):
    record = parse_trust_list(forge.list()).records[0]
    (tmp_path / "key.der").write_bytes(record.public_key)
    (tmp_path / "certificate.der").write_bytes(record.certificate)
    of_record = openssl("rsa", "-RSAPublicKey_in", "-inform", "DER", "-in", "key.der", "-pubout")
    of_certificate = openssl(
        "x509", "-inform", "DER", "-in", "certificate.der", "-noout", "-pubkey"
    )
    assert of_record == of_certificate
    serial = openssl("x509", "-inform", "DER", "-in", "certificate.der", "-noout", "-serial")
    assert serial.decode().strip().lower() == f"serial={record.serial.hex()}"


def test_openssl_decrypts_a_configuration(forge, openssl, tmp_path):
    plain = b"<device><a>1</a></device>"
    data = encrypt_file(
        plain,
        name="SEP0.cnf.xml.enc.sgn",
        phone_certificate=forge.certificate("CN=SEP0", key=forge.key(2048)),
        signer=forge.signer(),
        timestamp=1,
    )
    document = parse_signed_file(data)
    key = forge.key(2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "phone.key").write_bytes(key)
    (tmp_path / "wrapped").write_bytes(document.header.value(HeaderTag.ENCRYPTED_KEY))
    (tmp_path / "payload").write_bytes(document.payload)
    unwrap = ("pkeyutl", "-decrypt", "-inkey", "phone.key", "-in", "wrapped")
    aes = openssl(*unwrap, "-pkeyopt", "rsa_padding_mode:pkcs1").hex()
    iv = document.header.value(HeaderTag.IV).hex()
    cipher = ("enc", "-d", "-aes-128-cbc", "-nopad", "-K", aes, "-iv", iv, "-in", "payload")
    padded = openssl(*cipher)
    assert padded == plain + b"\r" * 7
