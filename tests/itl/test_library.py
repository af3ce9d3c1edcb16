"""``import itl`` is enough for most programs, and light for those that need little."""

import subprocess
import sys
from pathlib import Path

import pytest

import itl

README = Path(__file__).parents[2] / "README.md"


def test_reading_a_list_through_the_package(forge):
    trust_list = itl.parse_trust_list(forge.list())
    verification = itl.verify(trust_list)
    assert verification.verdict is itl.Verdict.VALID
    assert [itl.role_name(record.role) for record in trust_list.records] == ["SAST", "TFTP", "TVS"]
    assert itl.show_text(trust_list).startswith("The checksum value of the ITL file:")


def test_the_page_on_reading_a_phones_itl_runs(forge, tmp_path):
    (tmp_path / "ITLSEP001122334455.tlv").write_bytes(forge.list())
    script = README.read_text().partition("```python\n")[2].partition("```")[0]
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    name = "CN=cucm.lab;OU=Voice;O=Lab;L=City;ST=State;C=US"
    assert ran.stdout.splitlines() == [
        f"valid {name} ['weak-digest']",
        f"SAST {name} 24491f10703fea9b",
        f"TFTP {name} 24491f10703fea9b",
        "TVS CN=tvs.lab;O=Lab 8210",
    ]


def test_every_name_of_the_package_is_there():
    for name in itl.__all__:
        assert getattr(itl, name).__module__ == f"itl.{itl._HOMES.get(name, 'errors')}"
    with pytest.raises(AttributeError, match="no attribute 'parse_trustlist'"):
        _ = itl.parse_trustlist


def test_the_package_alone_loads_neither_construct_nor_cryptography():
    script = "import sys, itl; print(sorted({'construct', 'cryptography'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
