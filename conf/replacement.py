"""A step of a renewal is carried out: files replaced, every node of the cluster told."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from conf import ConfError
from conf.files import write_whole
from conf.identity import (
    IdentityError,
    TlsIdentity,
    as_signer,
    encode_identity,
    identity_file,
    read_certificate,
    waiting_identity_file,
)
from conf.node import Node, load_node, publish
from conf.renewal import Anchors, Plan, Step, keep, served
from conf.selfsigned import make_identity


def carry_out(node: Node, plan: Plan, brought: TlsIdentity | None = None) -> Node:
    """Carry out the step of ``plan``; answers the node as it is then.

    ``brought`` is a key and certificate made elsewhere, instead of a new self-signed one.
    ITLRecovery exists once in a cluster: its file is changed in the folders of all nodes, and
    nowhere if one of them cannot be written. A step that breaks off between them is ended by the
    same call again. A running daemon takes the change up by itself. Raises
    :class:`~conf.identity.IdentityError`, and OSError.
    """
    owners = _owners(node, plan.name)
    past = _histories(node)
    if plan.step in {Step.INTRODUCE, Step.REPLACE}:
        made = brought or make_identity(plan.name, node.host)
        if plan.name in {"CallManager", node.list_signer}:
            as_signer(made, identity_file(node.state, plan.name))
    elif brought is not None:
        raise IdentityError(f"{plan.name}: the next step, {plan.step}, takes no new key")
    else:
        made = None
    for state in owners:
        _change(state, plan, made)
    for state in owners:
        _announce(load_node(state), plan.name)
    for state, served_so_far in past.items():
        keep(load_node(state), served_so_far)
    return load_node(node.state)


def _owners(node: Node, name: str) -> tuple[Path, ...]:
    """The nodes (folders) that have the identity, in the order they are changed in."""
    if name != "ITLRecovery":
        return (node.state,)
    # this node is the last: as long as it has not changed, the next step is the same
    states = (*(one.state for one in node.members if one.host != node.host), node.state)
    for state in states:
        folder = identity_file(state, name).parent  # files are replaced, not written over
        if not os.access(folder, os.W_OK | os.X_OK):
            raise IdentityError(
                f"{identity_file(state, name)}: cannot be written, and every node of the cluster "
                f"has to get the new ITLRecovery; nothing was changed"
            )
    return states


def _histories(node: Node) -> dict[Path, tuple[Anchors, ...]]:
    """What each node of the cluster on this machine has served: the lists of all of them change."""
    found = {node.state: served(node)}
    for member in node.members:
        if member.host != node.host:
            with suppress(ConfError):  # it is on another machine, or gone: its lists are its own
                found[member.state] = served(load_node(member.state))
    return found


def _change(state: Path, plan: Plan, made: TlsIdentity | None) -> None:
    present = identity_file(state, plan.name)
    coming = waiting_identity_file(state, plan.name, "next")
    old = waiting_identity_file(state, plan.name, "old")
    if plan.step is Step.RETIRE:
        old.unlink(missing_ok=True)
    elif plan.step is Step.SWITCH:
        if coming.exists():  # else an earlier call came as far as this
            write_whole(old, present.read_bytes())
            coming.replace(present)
    elif made is not None and plan.step is Step.INTRODUCE:
        write_whole(coming, encode_identity(made))
    elif made is not None:
        if Step.RETIRE in plan.later:
            write_whole(old, present.read_bytes())
        write_whole(present, encode_identity(made))


def _announce(node: Node, name: str) -> None:
    """Put the certificate now in force into this node's record, in every folder of the cluster."""
    der = read_certificate(identity_file(node.state, name))
    certificates = {**node.own.certificates, name: der}
    if certificates != dict(node.own.certificates):
        publish(node, replace(node.own, certificates=certificates))
