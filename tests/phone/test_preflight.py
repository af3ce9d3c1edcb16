"""The pre-flight: every check made to pass and to speak up, on real servers and on files."""

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from itl.roles import Role
from itl.trustlist import ITL_FILENAME, parse_trust_list
from lab import LabError
from lab.endpoint import UsageError
from lab.phone.configuration import TvsServer
from lab.phone.models import model
from lab.preflight.bundles import read_bundles
from lab.preflight.examination import examine
from lab.preflight.places import Place, parse_place
from lab.preflight.report import as_html, as_values
from lab.preflight.simulation import SimulationError, simulate
from tests.phone.clusters import FAR_AWAY, LONG_AGO, self_signed
from tests.phone.servers import SECONDS, files_of, known, serve_files, serve_trust, udp_socket
from tvs.server import Reply

MAC = "00005E005301"
CONFIGURATION = f"SEP{MAC}.cnf.xml.sgn"


async def place_of(nursery, files, *servers, **options) -> Place:
    server = await serve_files(nursery, files)
    return Place(tftp=((server.host, server.tftp_port),), tvs=servers, **options)


async def look(source: Place, destination: Place, *, models=("8861",), **options):
    return await examine(
        source,
        destination,
        models=[model(name) for name in models],
        mac=MAC,
        timeout_seconds=options.pop("timeout_seconds", SECONDS),
        **options,
    )


def results(found, check) -> list[str]:
    return [str(finding.result) for finding in found.findings if finding.check == check]


def remedies(found, check) -> str:
    return " ".join(finding.remedy for finding in found.findings if finding.check == check)


@pytest.fixture
async def ready(nursery, source, destination):
    """A source whose TVS knows both signers of the destination, and the destination's files."""
    tvs = await serve_trust(
        nursery, source.tvs, known(destination.recovery, destination.callmanager)
    )
    back = await serve_trust(nursery, destination.tvs, known(source.recovery, source.callmanager))
    return (
        await place_of(nursery, files_of(source, MAC, tvs)),
        await place_of(
            nursery, files_of(destination, MAC) | {ITL_FILENAME: destination.itl()}, back
        ),
    )


# The whole of it


async def test_a_prepared_move_passes_every_check_that_can_pass(ready):
    found = await look(*ready)
    assert (found.verdict, found.exit_code) == ("will follow", 0)
    checks = {finding.check for finding in found.findings}
    spoken = {finding.check for finding in found.findings if finding.result != "pass"}
    assert spoken == {"anchor"}  # two clusters have no signer in common
    assert checks >= {
        "source.lists",
        "source.rollback",
        "destination.lists",
        "destination.digest",
        "destination.size",
        "destination.signer",
        "destination.time",
        "destination.nodes",
        "destination.rollback",
        "duplicates",
        "tvs.list",
        "tvs.reachable",
        "tvs.certificate",
        "signer.lists",
        "signer.files",
        "way-back",
        "move",
    }


async def test_a_move_without_an_exchange_names_the_import_that_mends_it(
    nursery, source, destination
):
    tvs = await serve_trust(nursery, source.tvs, known(destination.callmanager))
    back = await serve_trust(nursery, destination.tvs, known())
    found = await look(
        await place_of(nursery, files_of(source, MAC, tvs)),
        await place_of(nursery, files_of(destination, MAC), back),
    )
    assert (found.verdict, found.exit_code) == ("will not follow", 1)
    assert results(found, "move") == ["fail"]
    assert results(found, "signer.lists") == ["warn", "pass"]  # ITLRecovery, CallManager
    assert "CN=ITLRECOVERY_destination" in remedies(found, "move")
    assert "Phone-SAST-trust and CallManager-trust" in remedies(found, "move")
    assert results(found, "way-back") == ["warn", "warn"]
    assert "at the destination too" in remedies(found, "way-back")


