"""A scenario in a daemon: only where it can do no harm, or where that is wanted."""

import ipaddress
import time
from functools import partial

from conf.identity import load_signer
from lab.events import Reader
from lab.plane import TrustPlane
from lab.scenarios.forgery import Forger
from lab.scenarios.mischief import Mischief
from lab.scenarios.model import Scenario, ScenarioError
from lab.scenarios.stranger import Stranger, stranger_of


def check_place(scenario: Scenario, address: str, *, workers: int, lab: bool) -> None:
    """Refuse to misbehave off loopback unless it is said to be a ``lab``.

    Raises :class:`~lab.scenarios.model.ScenarioError`.
    """
    if workers > 1:
        raise ScenarioError("a scenario needs every phone in one process: tvs.workers must be 1")
    try:
        loopback = ipaddress.ip_address(address).is_loopback
    except ValueError:
        loopback = address == "localhost"
    if not loopback and not lab:
        raise ScenarioError(
            f"scenario {scenario.name} makes this daemon misbehave, and {address} is not loopback:"
            " phones that use it may lose their trust; --lab says that this is a lab"
        )


def mischief_for(
    scenario: Scenario, plane: TrustPlane, own_tvs: tuple[str, int], report: Reader
) -> Mischief:
    """The scenario at work on ``plane``, whose TVS listens at ``own_tvs``. Makes keys at first."""
    stranger = stranger_of(plane.node.state)
    return Mischief(
        scenario=scenario,
        stranger=stranger,
        forger=partial(_forger, plane, stranger),
        find=plane.find,
        own_tvs=own_tvs,
        report=report,
        profile=plane.settings.tvs.profile,
    )


def _forger(plane: TrustPlane, stranger: Stranger) -> Forger:
    """With the node's identities as they are now."""
    node = plane.node
    return Forger(
        node=node,
        list_signer=load_signer(node.state, node.list_signer),
        file_signer=load_signer(node.state, "CallManager"),
        stranger=stranger,
        digest=plane.settings.lists.digest,
        timestamp=int(time.time()),
    )
