"""What we write beside each certificate of a bundle, and how bundle files are named.

CUCM's file names and friendly names are not public, so these are ours. The friendly name is

    trustlab:1:KIND:CLUSTER:ID:NODE:TYPE:NODES:FINGERPRINT

KIND is "node" in a file that one node's export wrote, "all" in a consolidated one; CLUSTER and
NODE are percent-encoded; ID tells clusters of one name apart (the first 8 hex digits of the SHA-256
of the cluster's ITLRecovery certificate); TYPE is CallManager, tomcat, ...; NODES is how many nodes
the cluster has, so that a reader notices one that contributed nothing; FINGERPRINT is the first 16
hex digits of the certificate's SHA-256, which makes the name unique in a file and ties it to its
certificate. Java shows friendly names in lower case: types are recognised in any case.

A label is a claim of whoever wrote the file. It says where a certificate belongs, never that it may
be trusted.
"""

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from itl.roles import CERTIFICATE_TYPES, TVS

EXCHANGED_TYPES = tuple(name for name in CERTIFICATE_TYPES if name != TVS)
"""The types that bulk certificate management exchanges."""

_FINGERPRINT_DIGITS = 16
_ID_DIGITS = 8
_TYPES = {name.lower(): name for name in CERTIFICATE_TYPES}
_LABEL = re.compile(
    r"trustlab:1:(?P<kind>node|all):(?P<cluster>[^:]*):(?P<id>[0-9a-f]{8}):(?P<node>[^:]+)"
    r":(?P<type>[a-z-]+):(?P<nodes>[0-9]{1,4}):(?P<fingerprint>[0-9a-f]{16})",
    re.IGNORECASE,
)
_CUCM_SUBJECTS = (
    # `show ctl` prints these two forms in Cisco documents 118893 and 117598; the names of
    # CallManager, tomcat and TVS certificates are the host's and tell nothing.
    (re.compile(r"(?:^|;)CN=CAPF-[0-9a-f]{8}(?:;|$)", re.IGNORECASE), "CAPF"),
    (re.compile(r"(?:^|;)CN=ITLRECOVERY_[^;]+(?:;|$)", re.IGNORECASE), "ITLRecovery"),
)


@dataclass(frozen=True)
class Label:
    """Where a certificate of a bundle comes from.

    ``nodes`` is the size of its cluster; 0 where cluster and node are not known, for a certificate
    that came into a consolidated file from a file without labels.
    """

    cluster: str
    cluster_id: str
    node: str
    type: str
    nodes: int
    consolidated: bool = False

    @property
    def group(self) -> tuple[str, str, str, str]:
        """What an export of one node for one type is known by."""
        return self.cluster.lower(), self.cluster_id, self.node.lower(), self.type

    def friendly_name(self, sha256: str) -> str:
        """The text to write beside the certificate with this fingerprint."""
        kind = "all" if self.consolidated else "node"
        cluster, node = quote(self.cluster, safe=" "), quote(self.node, safe=" ")
        return (
            f"trustlab:1:{kind}:{cluster}:{self.cluster_id}:{node}:{self.type}:{self.nodes}"
            f":{sha256[:_FINGERPRINT_DIGITS]}"
        )

    @property
    def file_name(self) -> str:
        """The name of the file for this node and type; a reader never relies on it."""
        return f"{self._stem}.p12"

    @property
    def key_file_name(self) -> str:
        """The name of the file that also holds the private key."""
        return f"{self._stem}_private-key.p12"

    @property
    def _stem(self) -> str:
        return f"{_plain(self.cluster)}-{self.cluster_id}_{_plain(self.node)}_{self.type}"


def label_without_origin(type_name: str) -> Label:
    """The label in a consolidated file for a certificate of which only the type is known."""
    return Label("", "0" * _ID_DIGITS, "-", type_name, nodes=0)


def parse_label(friendly_name: str | None, sha256: str) -> Label | None:
    """The label in a friendly name; None if it is not ours, or of another certificate."""
    found = _LABEL.fullmatch(friendly_name or "")
    if found is None or not sha256.startswith(found["fingerprint"].lower()):
        return None
    name = _TYPES.get(found["type"].lower())
    if name is None:
        return None
    return Label(
        cluster=unquote(found["cluster"]),
        cluster_id=found["id"].lower(),
        node=unquote(found["node"]),
        type=name,
        nodes=int(found["nodes"]),
        consolidated=found["kind"].lower() == "all",
    )


def type_of_subject(subject: str) -> str | None:
    """The type that CUCM's form of a subject gives away, for CAPF and ITLRecovery only."""
    return next((name for form, name in _CUCM_SUBJECTS if form.search(subject)), None)


def cluster_id(itl_recovery_sha256: str) -> str:
    """What tells a cluster from another of the same name."""
    return itl_recovery_sha256[:_ID_DIGITS]


def consolidated_name(type_name: str) -> str:
    """The name of the consolidated file for one type."""
    return f"consolidated_{type_name}.p12"


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", text)
