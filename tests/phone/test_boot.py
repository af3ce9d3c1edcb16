"""The phone boots: real TFTP, real TLS, servers that behave and servers that do not."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

import msgspec
import pytest

from itl.trustlist import CTL_FILENAME, ITL_FILENAME
from lab.phone.boot import BootVerdict, boot
from lab.phone.configuration import TvsServer
from lab.phone.fetch import FileServer, Transfer
from lab.phone.models import model
from lab.phone.state import Phone, factory_reset, load_phone, save_phone
from tests.phone.clusters import NOW, signed
from tests.phone.servers import (
    SECONDS,
    configuration,
    files_of,
    known,
    nothing,
    serve_files,
    serve_trust,
    udp_socket,
)
from tftp.content import NOT_FOUND, ErrorReply, Octets
from tftp.packets import ErrorCode
from tftp.server import serve_tftp
from tvs.answers import AnswerPolicy
from tvs.client import query
from tvs.messages import Command, Response, encode_response
from tvs.server import Reply

MAC = "00005E005301"
CONFIGURATION = f"SEP{MAC}.cnf.xml.sgn"


def new_phone(name="8861") -> Phone:
    return Phone(MAC, model(name))


async def boot_at(nursery, phone, files, **options):
    server = await serve_files(nursery, files)
    return await boot(phone, server, tvs_seconds=options.pop("tvs_seconds", SECONDS), **options)


def texts(run) -> list[str]:
    return [line.text for line in run.messages if line.text]


async def at_home(nursery, cluster, *servers, **options) -> Phone:
    """A phone that booted from ``cluster``, whose TVS are ``servers``."""
    phone = new_phone()
    run = await boot_at(nursery, phone, files_of(cluster, MAC, *servers, **options))
    assert run.verdict is BootVerdict.UPDATED
    return phone


# A phone at home


async def test_a_new_phone_asks_in_the_order_of_phones_and_installs_what_it_gets(nursery, source):
    phone = new_phone()
    more = (
        "<loadInformation>sip88xx.14-0-1</loadInformation>"
        "<sipProfile><dialTemplate>dialplan.xml</dialTemplate></sipProfile>"
        "<softKeyFile>SK01.xml</softKeyFile>"
    )
    data = configuration(TvsServer("192.0.2.1", 2445), more=more)
    files = {
        f"ITLSEP{MAC}.tlv": source.itl(),
        CONFIGURATION: signed(CONFIGURATION, source.callmanager, data),
        "SK01.xml.sgn": signed("SK01.xml.sgn", source.callmanager, b"<softkeys/>"),
    }
    run = await boot_at(nursery, phone, files)
    assert [asked.name for asked in run.requests] == [
        f"CTLSEP{MAC}.tlv",
        f"ITLSEP{MAC}.tlv",
        f"ext_ITLSEP{MAC}.tlv",
        CONFIGURATION,
        "sip88xx.14-0-1.loads",
        "dialplan.xml.sgn",
        "SK01.xml.sgn",
    ]
    assert run.verdict is BootVerdict.UPDATED
    assert set(run.installed) == {ITL_FILENAME, CONFIGURATION, "SK01.xml.sgn"}
    assert (phone.itl, phone.configuration) == (source.itl(), data)
    assert texts(run) == ["Trust List updated"]
    assert run.verdict.exit_code == 0


async def test_the_general_names_come_after_the_phones_own(nursery, source):
    name = "XMLDefault.cnf.xml.sgn"
    files = {ITL_FILENAME: source.itl(), name: signed(name, source.callmanager)}
    run = await boot_at(nursery, new_phone("7945"), files)
    assert [asked.name for asked in run.requests] == [
        f"CTLSEP{MAC}.tlv",
        f"ITLSEP{MAC}.tlv",
        ITL_FILENAME,
        CONFIGURATION,
        name,
    ]
    assert set(run.installed) == {ITL_FILENAME, name}


async def test_the_bare_ctl_is_asked_for_by_option_only(nursery, secure_source):
    files = files_of(secure_source, MAC)
    files[CTL_FILENAME] = files.pop(f"CTLSEP{MAC}.tlv")
    without = await boot_at(nursery, new_phone(), files)
    assert CTL_FILENAME not in without.installed
    with_option = await boot_at(nursery, new_phone(), files, bare_ctl=True)
    assert CTL_FILENAME in with_option.installed


async def test_without_lists_the_configuration_is_taken_unsigned(nursery):
    run = await boot_at(nursery, new_phone(), {f"SEP{MAC}.cnf.xml": configuration()})
    assert run.verdict is BootVerdict.NO_LIST
    assert texts(run) == ["No Trust List installed"]
    assert f"SEP{MAC}.cnf.xml" in run.installed


async def test_the_same_lists_again_change_nothing(nursery, secure_source):
    phone = await at_home(nursery, secure_source)
    run = await boot_at(nursery, phone, files_of(secure_source, MAC))
    assert run.verdict is BootVerdict.UNCHANGED
    assert ITL_FILENAME not in run.installed


async def test_a_server_without_files_is_no_verdict_on_trust(nursery, source):
    phone = await at_home(nursery, source)
    run = await boot_at(nursery, phone, {})
    assert run.verdict is BootVerdict.NOTHING_SERVED
    assert run.verdict.exit_code == 3
    assert f"File Not Found <{CONFIGURATION}>" in texts(run)
    assert phone.itl == source.itl()


async def test_a_silent_server_leaves_everything_as_it_was(nursery, source):
    phone = await at_home(nursery, source)
    with udp_socket() as silent:
        server = FileServer("127.0.0.1", silent.getsockname()[1], None, 0.2)
        run = await boot(phone, server)
    assert run.verdict is BootVerdict.UNREACHABLE
    assert run.verdict.exit_code == 3
    assert [asked.transfer for asked in run.requests] == [Transfer.NO_ANSWER]
    assert texts(run) == [f"TFTP timeout <CTLSEP{MAC}.tlv>"]
    assert phone.itl == source.itl()


# Both migrations


async def test_refused_before_the_exchange_and_followed_after_it(nursery, source, destination):
    ignorant = await serve_trust(nursery, source.tvs, known(source.recovery))
    knowing = await serve_trust(nursery, source.tvs, known(destination.recovery))
    phone = await at_home(nursery, source, ignorant)
    moved = files_of(destination, MAC)
    run = await boot_at(nursery, phone, moved)
    assert run.verdict is BootVerdict.REFUSED
    assert run.verdict.exit_code == 1
    assert texts(run) == ["Trust List update failed"]
    assert run.inquiries[0].answer.status == 1
    assert run.installed == {}
    assert phone.itl == source.itl()

    phone = await at_home(nursery, source, knowing)
    run = await boot_at(nursery, phone, moved)
    assert run.verdict is BootVerdict.UPDATED
    assert set(run.installed) == {ITL_FILENAME, CONFIGURATION}
    assert phone.itl == destination.itl()
    report = run.report()["tvs"][0]
    assert (report["outcome"], report["status"], report["ttl"]) == ("trusted", 0, 86400)


@pytest.mark.parametrize("signer", ["recovery", "callmanager"])
@pytest.mark.parametrize("digest", ["sha1", "sha512"])
async def test_the_secure_move_asks_tvs_once(
    nursery, secure_source, secure_destination, signer, digest
):
    holder = getattr(secure_destination, signer)
    tvs = await serve_trust(nursery, secure_source.tvs, known(holder))
    phone = await at_home(nursery, secure_source, tvs)
    moved = files_of(
        secure_destination,
        MAC,
        ctl=secure_destination.ctl(signer=holder, digest=digest),
        itl=secure_destination.itl(signer=holder, digest=digest),
    )
    run = await boot_at(nursery, phone, moved)
    assert run.verdict is BootVerdict.UPDATED
    assert {CTL_FILENAME, ITL_FILENAME, CONFIGURATION} <= set(run.installed)
    assert len(run.inquiries) == 1
    assert "signer in the lists held" in run.installed[ITL_FILENAME].why


async def test_a_sha1_phone_stays_behind_when_the_destination_signs_with_sha512(
    nursery, source, destination
):
    tvs = await serve_trust(nursery, source.tvs, known(destination.recovery))
    moved = files_of(destination, MAC, itl=destination.itl(digest="sha512"))
    for name, verdict in (("7945", BootVerdict.REFUSED), ("8861", BootVerdict.UPDATED)):
        phone = await at_home(nursery, source, tvs)
        phone.model = replace(model(name), tls_profile="modern")
        run = await boot_at(nursery, phone, moved)
        assert run.verdict is verdict


async def test_rolled_back_a_phone_takes_any_list_and_a_ctl_prevents_it(
    nursery, source, destination, secure_source, secure_destination
):
    phone = await at_home(nursery, source, itl=source.itl())
    emptied = {f"ITLSEP{MAC}.tlv": source.rollback_itl(), f"SEP{MAC}.cnf.xml": configuration()}
    run = await boot_at(nursery, phone, emptied)
    assert f"SEP{MAC}.cnf.xml" in run.installed
    run = await boot_at(nursery, phone, files_of(destination, MAC))
    assert run.verdict is BootVerdict.UPDATED

    phone = await at_home(nursery, secure_source)
    files = files_of(secure_source, MAC, itl=secure_source.rollback_itl())
    assert (await boot_at(nursery, phone, files)).verdict is BootVerdict.UPDATED
    run = await boot_at(nursery, phone, files_of(secure_destination, MAC))
    assert run.verdict is BootVerdict.REFUSED
    assert "names no TVS" in run.messages[-1].why


async def test_a_factory_reset_and_a_deleted_itl_make_a_new_phone(
    nursery, source, destination, tmp_path
):
    phone = await at_home(nursery, source)
    for forget in (
        lambda: factory_reset(tmp_path),
        (tmp_path / ITL_FILENAME).unlink,
    ):
        save_phone(tmp_path, phone)
        kept = load_phone(tmp_path)
        assert (kept.itl, kept.configuration) == (phone.itl, phone.configuration)
        refused = await boot_at(nursery, kept, files_of(destination, MAC))
        assert refused.verdict is BootVerdict.REFUSED
        forget()
        run = await boot_at(nursery, load_phone(tmp_path), files_of(destination, MAC))
        assert run.verdict is BootVerdict.UPDATED
        assert "without proof" in run.messages[0].why


# Files that are not to be believed


async def test_a_strangers_configuration_is_refused_and_the_old_one_stays(
    nursery, source, destination
):
    ignorant = await serve_trust(nursery, source.tvs, known())
    phone = await at_home(nursery, source, ignorant)
    before = phone.configuration
    run = await boot_at(nursery, phone, files_of(source, MAC, signer=destination.callmanager))
    assert run.verdict is BootVerdict.REFUSED
    assert texts(run) == [f"File auth error <{CONFIGURATION}>"]
    assert phone.configuration == before


async def test_a_configuration_of_another_name_is_refused(nursery, source):
    files = files_of(source, MAC)
    files[CONFIGURATION] = signed("SEP00005E005302.cnf.xml.sgn", source.callmanager)
    run = await boot_at(nursery, new_phone(), files)
    assert run.verdict is BootVerdict.REFUSED
    assert set(run.installed) == {ITL_FILENAME}


@pytest.mark.parametrize("cut", [1, 100, 1000])
async def test_a_truncated_list_is_refused(nursery, source, cut):
    phone = await at_home(nursery, source)
    files = files_of(source, MAC, itl=source.itl(timestamp=1_800_000_000)[:-cut])
    run = await boot_at(nursery, phone, files)
    assert run.verdict is BootVerdict.REFUSED
    assert phone.itl == source.itl()


async def test_another_error_than_not_found_is_shown_and_passed_over(nursery, source):
    """Some servers say "access violation" for a file they do not have."""
    files = files_of(source, MAC)

    def find(name: str, _: str):
        if name.startswith("CTL"):
            return ErrorReply(ErrorCode.ACCESS_VIOLATION, "no")
        return Octets(files[name], key=name) if name in files else NOT_FOUND

    bound = udp_socket()
    server = FileServer("127.0.0.1", bound.getsockname()[1], None, SECONDS)
    await nursery.start(partial(serve_tftp, [bound], find=find, report=nothing))
    run = await boot(new_phone(), server)
    assert run.verdict is BootVerdict.UPDATED
    assert texts(run) == [f"TFTP error <CTLSEP{MAC}.tlv>", "Trust List updated"]


async def test_a_blank_ctl_silences_nothing_but_itself(nursery, source):
    files = files_of(source, MAC) | {f"CTLSEP{MAC}.tlv": b" "}
    run = await boot_at(nursery, new_phone(), files)
    assert run.verdict is BootVerdict.UPDATED
    assert run.phone.ctl is None


async def test_a_verified_configuration_that_is_no_xml_is_not_installed(nursery, source):
    files = files_of(source, MAC)
    files[CONFIGURATION] = signed(CONFIGURATION, source.callmanager, b"<device>")
    run = await boot_at(nursery, new_phone(), files)
    assert run.verdict is BootVerdict.UPDATED
    assert run.phone.configuration is None


# TVS servers that misbehave


def replying(**change):
    """A policy that changes fields of every answer."""

    def policy(request, octets):
        response = Response(
            Command.QUERY_RESPONSE, request.session, 0, change.get("certificate"), (0, 3), 86400
        )
        return Reply(encode_response(msgspec.structs.replace(response, **change)))

    return policy


@pytest.mark.parametrize(
    "case",
    ["roles", "session", "command", "certificate", "none", "twin", "garbage", "silence", "ended"],
)
async def test_a_yes_that_does_not_fit_moves_no_phone(
    nursery, source, destination, make_signer, case
):
    right = destination.recovery.certificate
    policies = {
        "roles": replying(certificate=right, roles=(3, 4, 21)),
        "session": replying(certificate=right, session=b"\0\0\x09\x09"),
        "command": replying(certificate=right, command=2),
        "certificate": replying(certificate=destination.callmanager.certificate),
        "none": replying(certificate=None),
        "twin": replying(certificate=make_signer("ITLRECOVERY_destination", 5).certificate),
        "garbage": lambda *_: Reply(b"HTTP/1.1 200 OK\r\n\r\n", close=True),
        "silence": lambda *_: Reply(b"", delay_seconds=30),
        "ended": lambda *_: Reply(b"", close=True),
    }
    tvs = await serve_trust(nursery, source.tvs, known(), reply_policy=policies[case])
    phone = await at_home(nursery, source, tvs)
    run = await boot_at(nursery, phone, files_of(destination, MAC), tvs_seconds=0.5)
    assert run.verdict is BootVerdict.REFUSED
    assert texts(run) == ["Trust List update failed"]
    assert phone.itl == source.itl()


async def test_a_tvs_with_another_certificate_is_not_even_asked(nursery, source, destination):
    events = []
    impostor = await serve_trust(
        nursery, destination.tvs, known(destination.recovery), report=events.append
    )
    phone = await at_home(nursery, source, impostor)
    run = await boot_at(nursery, phone, files_of(destination, MAC))
    assert run.verdict is BootVerdict.REFUSED
    assert run.inquiries[0].outcome == "stranger"
    assert not [event for event in events if event["event"] == "tvs.answer"]


async def test_the_next_server_is_asked_when_one_gives_no_answer(nursery, source, destination):
    dead = TvsServer("127.0.0.1", 1)
    nameless = TvsServer("tvs..example", 2445)
    impostor = await serve_trust(nursery, destination.tvs, known(destination.recovery))
    good = await serve_trust(nursery, source.tvs, known(destination.recovery))
    never = TvsServer("127.0.0.1", 2)
    phone = await at_home(nursery, source, dead, nameless, impostor, good, never)
    run = await boot_at(nursery, phone, files_of(destination, MAC))
    assert run.verdict is BootVerdict.UPDATED
    outcomes = [one.outcome for one in run.inquiries]
    assert outcomes == ["no answer", "no answer", "stranger", "trusted"]


async def test_a_no_is_an_answer_and_the_next_server_is_not_asked(nursery, source, destination):
    ignorant = await serve_trust(nursery, source.tvs, known())
    knowing = await serve_trust(nursery, source.tvs, known(destination.recovery))
    phone = await at_home(nursery, source, ignorant, knowing)
    run = await boot_at(nursery, phone, files_of(destination, MAC))
    assert run.verdict is BootVerdict.REFUSED
    assert len(run.inquiries) == 1


async def test_a_configuration_without_tvs_asks_nobody(nursery, source, destination):
    phone = await at_home(nursery, source)
    run = await boot_at(nursery, phone, files_of(destination, MAC))
    assert run.verdict is BootVerdict.REFUSED
    assert run.inquiries == []
    assert "no TVS server" in run.messages[-1].why


async def test_a_cached_answer_serves_until_it_expires(nursery, source, destination, tmp_path):
    """The source's own list signed anew by a vouched stranger: TVS is asked for the first only."""
    tvs = await serve_trust(
        nursery, source.tvs, known(destination.recovery), policy=AnswerPolicy(ttl_seconds=3600)
    )
    phone = await at_home(nursery, source, tvs)
    old = phone.itl
    first = source.itl(signer=destination.recovery)
    assert (await boot_at(nursery, phone, files_of(source, MAC, tvs, itl=first))).inquiries
    phone.itl = old
    save_phone(tmp_path, phone)
    phone = load_phone(tmp_path)
    run = await boot_at(nursery, phone, files_of(source, MAC, tvs, itl=first))
    assert run.verdict is BootVerdict.UPDATED
    assert [one.server for one in run.inquiries] == ["cache"]