async def test_the_wrong_role_is_told_from_no_knowledge(nursery, source, destination):
    tvs = await serve_trust(nursery, source.tvs, known(destination.recovery, type_="CAPF"))
    found = await look(
        await place_of(nursery, files_of(source, MAC, tvs)),
        await place_of(nursery, files_of(destination, MAC)),
    )
    assert found.exit_code == 1
    texts = [finding.text for finding in found.findings if finding.check == "signer.lists"]
    assert any("only as CAPF" in text for text in texts)
    assert results(found, "signer.files") == ["warn"]
    assert "upload CN=destination;O=Lab;C=AU to CallManager-trust on" in remedies(
        found, "signer.files"
    )
    assert results(found, "way-back") == ["could not tell"]  # no TVS of the destination was named


async def test_a_secure_move_is_judged_ctl_first(nursery, secure_source, secure_destination):
    tvs = await serve_trust(nursery, secure_source.tvs, known(secure_destination.recovery))
    found = await look(
        await place_of(nursery, files_of(secure_source, MAC, tvs)),
        await place_of(nursery, files_of(secure_destination, MAC)),
    )
    assert found.exit_code == 0
    steps = found.moves[0].steps
    assert [step.file for step in steps] == ["CTLFile.tlv", "ITLFile.tlv", CONFIGURATION]
    assert [len(step.inquiries) for step in steps] == [1, 0, 0]


# Servers


async def test_a_dead_tvs_and_a_strangers_are_told_apart(nursery, source, destination):
    stranger = await serve_trust(nursery, destination.tvs, known(destination.recovery))
    dead = TvsServer("127.0.0.1", 1)
    destination_place = await place_of(nursery, files_of(destination, MAC))
    found = await look(
        await place_of(nursery, files_of(source, MAC, dead, stranger)), destination_place
    )
    assert found.exit_code == 1
    assert results(found, "tvs.reachable") == ["warn", "pass"]
    assert results(found, "tvs.certificate") == ["warn"]
    assert "2445" in remedies(found, "tvs.reachable")
    assert any("this machine" in finding.text for finding in found.findings)


async def test_old_phones_need_tls_1_0(nursery, source, destination):
    cases = (("modern", "warn", [True, False]), ("legacy", "pass", [True, True]))
    for profile, result, follows in cases:
        tvs = await serve_trust(nursery, source.tvs, known(destination.recovery), profile=profile)
        found = await look(
            await place_of(nursery, files_of(source, MAC, tvs)),
            await place_of(nursery, files_of(destination, MAC)),
            models=["8861", "7945"],
        )
        assert results(found, "tvs.tls") == ["pass", result]
        assert [move.follows for move in found.moves] == follows


@pytest.mark.parametrize("side", ["source", "destination"])
async def test_a_silent_side_is_no_verdict(ready, side):
    with udp_socket() as bound:
        silent = Place(tftp=(("127.0.0.1", bound.getsockname()[1]),))
        places = (silent, ready[1]) if side == "source" else (ready[0], silent)
        found = await look(*places, timeout_seconds=0.2)
    assert (found.verdict, found.exit_code) == ("could not tell", 3)
    assert results(found, f"{side}.lists") == ["could not tell"]
    assert results(found, "move") == ["could not tell"]


async def test_every_node_of_the_destination_counts(nursery, source, make_cluster, destination):
    """The second node's own CallManager signs its ITL, and was forgotten."""
    second = make_cluster("second", 1)
    first = make_cluster("first", 3, peers=[second])
    tvs = await serve_trust(nursery, source.tvs, known(first.callmanager))
    home = await place_of(nursery, files_of(source, MAC, tvs))
    nodes = [
        await serve_files(nursery, files_of(node, MAC, itl=node.itl(signer=node.callmanager)))
        for node in (first, second)
    ]
    ports = tuple((node.host, node.tftp_port) for node in nodes)
    assert (await look(home, Place(tftp=ports[:1]))).exit_code == 0
    found = await look(home, Place(tftp=ports))
    assert found.exit_code == 1
    assert [move.follows for move in found.moves] == [True, False]


