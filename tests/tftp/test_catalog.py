"""Names a phone asks for become lists, signed files and configurations."""

import ipaddress
import threading
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from itl.encryption import decrypt_file
from itl.roles import Role
from itl.signedfile import parse_signed_file
from itl.signing import Verdict, verify
from itl.trustlist import parse_trust_list
from tftp.catalog import MAX_SIGNED_BYTES, Catalog, CatalogError, Offer
from tftp.configuration import TemplateProblemError
from tftp.content import ErrorReply, Later, Octets, whole
from tftp.packets import ErrorCode

MAC = "001122334455"
PEER = "192.0.2.9"


@pytest.fixture
def make(cluster, tmp_path):
    """``make(secure=…, **keywords)``: a catalog, its signers and its root."""
    root = tmp_path / "files"
    for made in (root, tmp_path / "state"):
        made.mkdir()

    def catalog(*, secure=False, list_signer="ITLRecovery", **keywords):
        node, own = cluster(secure=secure, list_signer=list_signer)
        made = Catalog(
            node,
            root=root,
            list_signer=own[list_signer],
            file_signer=own["CallManager"],
            **{"macs": [MAC.lower()], **keywords},
        )
        return made, own, root

    return catalog


def fetch(catalog, name, peer=PEER, **keywords):
    found = catalog.find(name, peer, **keywords)
    if isinstance(found, Later):
        found = found.make()
    return found if isinstance(found, ErrorReply) else whole(found)


def roles(octets):
    return [(record.role, record.dns_name) for record in parse_trust_list(octets).records]


def test_the_itl_of_a_non_secure_cluster(make):
    catalog, own, _ = make()
    octets = fetch(catalog, "ITLFile.tlv")
    assert roles(octets) == [
        (Role.SAST, "cm1"),
        (Role.SAST, "cm1"),
        (Role.TFTP, "cm1"),
        (Role.CAPF, "cm1"),
        (Role.TVS, "cm1"),
        (Role.TVS, "cm2"),
    ]
    document = parse_trust_list(octets)
    assert document.records[0].certificate == own["ITLRecovery"].certificate
    assert verify(document).verdict is Verdict.VALID
    assert fetch(catalog, f"ITLSEP{MAC}.tlv") == octets
    assert document.header.filename == "ITLFile.tlv"
    for name in ("CTLFile.tlv", f"CTLSEP{MAC}.tlv", f"ext_ITLSEP{MAC}.tlv"):
        assert fetch(catalog, name) == ErrorReply(ErrorCode.NOT_FOUND, "file not found", True)
    assert catalog.ctl_certificates() == []


def test_the_lists_of_a_secure_cluster(make):
    catalog, own, _ = make(secure=True)
    assert (Role.CCM_TFTP, "cm1") in roles(fetch(catalog, "ITLFile.tlv"))
    octets = fetch(catalog, f"CTLSEP{MAC}.tlv")
    assert roles(octets) == [
        (Role.SAST, "cm1"),
        (Role.CCM_TFTP, "cm1"),
        (Role.CCM_TFTP, "cm2"),
        (Role.CAPF, "cm1"),
    ]
    assert verify(parse_trust_list(octets)).verdict is Verdict.VALID
    assert own["CallManager"].certificate in catalog.ctl_certificates()


def test_callmanager_as_list_signer_is_sast_once_and_recovery_stays_in_the_ctl(make):
    catalog, _, _ = make(secure=True, list_signer="CallManager")
    itl, ctl = (roles(fetch(catalog, f"{kind}File.tlv")) for kind in ("ITL", "CTL"))
    assert [role for role, _ in itl].count(Role.SAST) == 1
    assert [role for role, _ in ctl].count(Role.SAST) == 2


def test_rollback_leaves_records_without_certificates(make):
    catalog, own, _ = make(rollback=True)
    records = parse_trust_list(fetch(catalog, "ITLFile.tlv")).records
    assert [(r.role, r.certificate is None) for r in records] == [
        (Role.SAST, False),
        (Role.TFTP, True),
        (Role.CAPF, False),
        (Role.TVS, True),
        (Role.TVS, True),
    ]
    assert own["ITLRecovery"].certificate == records[0].certificate


