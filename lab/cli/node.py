"""`trustlab init` and `trustlab serve`."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import trio
from cyclopts import Parameter

from conf import ConfError
from conf.creation import Request, create_node
from conf.identity import load_node
from conf.settings import load_settings
from lab.cli import terminal
from lab.cli.arguments import Flag
from lab.cli.welcome import show_node, show_running
from lab.daemon import Running, run_daemon
from lab.scenarios.model import find_scenario
from lab.scenarios.serving import misbehaviour
from tvs.store import STORE_FILE, TrustStore

PRIVATE_UMASK = 0o077


def init(
    *,
    node: str,
    address: str,
    cluster: str | None = None,
    secure: Flag = False,
    signer: Literal["itlrecovery", "callmanager"] | None = None,
    identity: Annotated[list[str] | None, Parameter(negative="")] = None,
    callmanager_ecdsa: Flag = False,
    join: Path | None = None,
    force: Flag = False,
) -> int:
    """Create a node: its identities, an empty trust store, a TFTP root, a settings file.

    Parameters
    ----------
    node:
        Host name of the node, as certificates and list records carry it.
    address:
        Address phones reach the node at.
    cluster:
        Name of the cluster; not needed with --join.
    secure:
        Mixed mode: the node also serves a CTL.
    signer:
        Whose key signs ITL and CTL; ITLRecovery as CUCM since 12.0, unless given.
    identity:
        NAME=FILE.pem: bring a key and certificate along instead of making them; may be repeated.
    callmanager_ecdsa:
        Make a CallManager-ECDSA identity as well; lists leave it out.
    join:
        State folder of a node whose cluster this one joins.
    force:
        Move an existing node's folder aside and make a new one.
    """
    os.umask(PRIVATE_UMASK)
    state = terminal.state_dir()
    signers = {"itlrecovery": "ITLRecovery", "callmanager": "CallManager", None: None}
    backup = create_node(
        state,
        Request(
            cluster=cluster,
            host=node,
            address=address,
            secure=secure,
            list_signer=signers[signer],
            identities=dict(_brought(text) for text in identity or []),
            ecdsa=callmanager_ecdsa,
            join=join,
        ),
        force=force,
    )
    TrustStore.open(state / STORE_FILE).close()
    if backup is not None:
        terminal.say(f"the node that was there is now {backup}")
    show_node(load_node(state))
    return 0


def _brought(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not separator:
        raise ConfError(f"--identity {text}: expected NAME=FILE.pem")
    return name, Path(path)


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