async def test_a_tvs_that_stops_answering_is_told(nursery, source, destination):
    tvs = await serve_trust(
        nursery, source.tvs, known(), reply_policy=lambda *_: Reply(b"", close=True)
    )
    found = await look(
        await place_of(nursery, files_of(source, MAC, tvs)),
        await place_of(nursery, files_of(destination, MAC)),
    )
    assert results(found, "tvs.answers") == ["warn"]
    assert found.exit_code == 1


async def test_phones_that_know_no_tvs_are_found(nursery, source, ready):
    nobody = await look(await place_of(nursery, files_of(source, MAC)), ready[1])
    assert results(nobody, "tvs.list") == ["warn"]
    assert nobody.exit_code == 1
    silent = {f"ITLSEP{MAC}.tlv": source.itl()}
    unknown = await look(await place_of(nursery, silent), ready[1])
    assert results(unknown, "tvs.list") == ["could not tell"]
    assert results(unknown, "signer.lists") == ["could not tell", "could not tell"]
    assert results(unknown, "signer.files") == ["could not tell"]
    assert results(unknown, "tvs.reachable") == ["could not tell"]
    assert unknown.exit_code == 3


async def test_a_node_that_was_not_looked_at_is_named(nursery, ready, destination):
    records = [
        (Role.SAST, destination.recovery, "dst1"),
        (Role.TFTP, destination.callmanager, "dst1"),
        (Role.TVS, destination.tvs, "dst1"),
        (Role.TVS, destination.capf, "dst2"),
    ]
    files = files_of(destination, MAC, itl=destination.itl(records=records))
    found = await look(ready[0], await place_of(nursery, files))
    assert results(found, "destination.nodes") == ["warn"]
    evidence = [one.evidence for one in found.findings if one.check == "destination.nodes"]
    assert evidence == [("dst1 (192.0.2.1)", "dst2 (192.0.2.1)")]


# Lists


async def test_lists_that_cannot_be_used_are_found(nursery, ready, destination):
    good = files_of(destination, MAC)
    itl = f"ITLSEP{MAC}.tlv"
    broken = destination.itl()[:-1] + b"\0"
    for files in (
        good | {itl: broken},
        good | {itl: broken[:300]},
        good | {itl: b"garbage"},
        good | {itl: destination.ctl()},
    ):
        found = await look(ready[0], await place_of(nursery, files))
        assert "fail" in results(found, "destination.lists")
        assert found.exit_code == 1
    found = await look(ready[0], await place_of(nursery, {}))
    assert results(found, "destination.lists") == ["warn"]
    assert found.exit_code == 1
    assert "nothing for a phone" in found.findings[-1].text


async def test_an_unreadable_list_of_the_source_is_no_leap_of_faith(nursery, ready, source):
    files = files_of(source, MAC) | {f"ITLSEP{MAC}.tlv": source.itl()[:500]}
    found = await look(await place_of(nursery, files), ready[1])
    assert results(found, "source.lists") == ["warn"]
    assert results(found, "move") == ["could not tell"]
    assert found.exit_code == 3


async def test_digest_size_signer_and_time_are_looked_at(nursery, ready, destination, make_signer):
    many = [(Role.SAST, destination.recovery), (Role.TFTP, destination.callmanager)]
    expired = make_signer("ITLRECOVERY_old", 2, not_after=LONG_AGO)
    large = self_signed(
        "ITLRECOVERY_large",
        rsa.generate_private_key(public_exponent=65537, key_size=4096),
        serial=9,
    )
    future = int(FAR_AWAY.timestamp())
    for options, check, result in (
        ({"digest": "sha512"}, "destination.digest", "fail"),
        ({"records": [*many, *[(Role.TVS, destination.tvs)] * 50]}, "destination.size", "fail"),
        ({"records": [*many, *[(Role.TVS, destination.tvs)] * 38]}, "destination.size", "fail"),
        ({"records": [*many, *[(Role.TVS, destination.tvs)] * 37]}, "destination.size", "pass"),
        ({"signer": expired}, "destination.signer", "warn"),
        ({"signer": large}, "destination.signer", "warn"),
        ({"records": many[1:]}, "destination.signer", "warn"),  # its certificate is not in it
        ({"timestamp": future}, "destination.time", "warn"),
    ):
        files = files_of(destination, MAC, itl=destination.itl(**options))
        found = await look(ready[0], await place_of(nursery, files), models=["7945", "8861"])
        assert results(found, check) == [result], (options.keys(), check)


