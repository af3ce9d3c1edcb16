"""`trustlab init`."""

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from conf import ConfError
from conf.creation import Request, create_node
from conf.node import load_node
from lab.cli import terminal
from lab.cli.arguments import Flag
from lab.cli.welcome import show_node
from lab.process import PRIVATE_UMASK
from tvs.store import STORE_FILE, TrustStore


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
