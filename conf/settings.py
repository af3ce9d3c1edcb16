"""Typed settings, checked."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec

from conf.contradictions import contradictions
from conf.layers import (
    SETTINGS_FILE,
    Origins,
    SettingsError,
    default_text,
    merge,
    origin_of,
)

__all__ = ["SETTINGS_FILE", "Settings", "SettingsError", "default_text", "load_settings", "merge"]

Port: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0.01, le=86_400)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=0x7FFF_FFFF)]
Ttl: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]
RoleName: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9+-]+$")]
Mac: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[0-9A-Fa-f]{12}$")]


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
        raise SettingsError(origin_of(key, origins), key, problem)
    return settings


def _located(problem: str, origins: Origins) -> SettingsError:
    """Turn msgspec's "… - at `$.tvs.port`" into an error that names where the key was given."""
    found = re.search(r" - at (?:`key` in )?`\$\.?([^`]*)`$", problem)
    path = found[1] if found else ""
    text = problem[: found.start()] if found else problem
    unknown = re.search(r"contains unknown field `([^`]*)`", text)
    if unknown:
        path, text = f"{path}.{unknown[1]}".strip("."), "unknown key"
    key = re.sub(r"\[[^\]]*\]", "", path)
    return SettingsError(origin_of(key, origins), path, text)