async def test_the_rollback_parameter_and_its_two_meanings(
    nursery, source, secure_source, destination, secure_destination
):
    for home, away, result, code in (
        (source, destination, "warn", 0),
        (secure_source, secure_destination, "fail", 1),
    ):
        files = files_of(home, MAC, itl=home.rollback_itl())
        found = await look(
            await place_of(nursery, files), await place_of(nursery, files_of(away, MAC))
        )
        assert results(found, "source.rollback") == [result]
        assert found.exit_code == code


async def test_the_rollback_parameter_set_at_the_destination_is_found(nursery, ready, destination):
    files = files_of(destination, MAC, itl=destination.rollback_itl())
    found = await look(ready[0], await place_of(nursery, files))
    assert results(found, "destination.rollback") == ["warn"]


async def test_a_ctl_left_over_from_mixed_mode_is_found(nursery, ready, secure_source):
    ctl = secure_source.ctl(records=[(Role.SAST, secure_source.recovery), (Role.CCM_TFTP, None)])
    left_over = await place_of(nursery, files_of(secure_source, MAC, ctl=ctl))
    assert results(await look(left_over, ready[1]), "source.ctl") == ["warn"]
    assert results(await look(ready[0], left_over), "destination.ctl") == ["warn"]


async def test_a_twin_with_another_key_is_found(ready, destination, make_signer, tmp_path):
    serial = int.from_bytes(parse_trust_list(destination.itl()).header.signer_serial)
    twin = make_signer("ITLRECOVERY_destination", 5, serial=serial)
    (tmp_path / "old.der").write_bytes(twin.certificate)
    found = await look(ready[0], ready[1], bundles=(read_bundles([tmp_path], []), []))
    assert "warn" in results(found, "duplicates")
    assert any("old.der" in line for one in found.findings for line in one.evidence)


async def test_a_common_anchor_lets_phones_come_back(nursery, source, destination):
    itl = destination.itl(also=[source.recovery])
    home = files_of(source, MAC, itl=source.itl(also=[destination.recovery]))
    found = await look(
        await place_of(nursery, home), await place_of(nursery, files_of(destination, MAC, itl=itl))
    )
    assert results(found, "anchor") == ["pass"]
    assert found.exit_code == 0


async def test_a_strangers_configuration_afterwards_is_found(nursery, ready, source, destination):
    files = files_of(destination, MAC, signer=source.callmanager)
    found = await look(ready[0], await place_of(nursery, files))
    assert found.exit_code == 1
    assert f"{CONFIGURATION} is refused" in found.findings[-1].text


# Files instead of servers


async def test_files_say_what_they_can(nursery, tmp_path, source, destination):
    home, away, shared = tmp_path / "phone.tlv", tmp_path / "away.tlv", tmp_path / "shared"
    home.write_bytes(source.itl())
    away.write_bytes(destination.itl())
    shared.mkdir()
    places = Place(lists=(home,)), Place(lists=(away,))
    without = await look(*places)
    assert (without.verdict, without.exit_code) == ("could not tell", 3)
    empty = await look(*places, bundles=(read_bundles([shared], []), []))
    assert (results(empty, "source.bundles"), empty.exit_code) == (["warn"], 1)
    (shared / "recovery.der").write_bytes(destination.recovery.certificate)
    found = await look(*places, bundles=(read_bundles([shared], []), []))
    assert (results(found, "source.bundles"), found.exit_code) == (["pass"], 0)
    with pytest.raises(UsageError, match=r"one ITLFile\.tlv of one node"):
        await look(Place(lists=(home, away)), places[1])
    home.write_bytes(b"garbage")
    with pytest.raises(LabError, match="neither a trust list"):
        await look(*places)


