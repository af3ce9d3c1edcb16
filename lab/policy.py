"""How TVS answers, what it allows, and where an import puts certificates, from the settings."""

from collections.abc import Iterable
from dataclasses import fields

from conf import ConfError
from conf.settings import AnswerSettings, BundleSettings, SettingsError, TvsSettings
from itl import ItlError
from itl.roles import TRUST_STORES, parse_role
from tvs.answers import AnswerPolicy, DeviceOverride
from tvs.labels import EXCHANGED_TYPES
from tvs.limits import Limits

_MAX_ROLE = 0xFF  # an answer gives a role one octet


def answer_policy(settings: AnswerSettings) -> AnswerPolicy:
    """The policy that ``[tvs.answers]`` describes. Raises :class:`~conf.settings.SettingsError`."""
    return AnswerPolicy(
        roles={name: _roles(f"roles.{name}", roles) for name, roles in settings.roles.items()},
        ttl_seconds=settings.ttl_seconds,
        expired=settings.expired,
        ca=settings.ca,
        devices={
            name: DeviceOverride(
                refuse=device.refuse,
                roles=None
                if device.roles is None
                else _roles(f"devices.{name}.roles", device.roles),
                ttl_seconds=device.ttl_seconds,
            )
            for name, device in settings.devices.items()
        },
    )


def tvs_limits(settings: TvsSettings) -> Limits:
    """The limits of TVS, which bear the names of their settings."""
    return Limits(**{field.name: getattr(settings, field.name) for field in fields(Limits)})


def stores_by_type(settings: BundleSettings) -> dict[str, tuple[str, ...]]:
    """The trust stores that ``[bundles.stores]`` names by type. Raises :class:`~conf.ConfError`."""
    for type_name, names in settings.stores.items():
        if type_name not in EXCHANGED_TYPES:
            raise ConfError(f"bundles.stores: no type {type_name!r} is exchanged")
        for name in names:
            if name not in TRUST_STORES:
                raise ConfError(f"bundles.stores.{type_name}: no trust store {name!r}")
    return settings.stores


def _roles(key: str, names: Iterable[str]) -> tuple[int, ...]:
    try:
        codes = tuple(parse_role(name) for name in names)
    except ItlError as error:
        raise SettingsError("the settings", f"tvs.answers.{key}", str(error)) from None
    if any(code > _MAX_ROLE for code in codes):
        raise SettingsError("the settings", f"tvs.answers.{key}", "a role is at most 255")
    return codes
