"""Write the vectors of this folder anew; see README.md."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from itl.elements import Element, encode_header, encode_record
from itl.roles import Role
from itl.signedfile import sign_file
from itl.trustlist import RecordSpec, TrustList, parse_trust_list
from tests.itl.forge import Forge

FOLDER = Path(__file__).parent
MADE = "made by this project: shows its reader, not the format"
REAL = (
    "GitHub muthuayyanar/enterpriseXTLVParser @b4ed952, TLV/SCFFile.tlv, written by a CUCM in 2015"
)
FIRMWARE = "GitHub GarnetAlliance/Cisco-8861-mpp @2c7bb08, sip88xx.12-0-7MPP0201-66.loads"
COLUMNS = 96

forge = Forge(cache(lambda bits: rsa.generate_private_key(65537, bits)))
signer = forge.signer()
good = forge.list(signer)
document = parse_trust_list(good)


def header(change, base: TrustList = document) -> bytes:
    """``base`` with header elements changed, dropped (None) or added (a list)."""
    kept: list[Element] = []
    for element in base.header.elements:
        new = change(element)
        kept += new if isinstance(new, list) else [new] if new is not None else []
    length = len(encode_header(kept)).to_bytes(2)
    kept = [e._replace(value=length) if e.tag == 2 else e for e in kept]
    return encode_header(kept) + b"".join(record.encode() for record in base.records)


def record(change, number: int = 0) -> bytes:
    """The good list with the elements of one record changed by ``change(elements)``."""
    octets = [one.encode() for one in document.records]
    kept = change([e for e in document.records[number].elements if e.tag != 1])
    length = 5 + sum(3 + len(e.value) for e in kept)
    octets[number] = encode_record([Element(1, length.to_bytes(2), 0), *kept])
    return document.header.encode() + b"".join(octets)


def put(at: int, octets: bytes) -> bytes:
    return good[:at] + octets + good[at + len(octets) :]


def valid() -> Iterator[tuple[str, bytes, str]]:
    yield "valid-cucm-style", good, "weak-digest SHA-1"
    tools = forge.list(signer, style="certutils", signer_version="1.1", digest="sha512")
    yield "valid-certutils-style-sha512", tools, ""
    specs = [
        RecordSpec(Role.SAST, signer.certificate, "a", "10.0.0.1"),
        RecordSpec(Role.CCM, forge.certificate("CN=ec.lab", key=forge.ec_key())),
        RecordSpec(Role.CCM_TFTP, None, "b", "10.0.0.2"),
        RecordSpec(9, signer.certificate),
        RecordSpec(Role.SAST, signer.certificate),
    ]
    mixed = forge.list(signer, specs, filename="CTLFile.tlv")
    yield "valid-ec-short-unknown-role", mixed, "unknown-role record 4: role 9"
    yield "valid-duplicate-record", mixed, "duplicate-record record 5: the same"
    reversed_list = encode_header(document.header.elements[::-1]) + b"".join(
        encode_record(one.elements[::-1]) for one in document.records
    )
    yield "valid-any-order", forge.sign_again(reversed_list, signer), ""
    added = forge.sign_again(
        header(lambda e: [e, Element(77, b"new", 0)] if e.tag == 15 else e), signer
    )
    yield "valid-unknown-header-element", added, "unknown-element header element (77)"
    lying = forge.sign_again(
        header(lambda e: e._replace(value=b"\0\0") if e.tag == 9 else e), signer
    )
    yield "valid-group-length-signed", lying, "group-length header SIGNATUREALGOINFO (9)"


def invalid() -> Iterator[tuple[str, bytes, str]]:
    at = document.header.signature_at + 3
    yield "invalid-signature-octet", put(at, bytes((good[at] ^ 1,))), "bad-signature"
    at = document.records[1].offset + 10
    yield "invalid-record-octet", put(at, bytes((good[at] ^ 1,))), "bad-signature"
    yield "invalid-last-record-cut-off", good[: document.records[2].offset], "bad-signature"
    yield "invalid-no-signature", header(lambda e: None if e.tag == 12 else e), "no-signature"
    yield "invalid-digest-code", header(_set(8, b"\x09")), "unknown-digest DIGESTALGORTITHM (8)"
    yield "invalid-algorithm-code", header(_set(10, b"\x05")), "unknown-algorithm"
    yield "invalid-group-length", header(_set(3, b"\0\0")), "group-length header SIGNERID (3)"
    other = forge.list(signer, [RecordSpec(0, forge.certificate(key=forge.key(1032)))])
    yield "invalid-other-key", other, "bad-signature"
    ec = forge.list(signer, [RecordSpec(0, forge.certificate(key=forge.ec_key()))])
    yield "invalid-ec-signer", ec, "signer-key the signer has an EC key"


def malformed() -> Iterator[tuple[str, bytes, str]]:
    length = document.header.header_length
    second = document.records[1]
    place = "malformed "
    yield "malformed-empty", b"", "empty"
    yield "malformed-text", b"<device/>", "no-header no header at byte 0"
    yield "malformed-header-cut", good[:100], place + "header HEADERLENGTH (2) at byte 5"
    yield "malformed-no-records", good[:length], place + f"record 1 at byte {length}"
    yield (
        "malformed-header-length-beyond-file",
        put(8, b"\xff\xff"),
        place + "header HEADERLENGTH (2) at byte 5",
    )
    yield "malformed-header-length-short", put(8, b"\x00\x41"), place + "header "
    yield "malformed-header-length-long", put(8, (length + 9).to_bytes(2)), place + "header "
    yield (
        "malformed-record-length-beyond-file",
        put(second.offset + 3, b"\xff\xff"),
        place + f"record 2 RECORDLENGTH (1) at byte {second.offset}",
    )
    yield "malformed-record-length-short", put(second.offset + 3, b"\x00\x40"), place + "record 2 "
    yield "malformed-record-length-long", put(second.offset + 3, b"\x04\xff"), place + "record 2 "
    yield "malformed-record-cut", good[:-1], place + "record 3 RECORDLENGTH (1)"
    yield "malformed-octet-after-the-last-record", good + b"\x01", place + "record 4 "
    subject = next(e for e in second.elements if e.tag == 3)
    yield (
        "malformed-element-overruns-record",
        put(subject.offset + 1, b"\xff\xff"),
        place + f"record 2 SUBJECTNAME (3) at byte {subject.offset}: length 65535",
    )
    yield (
        "malformed-element-overruns-header",
        put(next(e.offset for e in document.header.elements if e.tag == 14) + 1, b"\x7f\xff"),
        place + "header FILENAME (14)",
    )
    doubled = header(lambda e: [e, e] if e.tag == 5 else e)
    yield "malformed-serial-twice", doubled, place + "header SERIALNUMBER (5)"
    no_role = record(lambda elements: [e for e in elements if e.tag != 4])
    yield "malformed-no-role", no_role, place + "record 1 FUNCTION (4)"
    short = record(lambda es: [e._replace(value=b"\0") if e.tag == 4 else e for e in es])
    yield "malformed-role-of-one-octet", short, place + "record 1 FUNCTION (4)"
    wide = header(_set(1, b"\x01\x02\x03"))
    yield "malformed-version-of-three-octets", wide, place + "header VERSION (1) at byte 0"


def _set(tag: int, value: bytes):
    return lambda element: element._replace(value=value) if element.tag == tag else element


def write(
    name: str, octets: bytes, finding: str, *, command: str = "itl", source: str = MADE
) -> None:
    verdict = name.partition("-")[0]
    lines = [f"source: {source}", f"command: {command}", f"verdict: {verdict}"]
    lines += [f"finding: {finding}"] if finding else []
    text = octets.hex()
    lines += ["", *(text[at : at + COLUMNS] for at in range(0, len(text), COLUMNS))]
    (FOLDER / f"{name}.vector").write_text("\n".join(lines) + "\n")


def main() -> None:
    for scenarios in (valid, invalid, malformed):
        for name, octets, finding in scenarios():
            write(name, octets, finding)
    stranger = forge.list(signer, [RecordSpec(0, forge.certificate("CN=other", serial=5))])
    write("unknown-signer", stranger, "unknown-signer no certificate at hand")
    signed = sign_file(b"<device/>", name="N/a.cnf.xml.sgn", signer=signer, timestamp=1)
    write("unknown-signed-file", signed, "unknown-signer", command="sgn")
    write(
        "malformed-signed-file-is-no-list",
        signed,
        "malformed no list but a file of the kind signed file",
    )
    escapes = sign_file(b"x", name="aa/a.sgn", signer=signer, timestamp=1)
    outside = escapes.replace(b"aa/a.sgn", b"../a.sgn")
    write("unknown-name-leads-outside", outside, "file-name FILENAME (14)", command="sgn")
    blank = "GitHub dbaldree/cisco_sip_voipfone @36bddb7"
    write("malformed-one-blank", b" ", "no-header 1 blank", command="ctl", source=blank)
    artifacts = os.environ.get("TRUSTLAB_ARTIFACTS")
    if artifacts:
        real = (Path(artifacts) / "trustlists/CTLFile.gigantic-6.tlv").read_bytes()
        finding = "malformed record 1 at byte 312: the file ends after the header"
        source = f"bytes 0 to 311 of {REAL}"
        write("malformed-real-header-alone", real[:312], finding, command="ctl", source=source)
        load = (Path(artifacts) / "firmware" / FIRMWARE.rsplit(maxsplit=1)[1]).read_bytes()
        finding = "container-88xx a 78xx/88xx firmware container sip88xx.12-0-7MPP0201-66.loads"
        source = f"bytes 0 to 85 of {FIRMWARE}"
        write("malformed-88xx-container", load[:86], finding, command="sgn", source=source)


if __name__ == "__main__":
    main()