@pytest.mark.parametrize("why", ["it is damaged", "nothing tells its type"])
async def test_bundles_that_an_import_would_refuse_bring_nothing(
    tmp_path, source, destination, why
):
    home, away, shared = tmp_path / "phone.tlv", tmp_path / "away.tlv", tmp_path / "shared"
    home.write_bytes(source.itl())
    away.write_bytes(destination.itl())
    shared.mkdir()
    (shared / "recovery.der").write_bytes(destination.recovery.certificate)
    other = destination.callmanager.certificate
    (shared / "more.p12").write_bytes(other[:64] if why == "it is damaged" else other)
    bundles = read_bundles([shared], [])
    found = await look(Place(lists=(home,)), Place(lists=(away,)), bundles=(bundles, []))
    assert results(found, "source.bundles") == ["warn"]
    assert found.exit_code == 1
    assert any("more.p12" in line for one in found.findings for line in one.evidence)


async def test_nothing_named_is_nothing_told():
    found = await look(Place(), Place())
    assert found.exit_code == 3
    for check in ("source.lists", "destination.lists", "tvs.reachable", "way-back", "move"):
        assert results(found, check) == ["could not tell"]


async def test_ports_of_ipv6_addresses_can_be_told_from_them(ready):
    silent = Place(tftp=(("::1", 1),), tvs=(TvsServer("::1", 1),))
    found = await look(silent, ready[1], timeout_seconds=0.1)
    told = [finding.text for finding in found.findings]
    assert any(text.startswith("tftp [::1]:1: ") for text in told)
    assert any(text.startswith("TVS [::1]:1 cannot be asked") for text in told)
    assert as_values(found)["tvs"] == ["[::1]:1"]


def test_places_are_written_with_commas():
    place = parse_place(
        "tftp=192.0.2.1,tftp=192.0.2.2:6969,tvs=cucm.example,list=a,state=b,bundles=c"
    )
    assert place.tftp == (("192.0.2.1", 69), ("192.0.2.2", 6969))
    assert place.tvs == (TvsServer("cucm.example", 2445),)
    assert [str(path) for path in (*place.lists, *place.states, *place.bundles)] == ["a", "b", "c"]
    for text in ("", "tftp", "tftp=", "sftp=x", "tftp=a b"):
        with pytest.raises(LabError):
            parse_place(text)


# The reports and the simulation


async def test_the_page_is_one_file_and_escapes_what_strangers_wrote(nursery, ready, source):
    evil = self_signed("<script>alert(1)</script>", source.recovery.private_key, serial=5)
    files = files_of(source, MAC, itl=source.itl(signer=evil))
    found = await look(await place_of(nursery, files), ready[1])
    page = as_html(found)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("https://", "http://").split("<body>")[0]
    assert all(finding.check in page for finding in found.findings)


async def test_the_values_hold_evidence_and_on_demand_the_octets(ready):
    found = await look(*ready)
    values = as_values(found, octets=True)
    assert values["verdict"] == "will follow"
    assert all("base64" in file for file in values["files"])
    assert "base64" not in as_values(found)["files"][0]
    asked = [check for check in values["checks"] if check["check"] == "signer.lists"]
    assert all(any("serial number" in line for line in check["evidence"]) for check in asked)


async def test_simulated_phones_make_the_move(nursery, ready, destination):
    found = await look(*ready)
    options = {"count": 20, "model": model("8861"), "mac": MAC, "timeout_seconds": SECONDS}
    moved = await simulate(found.source, ready[1].tftp[0], **options)
    assert (moved.followed, moved.load.tvs_asked) == (20, 20)
    empty = await serve_files(nursery, {})
    stayed = await simulate(found.source, (empty.host, empty.tftp_port), **options)
    assert stayed.followed == 0
    nothing = await look(Place(), ready[1])
    with pytest.raises(SimulationError):
        await simulate(nothing.source, ready[1].tftp[0], **options)
