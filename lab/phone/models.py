"""What phone models can do, as far as public documents say; the rest is assumed and marked so.

Sources: Security Guide for Unified CM, chapters Phone Security (signature algorithms) and TLS
(versions); https://usecallmanager.nz (HTTP before TFTP). Which models ask for an extended ITL is
known for one 8845 only; that all of 7800 and 8800 do is assumed.
"""

import re
from dataclasses import dataclass

from itl.limits import SHA1_ONLY
from lab.endpoint import UsageError
from tvs.tls import ClientProfile

HTTP_PORT = 6970


@dataclass(frozen=True, slots=True)
class Model:
    """The abilities that decide what a phone asks for and what it can believe."""

    name: str
    digests: frozenset[str]
    tls_profile: ClientProfile
    http_first: bool
    extended_itl: bool

    @property
    def old_tls(self) -> bool:
        """Whether it speaks TLS 1.0 and nothing newer."""
        return self.tls_profile == "tls1.0"


_OLD_TLS = re.compile(r"(79|69|89|99|39)\d\d")
_CURRENT = re.compile(r"(78|88)\d\d")


def model(name: str) -> Model:
    """The model ``name`` (four digits, letters around them allowed: "8861", "CP-7945G").

    Raises UsageError for a name without four digits.
    """
    found = re.search(r"\d{4}", name)
    if found is None:
        raise UsageError(f"phone model {name!r}: four digits expected, as in 8861 or CP-7945G")
    digits = found[0]
    return Model(
        name=digits,
        digests=frozenset({"sha1"} if f"{digits[:2]}00" in SHA1_ONLY else {"sha1", "sha512"}),
        tls_profile="tls1.0" if _OLD_TLS.match(digits) else "legacy",
        http_first=bool(_CURRENT.match(digits)),
        extended_itl=bool(_CURRENT.match(digits)),
    )
