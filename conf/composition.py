"""Who stands in a node's trust lists, and in which role.

Roles as in Cisco's Preferred Architecture for Enterprise Collaboration, "CTL and ITL" (table 7-7),
and document 118893. The ITL is the node's own; the CTL is the cluster's and exists in mixed mode
only. What is built from this are the lists themselves, and what a renewal does to phones.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from conf.identity import TVS, TVS_ECDSA
from conf.node import Member, Node

RoleName: TypeAlias = Literal["SAST", "CCM+TFTP", "TFTP", "CAPF", "TVS"]


@dataclass(frozen=True)
class Entry:
    """One record of a list: a ``certificate`` (DER) of ``member``, None for a record without."""

    role: RoleName
    member: Member
    certificate: bytes | None


def itl_entries(node: Node, signer: bytes, *, rollback: bool) -> Iterator[Entry]:
    """The ITL of ``node``, which the certificate ``signer`` (DER) signs, record by record.

    ``rollback`` is CUCM's parameter "Prepare Cluster for Rollback to pre 8.0": the TFTP and TVS
    sections are empty. Their form, short records without a certificate, is assumed.
    """
    own = node.own
    callmanager = own.certificates["CallManager"]
    yield Entry("SAST", own, signer)
    if callmanager != signer and not rollback:
        yield Entry("SAST", own, callmanager)
    yield from _overlap(node)
    yield Entry("CCM+TFTP" if node.secure else "TFTP", own, None if rollback else callmanager)
    yield from _capf(node)
    for member in node.members:
        for certificate in tvs_certificates(member):
            yield Entry("TVS", member, None if rollback else certificate)


def ctl_entries(node: Node, signer: bytes) -> Iterator[Entry]:
    """The CTL of the cluster of ``node``, signed likewise, record by record."""
    yield Entry("SAST", node.own, signer)
    for member in node.members:
        yield Entry("CCM+TFTP", member, member.certificates["CallManager"])
    yield from _capf(node)
    recovery = node.own.certificates.get("ITLRecovery")
    if recovery is not None and recovery != signer:
        yield Entry("SAST", node.own, recovery)
    yield from _overlap(node)


def tvs_certificates(member: Member) -> list[bytes]:
    """What the TVS of ``member`` shows (DER): one of these to a client, by what it takes."""
    held = member.certificates
    return [held[name] for name in (TVS, TVS_ECDSA) if name in held]


def _overlap(node: Node) -> Iterator[Entry]:
    """While a signer is renewed, the next and the one before are SASTs too."""
    for certificate in node.overlap:
        yield Entry("SAST", node.own, certificate)


def _capf(node: Node) -> Iterator[Entry]:
    """CAPF runs on the publisher, the first node."""
    publisher = node.members[0]
    certificate = publisher.certificates.get("CAPF")
    if certificate is not None:
        yield Entry("CAPF", publisher, certificate)
