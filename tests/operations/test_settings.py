"""Every setting is documented, has one reader of its type, and contradicts no other unnoticed."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from conf.settings import Section, Settings, SettingsError, default_text, load_settings

NODE = '[node]\ncluster = "a"\nhost = "pub"\naddress = "127.0.0.1"\n'
# Tables whose keys are names of the reader's own: certificate types, devices.
FREE = {"tvs.answers.roles", "tvs.answers.devices", "bundles.stores"}


def keys(section: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, object]]:
    for field in msgspec.structs.fields(section):
        key = f"{prefix}{field.encode_name}"
        if isinstance(field.type, type) and issubclass(field.type, Section):
            yield from keys(field.type, f"{key}.")
        else:
            yield key, field.type


def documented() -> dict[str, str]:
    """Each key of the annotated defaults, and what is written above it in its paragraph."""
    found, section, words = {}, "", ""
    for line in default_text().splitlines():
        header = re.fullmatch(r"\[([a-z_.]+)\]", line)
        given = re.match(r"([A-Za-z_-]+) = ", line)
        if header:
            section, words = header[1], ""
            found[section] = ""
        elif line.startswith("#"):
            words += line[1:]
            if found.get(section) == "":
                found[section] = words
        elif given:
            found[f"{section}.{given[1]}"] = words
        elif not line:
            words = ""
    return found


def test_every_setting_is_in_the_defaults_and_explained() -> None:
    words = documented()
    for key, _ in keys(Settings):
        assert len(words.get(key, "")) > 15, f"{key} is not explained"


def test_a_number_has_its_unit_in_its_name_or_its_words() -> None:
    units = (
        r"second|minute|octet|port|in all|connections|handshakes|processes|lines|"
        r"files|transfers|blocks|block number"
    )
    words = documented()
    for key, kind in keys(Settings):
        if re.search(r"\b(int|float)\b", str(kind)) or kind in {int, float}:
            assert re.search(units, key + words[key].lower()), key


def test_the_defaults_hold_no_key_that_nobody_reads() -> None:
    known = {key for key, _ in keys(Settings)}

    def walk(table: dict[str, object], prefix: str) -> Iterator[str]:
        for name, value in table.items():
            key = f"{prefix}{name}"
            if isinstance(value, dict) and key not in known | FREE:
                yield from walk(value, f"{key}.")
            else:
                yield key

    assert set(walk(tomllib.loads(default_text()), "")) <= known | FREE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tvs]\nlegacy_port = 2445\n", r"line 6: tvs\.legacy_port: 2445 is tvs\.port already"),
        (
            "[metrics]\nenabled = true\nport = 2445\n",
            r"line 7: metrics\.port: 2445 is tvs\.port already",
        ),
        ("[http]\nenabled = true\nport = 2445\n", r"line 7: http\.port: 2445 is tvs\.port already"),
        ("[tftp]\nserve_uploads = true\n", r"line 6: tftp\.serve_uploads: there are no uploads"),
        (
            '[phones.loads]\n001122334455 = "sip88xx.12-8-1"\n',
            r"phones\.loads: 001122334455 gets no configuration",
        ),
    ],
)
def test_contradictions_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "trustlab.toml").write_text(NODE + text)
    with pytest.raises(SettingsError, match=message):
        load_settings(tmp_path, environment={})


def test_ports_the_kernel_chooses_never_meet(tmp_path: Path) -> None:
    (tmp_path / "trustlab.toml").write_text(NODE)
    zero = {"tvs.port": 0, "tvs.legacy_port": 0, "http.port": 0, "http.enabled": True}
    assert load_settings(tmp_path, zero, environment={}).http.port == 0
