"""`trustlab serve`."""

import os
from functools import partial
from typing import Literal

import trio

from conf.settings import load_settings
from lab.cli import terminal
from lab.cli.arguments import Flag
from lab.cli.welcome import show_running
from lab.daemon import Running, run_daemon
from lab.process import PRIVATE_UMASK
from lab.scenarios.model import find_scenario
from lab.scenarios.serving import misbehaviour


def serve(
    *,
    address: str | None = None,
    tvs_port: int | None = None,
    tftp_port: int | None = None,
    http_port: int | None = None,
    https_port: int | None = None,
    tls_profile: Literal["modern", "legacy"] | None = None,
    workers: int | None = None,
    scenario: str | None = None,
    lab: Flag = False,
    json: Flag = False,
) -> int:
    """Serve the node: TVS on tcp 2445, TFTP on udp 69, until Ctrl-C or SIGTERM.

    Parameters
    ----------
    address:
        Address to listen on.
    tvs_port:
        TVS port; 0 is the kernel's choice.
    tftp_port:
        TFTP port; 0 is the kernel's choice.
    http_port:
        Serve the same files over HTTP on this port; phones ask at 6970.
    https_port:
        Serve them over HTTPS on this port; phones ask at 6971.
    tls_profile:
        modern: TLS 1.2 and 1.3; legacy: down to TLS 1.0, as 7900 and 8900 phones need.
    workers:
        Processes that answer TVS.
    scenario:
        Misbehave on purpose: a name that `trustlab scenario list` shows, or a .toml file.
    lab:
        This is a lab: a scenario may be served on an address that is not loopback.
    json:
        Print one line of JSON once everything is ready.
    """
    os.umask(PRIVATE_UMASK)
    overrides: dict[str, object] = {
        "serve.address": address,
        "tvs.port": tvs_port,
        "tftp.port": tftp_port,
        "http.enabled": None if http_port is None else True,
        "http.port": http_port,
        "http.tls_enabled": None if https_port is None else True,
        "http.tls_port": https_port,
        "tvs.profile": tls_profile,
        "tvs.workers": workers,
    }

    misbehave = None
    if scenario is not None:
        settings = load_settings(terminal.state_dir(), overrides)
        misbehave = misbehaviour(find_scenario(scenario), settings, lab=lab)
        terminal.say(f"THIS DAEMON MISBEHAVES ON PURPOSE: scenario {scenario}")

    ready = _emit_running if json else show_running
    trio.run(partial(run_daemon, terminal.state_dir(), overrides, ready=ready, misbehave=misbehave))
    return 0


def _emit_running(running: Running) -> None:
    record = running.record
    web = {"http": record.http, "https": record.https}
    terminal.emit(
        {
            "ready": True,
            "tvs": record.tvs,
            "tftp": record.tftp,
            **{name: place for name, place in web.items() if place is not None},
            "pid": record.pid,
        }
    )
