"""Another cluster's identities, made once for a node: whoever signs what a phone must not take."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from conf.files import make_folder, write_whole
from conf.identity import TlsIdentity, as_signer, encode_identity, read_identity
from conf.selfsigned import self_signed
from conf.signer import Signer

FOLDER = "scenario"
HOST = "stranger"
KEY_BITS = 2048
LONG_AGO = timedelta(days=365 * 40)  # beyond the longest validity an identity is made with


@dataclass(frozen=True)
class Stranger:
    """Keys and certificates; ``expired`` signs lists like ``recovery`` but is out of date."""

    recovery: Signer
    callmanager: Signer
    expired: Signer
    tvs: TlsIdentity


def stranger_of(state: Path) -> Stranger:
    """The stranger of the node ``state``, from ``DIR/scenario``; made on first use."""
    folder = state / FOLDER
    make_folder(folder)
    return Stranger(
        recovery=_signer(folder, "ITLRecovery", "recovery"),
        callmanager=_signer(folder, "CallManager", "callmanager"),
        expired=_signer(folder, "ITLRecovery", "expired", datetime.now(UTC) - LONG_AGO),
        tvs=_identity(folder, "TVS", "tvs"),
    )


def _signer(folder: Path, kind: str, name: str, begin: datetime | None = None) -> Signer:
    return as_signer(_identity(folder, kind, name, begin), folder / f"{name}.pem")


def _identity(folder: Path, kind: str, name: str, begin: datetime | None = None) -> TlsIdentity:
    path = folder / f"{name}.pem"
    if not path.exists():
        key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
        made = self_signed(kind, f"{HOST}-{name}", key, begin=begin)
        write_whole(path, encode_identity(made))
    return read_identity(path)
