"""A step of a renewal is carried out: files replaced, every node of the cluster told."""

import os
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from conf import ConfError
from conf.files import read_regular, write_whole
from conf.identity import (
    IdentityError,
    TlsIdentity,
    as_signer,
    encode_identity,
    identities_folder,
    identity_file,
    read_certificate,
    waiting_identity_file,
)
from conf.node import Node, check_no_copy, load_node, publish
from conf.renewal import Anchors, Plan, Step, keep, next_step, served
from conf.running import claim_folder
from conf.selfsigned import make_identity

# what is next for a node that is ahead by the step
_AFTER = {
    Step.INTRODUCE: {Step.REPLACE, Step.SWITCH},  # lists may be signed with another key there
    Step.SWITCH: {Step.RETIRE},
    Step.RETIRE: {Step.INTRODUCE, Step.REPLACE},
    Step.REPLACE: set(),
}


def carry_out(node: Node, plan: Plan, brought: TlsIdentity | None = None) -> tuple[Path, ...]:
    """Carry out the step of ``plan``; answers the folders of nodes that could not be told of it.

    Those have lists with the old certificate until a daemon of this node reaches them.

    ``brought`` is a key and certificate made elsewhere, instead of a new self-signed one.
    ITLRecovery exists once in a cluster: its file is changed in the folders of all nodes, and
    nowhere if one of them cannot be written, or waits for the end of a step that broke off. Such a
    step is ended by the same call again. A running daemon takes the change up by itself. Raises
    :class:`~conf.ConfError`, and OSError.
    """
    check_no_copy(node)
    owners = _owners(node, plan.name)
    with ExitStack() as claims:
        for state in sorted(owners, key=Path.absolute):  # of two at once one gets them all
            claims.enter_context(claim_folder(identities_folder(state)))
        present = load_node(node.state)
        same = next_step(present, plan.name)[0] is plan.step
        if not same or _owners(present, plan.name) != owners:
            raise IdentityError(
                f"{plan.name}: a node has joined, or another command has renewed it meanwhile; "
                "nothing was changed"
            )
        _check_together(owners, plan)
        return _carry_out(present, owners, plan, brought)


def _carry_out(
    node: Node, owners: Iterable[Path], plan: Plan, brought: TlsIdentity | None
) -> tuple[Path, ...]:
    past = _histories(node)
    if plan.step in {Step.INTRODUCE, Step.REPLACE}:
        made = brought or make_identity(plan.name, node.host)
        if plan.name in {"CallManager", node.list_signer}:
            as_signer(made, identity_file(node.state, plan.name))
    elif brought is not None:
        raise IdentityError(f"{plan.name}: the next step, {plan.step}, takes no new key")
    else:
        made = None
    if Step.RETIRE in plan.later:  # until then what is now in force stays in the lists
        for state in owners:
            read_certificate(identity_file(state, plan.name))
    for state in owners:
        _change(state, plan, made)
    untold: dict[Path, None] = {}
    for state in owners:
        present = load_node(state)
        certificate = read_certificate(identity_file(state, plan.name))
        certificates = {**present.own.certificates, plan.name: certificate}
        own = replace(present.own, certificates=certificates)
        untold |= dict.fromkeys(publish(present, own))
    for state, served_so_far in past.items():
        keep(load_node(state), served_so_far)
    return tuple(untold)


def _check_together(owners: Iterable[Path], plan: Plan) -> None:
    """No node of the cluster may be behind ``plan``: a step that broke off has to be ended first.

    One may be ahead: then it is this step that broke off. And none may have its lists signed by
    what is replaced at once here: its phones would be lost.
    """
    for other in owners:
        step, *_ = next_step(load_node(other), plan.name)
        if (plan.step, step) == (Step.REPLACE, Step.INTRODUCE):
            raise IdentityError(
                f"{plan.name}: it signs the lists of {other}, whose phones need it renewed in "
                f"steps: trustlab --state {other} identity renew {plan.name}; nothing was changed"
            )
        if step not in {plan.step, *_AFTER[plan.step]}:
            raise IdentityError(
                f"{plan.name}: {plan.step} cannot be done, for in {other} the step before it broke "
                f"off; end that first: trustlab --state {other} identity renew {plan.name}; "
                "nothing was changed"
            )


def _owners(node: Node, name: str) -> tuple[Path, ...]:
    """The nodes (folders) that have the identity, in the order they are changed in."""
    if name != "ITLRecovery":
        return (node.state,)
    # this node is the last: as long as it has not changed, the next step is the same
    states = (*(one.state for one in node.others), node.state)
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
    for member in node.others:
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
            write_whole(old, read_regular(present))
            coming.replace(present)
    elif made is not None and plan.step is Step.INTRODUCE:
        write_whole(coming, encode_identity(made))
    elif made is not None and Step.RETIRE in plan.later:
        write_whole(coming, encode_identity(made))  # a call that breaks off leaves a switch to do
        write_whole(old, read_regular(present))
        coming.replace(present)
    elif made is not None:
        write_whole(present, encode_identity(made))
