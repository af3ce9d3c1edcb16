"""Typed settings, layered: defaults, the node's file, the environment, the command line."""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from conf import ConfError
from conf.contradictions import contradictions

SETTINGS_FILE = "trustlab.toml"
ENVIRONMENT_PREFIX = "TRUSTLAB_SET_"

Table: TypeAlias = dict[str, Any]
Port: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Ttl: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]
RoleName: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9+-]+$")]
Mac: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[0-9A-Fa-f]{12}$")]


class SettingsError(ConfError):
    """A setting that cannot be used: where it was given, its key, and what is wrong with it."""

    def __init__(self, origin: str, key: str, problem: str) -> None:
        super().__init__(f"{origin}: {key}: {problem}" if key else f"{origin}: {problem}")
        self.origin = origin
        self.key = key
        self.problem = problem


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the settings file; an unknown key in it is an error."""


class NodeSettings(Section, frozen=True):
    """Who this node is."""

    cluster: str
    host: str
    address: str
    secure: bool
    list_signer: Literal["ITLRecovery", "CallManager"]


class ServeSettings(Section, frozen=True):
    """How the daemon runs."""

    address: str
    drain_seconds: Annotated[float, msgspec.Meta(ge=0, le=2.5)]
    watch_seconds: Seconds


class EventSettings(Section, frozen=True):
    """How much of the event log is kept."""

    max_bytes: Count
    kept_files: Count


class LogSettings(Section, frozen=True):
    """The log for people."""

    style: Literal["text", "json"]
    level: Literal["debug", "info", "warning"]
    lines_per_second: Count


class MetricsSettings(Section, frozen=True):
    """The endpoint for Prometheus."""

    enabled: bool
    address: str
    port: Port


class ListSettings(Section, frozen=True):
    """How ITL and CTL are built."""

    digest: Literal["sha1", "sha512"]
    rollback: bool
    offers: tuple["OfferSettings", ...]


class OfferSettings(Section, frozen=True):
    """Other lists for some phones; ``itl`` and ``ctl`` name files in DIR/lists, "" for none."""

    macs: tuple[Mac, ...] = ()
    models: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    itl: str = ""
    ctl: str = ""


class PhoneSettings(Section, frozen=True):
    """Which phones get a rendered configuration."""

    macs: tuple[Mac, ...]
    models: dict[Mac, str]
    loads: dict[Mac, str]
    template: str


class DeviceSettings(Section, frozen=True):
    """What one device is answered instead; None: as everybody."""

    refuse: bool = False
    roles: tuple[RoleName, ...] | None = None
    ttl_seconds: Ttl | None = None


class AnswerSettings(Section, frozen=True):
    """How TVS answers."""

    ttl_seconds: Ttl
    expired: Literal["warn", "refuse"]
    ca: Literal["exact", "chain"]
    roles: dict[str, tuple[RoleName, ...]]
    devices: dict[str, DeviceSettings]


class TvsSettings(Section, frozen=True):
    """The Trust Verification Service."""

    port: Port
    profile: Literal["modern", "legacy"]
    legacy_port: Port
    ec_identity: str
    request_client_certificate: bool
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)]
    handshake_seconds: Seconds
    request_seconds: Seconds
    idle_seconds: Seconds
    write_seconds: Seconds
    max_connections: Count
    max_connections_per_address: Count
    max_unfinished_handshakes: Count
    max_request_bytes: Annotated[int, msgspec.Meta(ge=1, le=65_535)]
    answers: AnswerSettings


class TftpSettings(Section, frozen=True):
    """The TFTP service and its catalog."""

    port: Port
    receive_buffer: Count
    cache_bytes: Count
    max_transfers: Count
    max_transfers_per_address: Count
    max_requests_per_second: Count
    max_blksize: Annotated[int, msgspec.Meta(ge=8, le=65_464)]
    max_windowsize: Annotated[int, msgspec.Meta(ge=1, le=65_535)]
    rollover: Literal[0, 1]
    signatures_per_address: Count
    fold_case: bool
    rules: tuple[tuple[str, str], ...]
    uploads: bool
    serve_uploads: bool
    max_upload_bytes: Count


class HttpSettings(Section, frozen=True):
    """The same catalog over HTTP and HTTPS."""

    enabled: bool
    port: Port
    tls_enabled: bool
    tls_port: Port
    ecdsa: bool


class BundleSettings(Section, frozen=True):
    """The exchange of certificates between clusters; ``stores`` by certificate type."""

    stores: dict[str, tuple[str, ...]]


class Settings(Section, frozen=True):
    """Every setting, checked."""

    node: NodeSettings
    serve: ServeSettings
    events: EventSettings
    log: LogSettings
    metrics: MetricsSettings
    lists: ListSettings
    phones: PhoneSettings
    tvs: TvsSettings
    tftp: TftpSettings
    http: HttpSettings
    bundles: BundleSettings


def default_text() -> str:
    """The annotated defaults, as shipped."""
    return resources.files("conf").joinpath("default.toml").read_text(encoding="utf-8")


def load_settings(
    state: Path,
    overrides: Mapping[str, object] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Read the settings of the node under ``state``.

    ``overrides`` come from the command line: dotted key (``"tvs.port"``) to value, None for "not
    given". ``environment`` gives ``TRUSTLAB_SET_TVS__PORT``-like variables, whose value is TOML or
    else plain text. Raises :class:`SettingsError` naming file, line and key.
    """
    merged, origins = merge(state, overrides or {}, environment)
    try:
        settings = msgspec.convert(merged, Settings, strict=True)
    except msgspec.ValidationError as error:
        raise _located(str(error), origins) from None
    for key, problem in contradictions(settings):
        raise SettingsError(_origin(key, origins), key, problem)
    return settings