def test_a_list_keeps_its_octets_until_its_content_changes(make):
    first, _, _ = make(now=lambda: 1_700_000_000)
    second, _, _ = make(now=lambda: 1_800_000_000)
    changed, _, _ = make(now=lambda: 1_800_000_000, rollback=True)
    octets = fetch(first, "ITLFile.tlv")
    assert fetch(second, "ITLFile.tlv") == octets
    assert parse_trust_list(octets).header.timestamp == 1_700_000_000
    assert parse_trust_list(fetch(changed, "ITLFile.tlv")).header.timestamp == 1_800_000_000


def test_a_configuration_names_the_tvs_servers_with_ports(make):
    catalog, own, _ = make(loads={MAC: "sip88xx.<1>"})
    octets = fetch(catalog, f"SEP{MAC}.cnf.xml")
    document = ET.fromstring(octets)  # noqa: S314  our own
    members = [
        (m.get("priority"), m.findtext("address"), m.findtext("port"))
        for m in document.findall("TVS/members/member")
    ]
    assert members == [("0", "10.0.0.1", "2445"), ("1", "10.0.0.2", "2446")]
    nodes = document.findall(".//callManagerGroup//processNodeName")
    assert [node.text for node in nodes] == ["10.0.0.1", "10.0.0.2"]
    assert document.findtext(".//callManagerGroup/name") == "lab & co"
    assert document.findtext("loadInformation") == "sip88xx.<1>"
    prepared = catalog.find(f"SEP{MAC}.cnf.xml.sgn", PEER)
    assert isinstance(prepared, Octets)
    signed = parse_signed_file(prepared.data)
    assert (signed.payload, signed.header.filename) == (octets, f"SEP{MAC}.cnf.xml.sgn")
    assert verify(signed, [own["CallManager"].certificate]).verdict is Verdict.VALID
    assert b"<TVS>" in fetch(catalog, "XMLDefault.cnf.xml")


@pytest.mark.parametrize("suffix", ["", ".sgn", ".enc.sgn", ".sha512"])
def test_an_unknown_phone_gets_error_1_and_no_signature(make, suffix):
    catalog, _, _ = make()
    found = fetch(catalog, f"SEP00AABBCCDDEE.cnf.xml{suffix}")
    assert (found.code, found.expected) == (ErrorCode.NOT_FOUND, suffix == ".enc.sgn")


def test_files_are_signed_under_the_exact_name_asked_for(make):
    catalog, own, root = make(digest="sha512")
    (root / "New_Zealand").mkdir()
    (root / "New_Zealand" / "g3-tones.xml").write_bytes(b"<tones/>")
    for name, digest in (
        ("New_Zealand/g3-tones.xml.sgn", 3),
        ("New_Zealand/g3-tones.xml.sha512", 3),
    ):
        signed = parse_signed_file(fetch(catalog, name))
        assert signed.header.filename == name
        assert signed.payload == b"<tones/>"
        assert signed.header.digest == {3: "sha512"}[digest] or signed.header.digest == digest
        assert verify(signed, [own["CallManager"].certificate]).verdict is Verdict.VALID


def test_a_file_of_the_root_goes_before_what_is_made(make):
    catalog, _, root = make()
    (root / f"SEP{MAC}.cnf.xml").write_bytes(b"<device/>")
    (root / "placed.sgn").write_bytes(b"as it is")
    assert fetch(catalog, f"SEP{MAC}.cnf.xml") == b"<device/>"
    assert parse_signed_file(fetch(catalog, f"SEP{MAC}.cnf.xml.sgn")).payload == b"<device/>"
    assert fetch(catalog, "placed.sgn") == b"as it is"


def test_firmware_that_cisco_signed_goes_out_as_it_is(make, real_files):
    catalog, _, root = make()
    made = min((real_files / "firmware").rglob("*.loads"))
    (root / made.name).write_bytes(made.read_bytes())
    assert fetch(catalog, f"{made.name}.sgn") == made.read_bytes()


