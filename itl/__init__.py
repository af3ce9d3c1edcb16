"""First floor: the file formats (ITL, CTL, signed files): parse, build, sign, verify, show.

    import itl

    trust_list = itl.parse_trust_list(octets)
    verification = itl.verify(trust_list)
    for record in trust_list.records:
        print(itl.role_name(record.role), record.subject)

Octets go in, values and octets come out; nothing here opens a file or reads a clock, and only
:class:`ItlError` leaves it. The names below are all that most programs need; each stands in the
module that :data:`_HOMES` tells, where its neighbours are, and is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from itl.errors import BuildError, FormatError, ItlError

if TYPE_CHECKING:
    from itl.certificates import Certificate, describe, load_certificates
    from itl.difference import Comparison, compare
    from itl.encryption import decrypt_file, encrypt_file, pointer_file
    from itl.findings import Finding
    from itl.limits import check_build
    from itl.records import Record, RecordSpec
    from itl.roles import Role, parse_role, role_name
    from itl.show import show_text
    from itl.signedfile import (
        Kind,
        SignedFile,
        is_signed,
        parse_signed_file,
        recognise,
        sign_file,
    )
    from itl.signing import Verdict, Verification, verify, verify_data
    from itl.trustlist import TrustList, build_trust_list, parse_trust_list
    from itl.values import document_value

_HOMES = {
    "Certificate": "certificates",
    "describe": "certificates",
    "load_certificates": "certificates",
    "Comparison": "difference",
    "compare": "difference",
    "decrypt_file": "encryption",
    "encrypt_file": "encryption",
    "pointer_file": "encryption",
    "Finding": "findings",
    "check_build": "limits",
    "Record": "records",
    "RecordSpec": "records",
    "Role": "roles",
    "parse_role": "roles",
    "role_name": "roles",
    "show_text": "show",
    "Kind": "signedfile",
    "SignedFile": "signedfile",
    "is_signed": "signedfile",
    "parse_signed_file": "signedfile",
    "recognise": "signedfile",
    "sign_file": "signedfile",
    "Verdict": "signing",
    "Verification": "signing",
    "verify": "signing",
    "verify_data": "signing",
    "TrustList": "trustlist",
    "build_trust_list": "trustlist",
    "parse_trust_list": "trustlist",
    "document_value": "values",
}

__all__ = [
    "BuildError",
    "Certificate",
    "Comparison",
    "Finding",
    "FormatError",
    "ItlError",
    "Kind",
    "Record",
    "RecordSpec",
    "Role",
    "SignedFile",
    "TrustList",
    "Verdict",
    "Verification",
    "build_trust_list",
    "check_build",
    "compare",
    "decrypt_file",
    "describe",
    "document_value",
    "encrypt_file",
    "is_signed",
    "load_certificates",
    "parse_role",
    "parse_signed_file",
    "parse_trust_list",
    "pointer_file",
    "recognise",
    "role_name",
    "show_text",
    "sign_file",
    "verify",
    "verify_data",
]


def __getattr__(name: str) -> object:
    """Import what is used: a program that only catches ItlError need not load construct."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"itl.{home}"), name)
    globals()[name] = value
    return value
