"""Which certificates of the trust store a command means."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cyclopts import Parameter

from conf import ConfError
from itl import ItlError
from itl.roles import parse_role
from tvs import TvsError
from tvs.answers import AnswerPolicy
from tvs.snapshot import Entry
from tvs.store import TrustStore


class NotHeldError(TvsError):
    """No certificate of the store is meant, or more than one."""

    exit_code = 1


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which certificates of the store.

    Parameters
    ----------
    store:
        In this trust store.
    type:
        Of this type.
    role:
        With this role, by name or number, as TVS answers it.
    cluster:
        From this cluster, as its bundle said.
    node:
        From this node, as its bundle said.
    expires_within:
        Expired, or to expire within so many days.
    """

    store: str | None = None
    type: str | None = None
    role: str | None = None
    cluster: str | None = None
    node: str | None = None
    expires_within: int | None = None

    def of(self, opened: TrustStore, policy: AnswerPolicy) -> list[Entry]:
        """The certificates of the store that are meant."""
        origins = opened.origins() if self.cluster or self.node else {}
        role = _role(self.role) if self.role is not None else None
        until = (
            None
            if self.expires_within is None
            else datetime.now(UTC) + timedelta(days=self.expires_within)
        )
        return [
            entry
            for entry in opened.entries()
            if (self.store is None or self.store in entry.stores)
            and (self.type is None or self.type == entry.type)
            and (role is None or role in policy.roles_of(entry))
            and (self.cluster is None or self.cluster == origins[entry.sha256][0])
            and (self.node is None or self.node == origins[entry.sha256][1])
            and (until is None or entry.not_after < until)
        ]


EVERYTHING = Selection()


def held(opened: TrustStore, fingerprint: str) -> Entry:
    """The one certificate whose SHA-256 begins so; also one that was removed.

    Raises :class:`NotHeldError`.
    """
    prefix = fingerprint.replace(":", "").lower()
    if not re.fullmatch("[0-9a-f]{1,64}", prefix):
        raise ConfError(f"{fingerprint!r}: not the beginning of a SHA-256 fingerprint")
    found = opened.ever_held(prefix)
    if len(found) != 1:
        many = f"{len(found)} certificates begin with it" if found else "no such certificate"
        raise NotHeldError(f"{fingerprint}: {many}")
    return found[0]


def _role(text: str) -> int:
    try:
        return parse_role(text)
    except ItlError as error:
        raise ConfError(f"--role: {error}") from None
