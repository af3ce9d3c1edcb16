"""Role codes, trust-store names and certificate types: written down once for the whole house.

Codes 0, 2, 3, 4 and 21 are printed by CUCM and its phones (Cisco documents 118893, 118892 and
213407); 1 and 7 are names of the open tools (usecallmanagernz/certutils). 5, 6 and 8 to 20 are
unknown and are carried as numbers.
"""

from enum import IntEnum

from itl.errors import BuildError


class Role(IntEnum):
    """What a certificate in a list may be used for."""

    SAST = 0
    CCM = 1
    CCM_TFTP = 2
    TFTP = 3
    CAPF = 4
    APP_SERVER = 7
    TVS = 21


SIGNS_FILES = frozenset({Role.CCM_TFTP, Role.TFTP})
"""Roles whose certificate a phone accepts as the signer of a configuration file."""

_NAMES = {
    Role.SAST: "SAST",
    Role.CCM: "CCM",
    Role.CCM_TFTP: "CCM+TFTP",
    Role.TFTP: "TFTP",
    Role.CAPF: "CAPF",
    Role.APP_SERVER: "APP-SERVER",
    Role.TVS: "TVS",
}
_CODES = {name: role for role, name in _NAMES.items()}
_MAX_CODE = 0xFFFF
_DIGITS = len(str(_MAX_CODE))  # int() has a limit of its own, and no error of ours

CALLMANAGER_TRUST = "CallManager-trust"
PHONE_SAST_TRUST = "Phone-SAST-trust"
TOMCAT_TRUST = "tomcat-trust"
CAPF_TRUST = "CAPF-trust"
TVS_TRUST = "TVS-trust"
IPSEC_TRUST = "ipsec-trust"
PHONE_VPN_TRUST = "Phone-VPN-trust"
PHONE_CTL_TRUST = "Phone-CTL-trust"
PHONE_EDGE_TRUST = "Phone-Edge-trust"
TRUST_STORES = (
    CALLMANAGER_TRUST,
    PHONE_SAST_TRUST,
    TOMCAT_TRUST,
    CAPF_TRUST,
    TVS_TRUST,
    IPSEC_TRUST,
    PHONE_VPN_TRUST,
    PHONE_CTL_TRUST,
    PHONE_EDGE_TRUST,
)

CALLMANAGER = "CallManager"
CALLMANAGER_ECDSA = "CallManager-ECDSA"
TOMCAT = "tomcat"
TOMCAT_ECDSA = "tomcat-ECDSA"
CAPF = "CAPF"
ITLRECOVERY = "ITLRecovery"
TVS = "TVS"
CERTIFICATE_TYPES = (
    CALLMANAGER,
    CALLMANAGER_ECDSA,
    TOMCAT,
    TOMCAT_ECDSA,
    CAPF,
    ITLRECOVERY,
    TVS,
)


def role_name(code: int) -> str:
    """The short name of a role code; ``"role 9"`` for one that no public source names."""
    try:
        return _NAMES[Role(code)]
    except ValueError:
        return f"role {code}"


def parse_role(text: str) -> int:
    """The code for a role given by name (any case) or by number, 0 to 65535.

    Raises :class:`~itl.errors.BuildError`.
    """
    role = _CODES.get(text.upper())
    if role is not None:
        return int(role)
    if text.isascii() and text.isdecimal() and len(text) <= _DIGITS and int(text) <= _MAX_CODE:
        return int(text)
    raise BuildError(
        f"role {text!r}: give a number up to {_MAX_CODE} or one of {', '.join(_CODES)}"
    )
