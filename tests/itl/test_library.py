"""``import itl`` is enough for most programs, and light for those that need little."""

import subprocess
import sys

import pytest

import itl


def test_reading_a_list_through_the_package(forge):
    trust_list = itl.parse_trust_list(forge.list())
    verification = itl.verify(trust_list)
    assert verification.verdict is itl.Verdict.VALID
    assert [itl.role_name(record.role) for record in trust_list.records] == ["SAST", "TFTP", "TVS"]
    assert itl.show_text(trust_list).startswith("The checksum value of the ITL file:")


def test_every_name_of_the_package_is_there():
    for name in itl.__all__:
        assert getattr(itl, name).__module__.startswith("itl")
    with pytest.raises(AttributeError, match="no attribute 'parse_trustlist'"):
        _ = itl.parse_trustlist


def test_the_package_alone_loads_neither_construct_nor_cryptography():
    script = "import sys, itl; print(sorted({'construct', 'cryptography'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