def test_what_is_signed_already_is_not_signed_again(make):
    catalog, _, root = make()
    (root / "load.xml").write_bytes(b"payload")
    signed = fetch(catalog, "load.xml.sgn")
    (root / "firmware.loads").write_bytes(signed)
    assert fetch(catalog, "firmware.loads") == signed
    assert fetch(catalog, "firmware.loads.sgn") == signed


def test_https_wants_the_unsigned_body(make):
    catalog, _, root = make()
    (root / "ring.xml").write_bytes(b"<ring/>")
    (root / "load.sgn").write_bytes(b"signed by its maker")
    assert fetch(catalog, "ring.xml.sgn", unsigned=True) == b"<ring/>"
    assert fetch(catalog, "load.sgn", unsigned=True) == b"signed by its maker"
    for name in ("missing.sgn", ".sgn", "SEP00AABBCCDDEE.cnf.xml.sgn"):
        assert isinstance(fetch(catalog, name, unsigned=True), ErrorReply)


def test_a_phone_whose_certificate_is_known_gets_it_encrypted(make, signers):
    phone = signers("CP-8861-SEP001122334455", 3)
    catalog, _, _ = make(phone_certificates={MAC: phone.certificate})
    octets = fetch(catalog, f"SEP{MAC}.cnf.xml.enc.sgn")
    assert decrypt_file(parse_signed_file(octets), phone.private_key) == fetch(
        catalog, f"SEP{MAC}.cnf.xml"
    )


def test_one_signature_for_all_who_ask_at_once_and_a_share_for_each_address(make):
    catalog, _, root = make(signatures_per_address=2)
    for name in ("a", "b", "c"):
        (root / name).write_bytes(name.encode())
    first, second = (catalog.find("a.sgn", PEER) for _ in range(2))
    assert first.make is second.make
    results = []
    threads = [threading.Thread(target=lambda: results.append(first.make())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(result) for result in results}) == 1
    assert catalog.find("a.sgn", "192.0.2.77") is results[0]
    assert isinstance(catalog.find("b.sgn", PEER), Later)
    refused = catalog.find("c.sgn", PEER)
    assert (refused.code, refused.text[:8]) == (ErrorCode.UNDEFINED, "too many")
    assert isinstance(catalog.find("c.sgn", "192.0.2.77"), Later)


def test_other_lists_for_some_phones(make, tmp_path):
    plain, _, _ = make()
    other, _, _ = make(rollback=True, now=lambda: 1)
    octets = fetch(other, "ITLFile.tlv")
    offers = [
        Offer(frozenset({"00AA00AA00AA"}), (), octets, None),
        Offer(frozenset(), (ipaddress.ip_network("198.51.100.0/24"),), None, octets),
    ]
    catalog, _, _ = make(offers=offers)
    assert fetch(catalog, "ITLSEP00AA00AA00AA.tlv") == octets
    for inside in ("198.51.100.7", "::ffff:198.51.100.7"):  # the latter on a socket for both
        assert fetch(catalog, "CTLFile.tlv", peer=inside) == octets
    assert fetch(catalog, "CTLFile.tlv", peer="fe80::1%eth0").expected
    assert fetch(catalog, "ITLFile.tlv", peer="198.51.100.7").expected
    assert roles(fetch(catalog, "ITLFile.tlv")) == roles(fetch(plain, "ITLFile.tlv"))


def test_rules_case_and_uploads_are_options(make, tmp_path):
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    (uploads / "log").write_bytes(b"log")
    catalog, _, root = make(rules=[(r"old/(.*)", r"\1")], fold_case=True, uploads=uploads)
    (root / "Ring.xml").write_bytes(b"ring")
    assert fetch(catalog, "old/RING.XML") == b"ring"
    assert fetch(catalog, "log") == b"log"
    assert fetch(catalog, "log.sgn").code is ErrorCode.NOT_FOUND
    for rule in (("(", ""), ("a(.*)", r"\2")):
        with pytest.raises(CatalogError, match="rule"):
            make(rules=[rule])


