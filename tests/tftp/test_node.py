"""A node's whole offer, from its settings: lists side by side, HTTPS by ECDSA, encrypted files."""

import http.client
import socket
import ssl

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from conf import ConfError
from conf.identity import load_signer
from conf.node import load_node
from conf.settings import OfferSettings, load_settings
from itl.encryption import decrypt_file
from itl.signedfile import parse_signed_file
from itl.signing import Verdict, verify
from itl.trustlist import ITL_FILENAME, build_trust_list
from lab.catalog import node_catalog
from tests.daemons import new_node, serving
from tests.tftp.conftest import Service, phone
from tftp.client import get
from tftp.lists import itl_records

MAC = "001122334455"
SETTINGS = """
[lists]
offers = [
    { macs = ["00aa00aa00aa"], itl = "phone.tlv" },
    { models = ["CP-8861"], itl = "model.tlv", ctl = "model.tlv" },
    { addresses = ["192.0.2.0/24", "127.0.0.8/31"], itl = "range.tlv" },
]

[http]
ecdsa = true
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory, signers):
    """A node's folder, its lists by name, and the phone whose certificate it knows."""
    state = new_node(tmp_path_factory.mktemp("node") / "n", "--callmanager-ecdsa")
    settings = (state / "trustlab.toml").read_text()
    models = f'macs = ["{MAC}"]\nmodels = {{ 00BB00BB00BB = "CP-8861" }}'
    (state / "trustlab.toml").write_text(settings.replace("macs = []", models) + SETTINGS)
    known = signers(f"CP-8861-SEP{MAC}", 3)
    (state / "phones").mkdir()
    certificate = x509.load_der_x509_certificate(known.certificate)
    (state / "phones" / f"{MAC}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (state / "lists").mkdir()
    (state / "lists" / "junk.tlv").write_bytes(b"junk")
    signer = load_signer(state, "ITLRecovery")
    lists = {}
    for timestamp, name in enumerate(("phone", "model", "range"), 1):
        lists[name] = build_trust_list(
            itl_records(load_node(state), signer),
            signer=signer,
            filename=ITL_FILENAME,
            timestamp=timestamp,
        )
        (state / "lists" / f"{name}.tlv").write_bytes(lists[name])
    return state, lists, known


@pytest.fixture(scope="module")
def daemon(node):
    with serving(node[0], "--http-port", "0", "--https-port", "0") as running:
        yield running


async def test_each_phone_gets_the_list_that_is_meant_for_it(node, daemon):
    _, lists, _ = node
    own = await get(*daemon.tftp, "ITLFile.tlv")
    assert own not in lists.values()
    for name, expected in (
        ("ITLSEP00AA00AA00AA.tlv", lists["phone"]),
        ("ITLSEP00BB00BB00BB.tlv", lists["model"]),
        ("CTLSEP00BB00BB00BB.tlv", lists["model"]),
        (f"ITLSEP{MAC}.tlv", own),
    ):
        assert await get(*daemon.tftp, name) == expected
    for source, expected in (("127.0.0.9", lists["range"]), ("127.0.0.10", own)):
        async with phone(Service(*daemon.tftp), source) as asking:
            assert (await asking.rrq(b"ITLFile.tlv"))[4:] == expected[:512]
        assert fetched(daemon.http, "/ITLFile.tlv", source=source) == expected


def fetched(at, path, *, tls=None, source="127.0.0.1"):
    """What HTTP, or HTTPS with a context, answers to one GET."""
    if tls is None:
        connection = http.client.HTTPConnection(*at, source_address=(source, 0))
    else:
        connection = http.client.HTTPSConnection(*at, context=tls, source_address=(source, 0))
    connection.request("GET", path)
    try:
        return connection.getresponse().read()
    finally:
        connection.close()


async def test_https_shows_the_ecdsa_identity_and_serves_what_signatures_are_for(daemon):
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(daemon.https) as plain,
        anyone.wrap_socket(plain) as shown,
    ):
        der = shown.getpeercert(binary_form=True)
    key = x509.load_der_x509_certificate(der).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    name = f"SEP{MAC}.cnf.xml"
    configuration = await get(*daemon.tftp, name)
    assert fetched(daemon.https, f"/{name}.sgn", tls=anyone) == configuration
    signed = parse_signed_file(fetched(daemon.http, f"/{name}.sgn"))
    assert signed.payload == configuration


async def test_a_phone_whose_certificate_lies_in_the_folder_gets_it_encrypted(node, daemon):
    state, _, known = node
    name = f"SEP{MAC}.cnf.xml"
    signed = parse_signed_file(await get(*daemon.tftp, f"{name}.enc.sgn"))
    signer = load_signer(state, "CallManager").certificate
    assert verify(signed, [signer]).verdict is Verdict.VALID
    configuration = decrypt_file(signed, known.private_key)
    assert configuration == await get(*daemon.tftp, name)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (OfferSettings(addresses=("10.0.0.1/24",)), "host bits"),
        (OfferSettings(macs=(MAC,), itl="missing.tlv"), "missing.tlv: No such file"),
        (OfferSettings(macs=(MAC,), ctl="junk.tlv"), "junk.tlv: .*byte 0"),
    ],
)
def test_an_offer_that_cannot_be_used_is_named(node, entry, words):
    state = node[0]
    settings = load_settings(state)
    lists = msgspec.structs.replace(settings.lists, offers=(entry,))
    with pytest.raises(ConfError, match=f"lists.offers: .*{words}"):
        node_catalog(load_node(state), msgspec.structs.replace(settings, lists=lists))
