"""Which settings a daemon takes up when it reads them again, and which wait for a restart."""

from typing import TypeVar

import msgspec

from conf.settings import Section, Settings

AFTER_RESTART = (
    "serve.address",
    "serve.drain_seconds",
    "events",
    "metrics",
    "tvs.port",
    "tvs.profile",
    "tvs.legacy_port",
    "tvs.workers",
    "tftp.port",
    "tftp.receive_buffer",
    "tftp.cache_bytes",
    "tftp.rollover",
    "tftp.uploads",
    "tftp.max_upload_bytes",
    "http",
)

_Table = TypeVar("_Table", bound=Section)


def taken_up(fresh: Settings, standing: Settings) -> tuple[Settings, dict[str, str]]:
    """What of ``fresh`` is in force at once: the rest stays as ``standing`` has it.

    Answers the settings to go on with, and in words what waits, by key.
    """
    waiting: dict[str, str] = {}
    return _taken_up(fresh, standing, "", waiting), waiting


def _taken_up(fresh: _Table, standing: _Table, prefix: str, waiting: dict[str, str]) -> _Table:
    kept: dict[str, object] = {}
    for name in fresh.__struct_fields__:
        key, value, before = f"{prefix}{name}", getattr(fresh, name), getattr(standing, name)
        if isinstance(value, Section):
            kept[name] = _taken_up(value, before, f"{key}.", waiting)
        elif value != before and _waits(key):
            waiting[key] = (
                f"{key} changed from {_written(before)} to {_written(value)}: "
                "takes effect after a restart"
            )
            kept[name] = before
    return msgspec.structs.replace(fresh, **kept)


def _waits(key: str) -> bool:
    return any(f"{key}.".startswith(f"{waits}.") for waits in AFTER_RESTART)


def _written(value: object) -> str:
    return msgspec.json.encode(value).decode()