def merge(
    state: Path, overrides: Mapping[str, object], environment: Mapping[str, str]
) -> tuple[Table, dict[str, str]]:
    """Lay the four layers over each other; answers the tables and where each key came from."""
    merged: Table = {}
    origins: dict[str, str] = {}
    _lay(merged, tomllib.loads(default_text()), origins, lambda _: "the defaults")
    path = state / SETTINGS_FILE
    text = _read(path)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(str(path), "", str(error)) from None
    _lay(merged, tables, origins, lambda key: f"{path}, line {_line(text, key)}")
    for variable, raw in sorted(environment.items()):
        if variable.startswith(ENVIRONMENT_PREFIX):
            key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
            _set(merged, key, _toml_value(raw))
            origins[key] = f"environment variable {variable}"
    for key, value in overrides.items():
        if value is not None:
            _set(merged, key, value)
            origins[key] = "the command line"
    return merged, origins


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError(
            str(path), "", f"no such file; `trustlab --state {path.parent} init` makes a node"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(str(path), "", str(error)) from None


def _lay(
    below: Table,
    above: Table,
    origins: dict[str, str],
    origin: Callable[[str], str],
    prefix: str = "",
) -> None:
    for name, value in above.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and isinstance(below.setdefault(name, {}), dict):
            _lay(below[name], value, origins, origin, f"{key}.")
        else:
            below[name] = value
            origins[key] = origin(key)


def _set(tables: Table, key: str, value: object) -> None:
    *sections, name = key.split(".")
    for section in sections:
        inner = tables.setdefault(section, {})
        tables = inner if isinstance(inner, dict) else {}
    tables[name] = value


def _toml_value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _line(text: str, key: str) -> int:
    """The line on which ``key`` ("section.name") is given; good enough for a message."""
    *sections, name = key.split(".")
    wanted, current = ".".join(sections), ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[([^\]]+)\]", line)
        if header:
            current = header[1].strip()
            if current == key:
                return number
        elif current == wanted and re.match(rf"\s*[\"']?{re.escape(name)}[\"']?\s*=", line):
            return number
    return 1


def _located(problem: str, origins: Mapping[str, str]) -> SettingsError:
    """Turn msgspec's "… - at `$.tvs.port`" into an error that names where the key was given."""
    found = re.search(r" - at `\$\.?([^`]*)`$", problem)
    path = found[1] if found else ""
    text = problem[: found.start()] if found else problem
    unknown = re.search(r"contains unknown field `([^`]+)`", text)
    if unknown:
        path, text = f"{path}.{unknown[1]}".strip("."), "unknown key"
    key = re.sub(r"\[[^\]]*\]", "", path)
    return SettingsError(_origin(key, origins), path, text)


def _origin(key: str, origins: Mapping[str, str]) -> str:
    """Where ``key``, or the first of what lies below it, was given."""
    matches = [origin for name, origin in origins.items() if f"{name}.".startswith(f"{key}.")]
    return matches[0] if matches else "the settings"