@pytest.mark.parametrize(
    ("pattern", "asked"), [(r"[^.]*", "anything"), (r"r|ring", "ring"), (r"(x)?ring", "ring")]
)
def test_a_rule_replaces_the_whole_name_once(make, pattern, asked):
    catalog, _, root = make(rules=[(pattern, "tones.xml")])
    (root / "tones.xml").write_bytes(b"<tones/>")
    assert fetch(catalog, asked) == b"<tones/>"
    assert parse_signed_file(fetch(catalog, f"{asked}.sgn")).payload == b"<tones/>"


def test_an_upload_takes_the_place_of_nothing_that_is_ours(make, tmp_path):
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    catalog, _, root = make(uploads=uploads)
    (root / "ring.xml").write_bytes(b"<ring/>")
    names = (
        *("ITLFile.tlv", "CTLFile.tlv", f"ITLSEP{MAC}.tlv", f"ext_ITLSEP{MAC}.tlv"),
        *("ring.xml", "ring.xml.sgn", "ring.xml.sha512", "XMLDefault.cnf.xml.sgn"),
        *(f"SEP{MAC}.cnf.xml", f"SEP{MAC}.cnf.xml.sgn"),
    )
    before = {name: fetch(catalog, name) for name in names}
    for name in (*names, ".upload-half", "mine"):
        (uploads / name).write_bytes(b"forged")
    after = {name: fetch(catalog, name) for name in names}
    assert after.pop(f"ext_ITLSEP{MAC}.tlv") == b"forged"  # nobody else has it
    assert after.items() <= before.items()
    assert fetch(catalog, "mine") == b"forged"
    assert fetch(catalog, "mine.sgn").code is ErrorCode.NOT_FOUND
    assert fetch(catalog, ".upload-half").code is ErrorCode.NOT_FOUND


def test_a_request_that_nobody_follows_up_holds_no_file_open(make):
    catalog, _, root = make()
    (root / "ring.xml").write_bytes(b"<ring/>")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for digest in ("sgn", "sha512"):
        assert isinstance(catalog.find(f"ring.xml.{digest}", PEER), Later)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_is_too_large_to_sign_is_said_to_be(make):
    catalog, _, root = make()
    with (root / "huge").open("wb") as file:
        file.truncate(MAX_SIGNED_BYTES + 1)
    refused = fetch(catalog, "huge.sgn")
    assert (refused.code, refused.text[:5]) == (ErrorCode.UNDEFINED, "above")
    assert fetch(catalog, "huge.sgn.sgn").code is ErrorCode.NOT_FOUND


def test_a_file_replaced_is_signed_again(make):
    catalog, _, root = make()
    (root / "ring.xml").write_bytes(b"<ring/>")
    assert parse_signed_file(fetch(catalog, "ring.xml.sgn")).payload == b"<ring/>"
    (root / "new").write_bytes(b"<othr/>")  # of the same size
    (root / "new").replace(root / "ring.xml")
    assert parse_signed_file(fetch(catalog, "ring.xml.sgn")).payload == b"<othr/>"


def test_a_template_of_ones_own_and_what_is_wrong_with_it(make, tmp_path):
    template = tmp_path / "own.j2"
    template.write_text("<d>{{ mac }}{{ cluster }}</d>")
    catalog, _, _ = make(template=template)
    assert fetch(catalog, f"SEP{MAC}.cnf.xml") == f"<d>{MAC}lab &amp; co</d>".encode()
    template.write_text("{{ nonsense }}")
    with pytest.raises(TemplateProblemError, match="nonsense"):
        make(template=template)


@pytest.mark.parametrize("name", ["../x", "..\\x", "a/../../x", "x\0.sgn", "", "/"])
def test_names_that_leave_the_root(make, name):
    catalog, _, _ = make()
    assert fetch(catalog, name).code is ErrorCode.ACCESS_VIOLATION
