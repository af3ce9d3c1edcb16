"""What the two services answer from: trust snapshot and catalog, kept in step with the disk.

Everything a change can touch is read here, built anew, and swapped in at once. A change that cannot
be read or built keeps what was there and says so.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import trio
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from OpenSSL import SSL

from conf import ConfError
from conf.identity import (
    TVS,
    TVS_ECDSA,
    TlsIdentity,
    identities_folder,
    load_tls_identity,
    read_identity,
)
from conf.node import Node, cluster_folder, load_node
from conf.settings import Settings, SettingsError, TvsSettings
from itl import ItlError
from lab.catalog import node_catalog, tftp_limits
from lab.events import Reader
from lab.policy import answer_policy, tvs_limits
from tftp.catalog import Catalog
from tftp.content import Answer
from tvs import TvsError
from tvs.answers import AnswerPolicy
from tvs.snapshot import Entry, Snapshot, entry_of
from tvs.store import STORE_FILE, TrustStore
from tvs.tls import Profile, server_context


class TrustPlane:
    """The answers of one node, from its trust store, its cluster's identities and its lists.

    ``report`` gets an event for each change taken up or refused.
    """

    def __init__(self, node: Node, settings: Settings, *, report: Reader) -> None:
        self.problem: str | None = None
        self._report = report
        self._store = TrustStore.open(node.state / STORE_FILE)
        self._state = node.state
        self._seen = self._disk()
        self._wanted = settings
        self._one_at_a_time = trio.Lock()
        self._taken_up = trio.Event()
        self._take_up(self._load(settings))

    async def refresh(self, settings: Settings | None = None) -> None:
        """Take up what changed on disk, or ``settings`` if given.

        Reading happens in a thread: a large store must not hold up phones. What cannot be read is
        tried again at the next call, and reported once.
        """
        self._wanted = settings or self._wanted
        async with self._one_at_a_time:
            await self._refresh()

    async def until_next_look(self) -> None:
        """Wait as long as the settings say, or until something else, perhaps they, is in force."""
        with trio.move_on_after(self.settings.serve.watch_seconds):
            await self._taken_up.wait()

    async def _refresh(self) -> None:
        try:
            seen = self._disk()
            settled = self._wanted is self.settings and self.problem is None
            if seen == self._seen and settled:
                return
            fresh = await trio.to_thread.run_sync(self._load, self._wanted)
        except (ConfError, ItlError, TvsError, OSError) as error:
            self._refuse(str(error))
            return
        self._seen = seen
        self._take_up(fresh)
        self.problem = None
        self._report(
            {
                "event": "plane.changed",
                "outcome": "in force",
                "reason": "trust store, cluster or settings changed",
                "certificates": len(self.snapshot),
            }
        )

    def find(self, name: str, peer: str) -> Answer:
        """What TFTP answers to a request for ``name``, from the catalog now in force."""
        return self.catalog.find(name, peer)

    def find_unsigned(self, name: str, peer: str) -> Answer:
        """What HTTPS answers: a ``.sgn`` name gets the file itself."""
        return self.catalog.find(name, peer, unsigned=True)

    def close(self) -> None:
        """Let go of the trust store."""
        self._store.close()

    def _refuse(self, problem: str) -> None:
        """Keep what is in force, and say why once."""
        if problem != self.problem:
            self._report({"event": "plane.refused", "outcome": "kept", "reason": problem})
        self.problem = problem

    def _disk(self) -> object:
        files = sorted(
            (entry.path, entry.stat().st_mtime_ns, entry.stat().st_ino)
            for folder in (cluster_folder(self._state), identities_folder(self._state))
            for entry in os.scandir(folder)
            if not entry.name.startswith(".")  # else it is still being written
        )
        return self._store.revision(), tuple(files)

    def _load(self, settings: Settings) -> "Standing":
        return read_standing(self._state, settings, self._store.sound_entries())

    def _take_up(self, fresh: "Standing") -> None:
        self.node = fresh.node
        self.settings = fresh.settings
        self.tvs_limits = tvs_limits(fresh.settings.tvs)
        self.tftp_limits = tftp_limits(fresh.settings.tftp)
        self.policy = fresh.policy
        self.catalog = fresh.catalog
        self.snapshot = fresh.snapshot
        self.contexts = fresh.contexts
        self._taken_up.set()
        self._taken_up = trio.Event()


@dataclass(frozen=True)
class Standing:
    """Everything a node answers from, of one moment: what is swapped in together."""

    node: Node
    settings: Settings
    policy: AnswerPolicy
    catalog: Catalog
    snapshot: Snapshot
    contexts: Mapping[Profile, SSL.Context]


def read_standing(
    state: Path, settings: Settings, stored: Iterable[Entry], *, keep: bool = True
) -> Standing:
    """Read and build what the node ``state`` answers from.

    ``stored`` are the certificates of its trust store. ``keep`` is for who serves: lists are kept
    for the next time; without it nothing is written. Raises :class:`~conf.ConfError`, ItlError,
    TvsError or OSError.
    """
    node = load_node(state, settings.node)
    policy = answer_policy(settings.tvs.answers)
    catalog = node_catalog(node, settings, keep=keep)
    snapshot = Snapshot(chain(stored, _own_certificates(node), _ctl_certificates(catalog)))
    contexts = _contexts(state, settings.tvs)
    return Standing(node, settings, policy, catalog, snapshot, contexts)


def _contexts(state: Path, settings: TvsSettings) -> dict[Profile, SSL.Context]:
    """What a connection to TVS begins with, by TLS profile, with the identities as they are now."""
    profiles: set[Profile] = {settings.profile}
    if settings.legacy_port:
        profiles.add("legacy")  # the modern one need not be able to take an old identity
    identities = tls_identities(state, settings)
    return {
        profile: server_context(
            [(identity.chain, identity.private_key) for identity in identities],
            profile=profile,
            request_client_certificate=settings.request_client_certificate,
        )
        for profile in profiles
    }


def tls_identities(state: Path, settings: TvsSettings) -> list[TlsIdentity]:
    """What TVS shows in a handshake: the node's identity, an EC one beside it where set.

    Raises :class:`~conf.identity.IdentityError`, and :class:`~conf.settings.SettingsError` for one
    beside it that would take its place.
    """
    identities = [load_tls_identity(state, TVS)]
    if settings.ec_identity:
        beside = read_identity(state / settings.ec_identity)
        if not isinstance(beside.private_key, EllipticCurvePrivateKey):
            problem = f"{state / settings.ec_identity} holds an RSA key, not an EC one"
            raise SettingsError("the settings", "tvs.ec_identity", problem)
        identities.append(beside)
    return identities


def with_tvs_identities(node: Node, settings: TvsSettings) -> dict[str, bytes]:
    """This node's certificates by identity name, with what TVS shows now under these settings."""
    shown = tls_identities(node.state, settings)
    others = {name: der for name, der in node.own.certificates.items() if name != TVS_ECDSA}
    return others | {
        name: identity.chain[0] for name, identity in zip((TVS, TVS_ECDSA), shown, strict=False)
    }


def _own_certificates(node: Node) -> Iterator[Entry]:
    for member in node.members:
        for name, der in member.certificates.items():
            source = f"the identities of {node.cluster}/{member.host}"
            yield entry_of(der, type=name, stores=(), source=source)
    for der in node.overlap:
        yield entry_of(der, type="CallManager", stores=(), source="a signer being renewed")


def _ctl_certificates(catalog: Catalog) -> Iterator[Entry]:
    for der in catalog.ctl_certificates():
        yield entry_of(der, type=None, stores=(), source="the CTL")
