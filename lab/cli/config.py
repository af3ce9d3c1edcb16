"""`trustlab config`: the settings in force, where each came from, and the annotated defaults."""

import os
from pathlib import Path

import msgspec
from cyclopts import App

from conf import ConfError
from conf.layers import SETTINGS_FILE, Origins, SettingsError, dotted, origin_of, values
from conf.settings import Settings, default_text, load_settings, merge
from itl import ItlError
from lab.cli import terminal
from lab.cli.arguments import Flag
from lab.plane import read_standing
from lab.policy import stores_by_type
from lab.web import https_identity

app = App(name="config", help="Show and check the settings of a node.")


@app.command
def check(*, json: Flag = False) -> int:
    """Check the settings and print each with where its value came from.

    Parameters
    ----------
    json:
        Print one JSON object for each setting.
    """
    state = terminal.state_dir()
    settings = load_settings(state)
    tables, origins = merge(state, {}, os.environ)
    _build(state, settings, origins)
    for path, value in sorted(values(tables)):
        key = dotted(path)
        origin = origin_of(key, origins)
        if json:
            terminal.emit({"key": key, "value": value, "origin": origin})
        else:
            shown = msgspec.json.encode(value).decode()  # which TOML reads too
            terminal.console.print(f"{key} = {shown}  # {origin}", soft_wrap=True)
    return 0


def _build(state: Path, settings: Settings, origins: Origins) -> None:
    """Build what a daemon would answer from, its trust store apart, and let it go.

    Roles, rules, stores and files that the settings name may not be. Raises
    :class:`~conf.ConfError` or :class:`~tvs.TvsError`.
    """
    try:
        read_standing(state, settings, (), keep=False)
        https_identity(state, settings.http, wanted=settings.http.tls_enabled)
        stores_by_type(settings.bundles)
    except SettingsError as error:
        raise SettingsError(origin_of(error.key, origins), error.key, error.problem) from None
    except ItlError as error:
        raise SettingsError(str(state / SETTINGS_FILE), "", str(error)) from None
    except OSError as error:
        raise ConfError(f"{error.filename or state}: {error.strerror}") from None


@app.command
def default() -> int:
    """Print every setting with its unit, its default and why."""
    terminal.console.print(default_text(), end="", soft_wrap=True)
    return 0