async def test_a_cached_answer_that_is_used_does_not_live_longer(nursery, source, destination):
    tvs = await serve_trust(
        nursery, source.tvs, known(destination.recovery), policy=AnswerPolicy(ttl_seconds=3600)
    )
    phone = await at_home(nursery, source, tvs)
    old, files = phone.itl, files_of(source, MAC, tvs, itl=source.itl(signer=destination.recovery))
    asked = []
    for minutes in (0, 50, 70):
        phone.itl = old
        run = await boot_at(nursery, phone, files, now=lambda: NOW + timedelta(minutes=minutes))  # noqa: B023
        asked += [one.server for one in run.inquiries]
    assert asked == [tvs.where, "cache", tvs.where]


async def test_an_old_phone_cannot_ask_a_modern_tvs(nursery, source, destination):
    """A 7945 speaks TLS 1.0 only; the TVS has to be in its legacy profile."""
    outcomes = {}
    for profile in ("modern", "legacy"):
        tvs = await serve_trust(nursery, source.tvs, known(destination.recovery), profile=profile)
        phone = await at_home(nursery, source, tvs)
        phone.model = model("7945")
        run = await boot_at(nursery, phone, files_of(destination, MAC))
        outcomes[profile] = run.verdict
    assert outcomes == {"modern": BootVerdict.REFUSED, "legacy": BootVerdict.UPDATED}


async def test_a_name_without_attributes_is_answered_too(nursery, source):
    tvs = await serve_trust(nursery, source.tvs, known(source.recovery))
    reply = await query(tvs.address, tvs.port, subject="x", issuer="y", serial=b"\1")
    assert reply.status == 1
