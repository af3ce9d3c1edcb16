"""A scenario in a daemon: only where it can do no harm, or where that is wanted."""

import ipaddress
import time
from functools import partial

from conf.identity import load_signer
from conf.settings import Settings
from lab.daemon import Misbehave
from lab.events import Reader
from lab.plane import TrustPlane
from lab.scenarios.forgery import Forger
from lab.scenarios.mischief import Mischief
from lab.scenarios.model import Scenario, ScenarioError
from lab.scenarios.stranger import Stranger, stranger_of


def misbehaviour(scenario: Scenario, settings: Settings, *, lab: bool) -> Misbehave:
    """How a daemon with ``settings`` misbehaves; off loopback only if it is said to be a ``lab``.

    Raises :class:`~lab.scenarios.model.ScenarioError`.
    """
    address = settings.serve.address
    if settings.tvs.workers > 1:
        raise ScenarioError("a scenario needs every phone in one process: tvs.workers must be 1")
    if settings.http.enabled or settings.http.tls_enabled:
        raise ScenarioError("over HTTP phones would get the true files: http must not be enabled")
    try:
        loopback = ipaddress.ip_address(address).is_loopback
    except ValueError:
        loopback = address == "localhost"
    if not loopback and not lab:
        raise ScenarioError(
            f"scenario {scenario.name} makes this daemon misbehave, and {address} is not loopback:"
            " phones that use it may lose their trust; --lab says that this is a lab"
        )
    return partial(mischief_for, scenario)


def mischief_for(
    scenario: Scenario,
    plane: TrustPlane,
    own_tvs: tuple[str, int],
    report: Reader,
) -> Mischief:
    """The scenario at work on ``plane``, whose TVS listens at ``own_tvs``. Makes keys at first."""
    stranger = stranger_of(plane.node.state)
    return Mischief(
        scenario=scenario,
        stranger=stranger,
        forger=_Forgers(plane, stranger).now,
        find=plane.find,
        own_tvs=own_tvs,
        report=report,
        profile=plane.settings.tvs.profile,
    )


class _Forgers:
    """Hands out the forger of the node as it is; keys are read again only after a change."""

    def __init__(self, plane: TrustPlane, stranger: Stranger) -> None:
        self._plane = plane
        self._stranger = stranger
        self._made: Forger | None = None

    def now(self) -> Forger:
        node = self._plane.node
        if self._made is None or self._made.node is not node:
            self._made = Forger(
                node=node,
                list_signer=load_signer(node.state, node.list_signer),
                file_signer=load_signer(node.state, "CallManager"),
                stranger=self._stranger,
                digest=self._plane.settings.lists.digest,
                timestamp=int(time.time()),
            )
        return self._made
