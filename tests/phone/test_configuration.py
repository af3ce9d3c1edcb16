"""What a phone takes from a configuration file, real ones included."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.phone.configuration import ConfigurationError, TvsServer, parse_configuration

MEMBER = '<member priority="{}"><port>{}</port><address>{}</address></member>'


def tvs(*members) -> bytes:
    inner = "".join(MEMBER.format(*member) for member in members)
    return f"<device><TVS><members>{inner}</members></TVS></device>".encode()


def test_tvs_servers_come_in_the_order_of_their_priority():
    data = tvs((2, 2445, "c"), (0, 2446, "a"), (1, "", "b"))
    assert parse_configuration(data).tvs == (
        TvsServer("a", 2446),
        TvsServer("b", 2445),
        TvsServer("c", 2445),
    )


def test_no_more_than_five_are_kept_and_none_without_address_or_port():
    members = [(number, 2445, f"h{number}") for number in range(9)]
    assert len(parse_configuration(tvs(*members)).tvs) == 5
    bad = [(0, 0, "a"), (1, 70000, "b"), (2, 2445, ""), (3, 2445, "x" * 200)]
    assert parse_configuration(tvs(*bad)).tvs == ()


def test_files_to_fetch_next_are_found_where_phones_look():
    data = b"""<device><loadInformation>sip88xx.14-0-1</loadInformation>
        <sipProfile><dialTemplate>dialplan.xml</dialTemplate></sipProfile>
        <networkLocaleInfo><name>New_Zealand</name></networkLocaleInfo>
        <softKeyFile>SK1.xml</softKeyFile><featurePolicyFile>FP1.xml</featurePolicyFile>
        <other><loadInformation>not.this</loadInformation></other></device>"""
    found = parse_configuration(data)
    assert found.load == "sip88xx.14-0-1.loads"
    assert found.files == ("dialplan.xml", "New_Zealand/g3-tones.xml", "SK1.xml", "FP1.xml")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<device>",
        b"\xff\xfe\x00",
        b'<?xml version="1.0" encoding="gb2312"?><device/>',
        b'<?xml version="1.0" encoding="no-such"?><device/>',
        b'<!DOCTYPE d [<!ENTITY a "aaaa">]><device>&a;</device>',
        b'<!DOCTYPE d SYSTEM "file:///etc/passwd"><device/>',
    ],
)
def test_what_is_no_configuration_is_refused(data):
    with pytest.raises(ConfigurationError):
        parse_configuration(data)


@given(st.binary(max_size=300))
def test_octets_raise_nothing_else(data):
    with suppress(ConfigurationError):
        parse_configuration(b"<device>" + data + b"</device>")


@pytest.mark.parametrize(
    ("name", "load", "files"),
    [
        ("8841.SEPMAC.cnf.xml", "sip88xx.14-0-1-0101-145.loads", "dialplan.xml"),
        ("7942-freepbx.SEPMAC.cnf.xml", None, None),
    ],
)
def test_configurations_people_publish_are_read(real_files, name, load, files):
    found = parse_configuration((real_files / "xml" / name).read_bytes())
    assert load is None or found.load == load
    assert files is None or files in found.files
