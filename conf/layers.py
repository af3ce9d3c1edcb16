"""Settings in layers: defaults, the node's file, the environment, the command line.

What is read here is not checked yet; for each value it is known where it came from.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

from conf import ConfError
from conf.files import read_regular

SETTINGS_FILE = "trustlab.toml"
ENVIRONMENT_PREFIX = "TRUSTLAB_SET_"

Table: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, ...]
Origins: TypeAlias = dict[str, str]
_HEADER = re.compile(r"\s*\[\[?([^\]]+)\]")
_NAME = r"(?:[\w-]+|\"[^\"]*\"|'[^']*')"
_GIVEN = re.compile(rf"\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*=")


class SettingsError(ConfError):
    """A setting that cannot be used: where it was given, its key, and what is wrong with it."""

    def __init__(self, origin: str, key: str, problem: str) -> None:
        super().__init__(f"{origin}: {key}: {problem}" if key else f"{origin}: {problem}")
        self.origin = origin
        self.key = key
        self.problem = problem


def default_text() -> str:
    """The annotated defaults, as shipped."""
    return resources.files("conf").joinpath("default.toml").read_text(encoding="utf-8")


def merge(
    state: Path, overrides: Mapping[str, object], environment: Mapping[str, str]
) -> tuple[Table, Origins]:
    """Lay the four layers over each other; answers the tables and where each key came from.

    Raises :class:`SettingsError` for what cannot be read.
    """
    merged: Table = {}
    origins: Origins = {}
    for key, value in values(tomllib.loads(default_text())):
        _set(merged, origins, key, value, "the defaults")
    path = state / SETTINGS_FILE
    text = _read(path)
    lines = _lines(text)
    for key, value in values(_parsed(text, str(path))):
        _set(merged, origins, key, value, _place(path, dotted(key), lines))
    for variable, raw in sorted(environment.items()):
        if variable.startswith(ENVIRONMENT_PREFIX):
            origin = f"environment variable {variable}"
            key = _spelling(merged, variable.removeprefix(ENVIRONMENT_PREFIX).split("__"))
            value = _toml_value(raw, origin)
            inner = values(value) if isinstance(value, dict) and value else [((), value)]
            for more, part in inner:
                _set(merged, origins, (*key, *more), part, origin)
    for name, chosen in overrides.items():
        if chosen is not None:
            _set(merged, origins, tuple(name.split(".")), chosen, "the command line")
    return merged, origins


def origin_of(key: str, origins: Origins) -> str:
    """Where ``key`` was given: itself, or what it is a part of, or the last of its parts."""
    whole = key
    while whole:
        if whole in origins:
            return origins[whole]
        parts = [origin for name, origin in origins.items() if name.startswith(f"{whole}.")]
        if parts:
            return parts[-1]
        whole = whole.rpartition(".")[0]
    return "the settings"


def _read(path: Path) -> str:
    try:
        return read_regular(path).decode("utf-8-sig")  # editors of Windows begin with a BOM
    except FileNotFoundError:
        raise SettingsError(
            str(path), "", f"no such file; `trustlab --state {path.parent} init` makes a node"
        ) from None
    except OSError as error:
        raise SettingsError(str(path), "", str(error.strerror)) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{path}, line {line}", "", "this is not UTF-8") from None


def _parsed(text: str, origin: str) -> Table:
    try:
        return tomllib.loads(text)
    except ValueError as error:  # and an integer of thousands of digits
        raise SettingsError(origin, "", str(error)) from None
    except RecursionError:
        raise SettingsError(origin, "", "too many brackets within each other") from None


def _toml_value(text: str, origin: str) -> object:
    """A value as TOML, or else plain text."""
    if not text.isprintable():  # octets that are no UTF-8 too
        raise SettingsError(origin, "", "holds what is no printable text")
    try:
        return _parsed(f"value = {text}", origin)["value"]
    except SettingsError as error:
        if isinstance(error.__context__, RecursionError):
            raise
        return text


def values(table: Table, within: Key = ()) -> Iterator[tuple[Key, object]]:
    """Every value of a table and of those in it; an empty table is a value."""
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from values(value, (*within, name))
        else:
            yield (*within, name), value


def dotted(key: Key) -> str:
    """A key as it is written in a message."""
    return ".".join(key)


def _set(merged: Table, origins: Origins, key: Key, value: object, origin: str) -> None:
    """Put a value in its place; what was in its way is gone, and known no more."""
    *sections, name = key
    table = merged
    for depth, section in enumerate(sections, 1):
        if not isinstance(table.get(section), dict):
            table[section] = {}
        origins.pop(dotted(key[:depth]), None)  # of an empty table, or of what was in its place
        table = table[section]
    if isinstance(table.get(name), dict):
        if value == {}:
            return
        for inner in [one for one in origins if one.startswith(f"{dotted(key)}.")]:
            del origins[inner]
    table[name] = value
    origins[dotted(key)] = origin


def _spelling(table: Table, names: list[str]) -> Key:
    """A variable's name as the key it means: case counts for neither the shell nor us."""
    found = []
    inner: object = table
    for name in names:
        known = inner if isinstance(inner, dict) else {}
        spelled = next((one for one in known if one.lower() == name.lower()), name.lower())
        found.append(spelled)
        inner = known.get(spelled)
    return tuple(found)


def _lines(text: str) -> dict[str, int]:
    """The line on which each key is given; good enough for a message."""
    found: dict[str, int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        header, given = _HEADER.match(line), _GIVEN.match(line)
        if header:
            section = _plain(header[1])
            found.setdefault(section, number)
        elif given:
            key = _plain(given[1])
            found.setdefault(f"{section}.{key}" if section else key, number)
    return found


def _plain(key: str) -> str:
    """A dotted key without quotes and blanks."""
    return ".".join(part.strip(" \t\"'") for part in key.split("."))


def _place(path: Path, key: str, lines: Mapping[str, int]) -> str:
    """File and line of ``key``, or of the nearest table around it that is found."""
    while key and key not in lines:
        key = key.rpartition(".")[0]
    return f"{path}, line {lines[key]}" if key else str(path)
