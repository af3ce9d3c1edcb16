"""What the two services answer from: trust snapshot and catalog, kept in step with the disk.

Everything a change can touch is read here, built anew, and swapped in at once. A change that cannot
be read or built keeps what was there and says so.
"""

import os
from collections.abc import Iterator

from conf import ConfError
from conf.identity import Node, cluster_folder, load_node, load_signer
from conf.settings import Settings
from itl import ItlError
from lab.events import Reader
from lab.policy import answer_policy
from tftp import TftpError
from tftp.catalog import Catalog, Content, ErrorReply
from tvs import TvsError
from tvs.snapshot import Entry, Snapshot, entry_of
from tvs.store import TrustStore

STORE_FILE = "store.sqlite3"


class TrustPlane:
    """The answers of one node, from its trust store, its cluster's identities and its lists.

    ``report`` gets an event for each change taken up or refused.
    """

    def __init__(self, node: Node, settings: Settings, *, report: Reader) -> None:
        self.node = node
        self.settings = settings
        self.problem: str | None = None
        self._report = report
        self._store = TrustStore.open(node.state / STORE_FILE)
        self._seen = self._disk()
        self.policy = answer_policy(settings.tvs.answers)
        self.catalog = self._catalog()
        self.snapshot = Snapshot(self._entries())

    def refresh(self, settings: Settings | None = None) -> bool:
        """Take up what changed on disk, or ``settings`` if given; answers whether anything did."""
        seen = self._disk()
        if seen == self._seen and settings is None:
            return False
        self._seen = seen
        before = self.node, self.settings, self.policy, self.catalog
        try:
            self.node = load_node(self.node.state)
            self.settings = settings or self.settings
            self.policy = answer_policy(self.settings.tvs.answers)
            self.catalog = self._catalog()
            self.snapshot = Snapshot(self._entries())
        except (ConfError, ItlError, TftpError, TvsError, OSError) as error:
            self.node, self.settings, self.policy, self.catalog = before
            self.problem = str(error)
            self._report({"event": "plane.refused", "outcome": "kept", "reason": self.problem})
            return False
        self.problem = None
        self._report(
            {
                "event": "plane.changed",
                "outcome": "in force",
                "reason": "trust store, cluster or settings changed",
                "certificates": len(self.snapshot),
            }
        )
        return True

    def find(self, name: str, peer: str) -> Content | ErrorReply:
        """What TFTP answers to a request for ``name``, from the catalog now in force."""
        return self.catalog.find(name, peer)

    def close(self) -> None:
        """Let go of the trust store."""
        self._store.close()

    def _disk(self) -> object:
        folder = cluster_folder(self.node.state)
        records = sorted(
            (entry.name, entry.stat().st_mtime_ns, entry.stat().st_ino)
            for entry in os.scandir(folder)
            if entry.name.endswith(".json")
        )
        return self._store.revision(), tuple(records)

    def _catalog(self) -> Catalog:
        state = self.node.state
        return Catalog(
            self.node,
            root=state / "tftp",
            list_signer=load_signer(state, self.node.list_signer),
            file_signer=load_signer(state, "CallManager"),
            digest=self.settings.lists.digest,
            macs=self.settings.phones.macs,
        )

    def _entries(self) -> Iterator[Entry]:
        yield from self._store.entries()
        for member in self.node.members:
            for name, der in member.certificates.items():
                source = f"the identities of {self.node.cluster}/{member.host}"
                yield entry_of(der, type=name, stores=(), source=source)
        for der in self.catalog.ctl_certificates():
            yield entry_of(der, type=None, stores=(), source="the CTL")
