"""Is a certificate trusted through a CA in the store, and if not, why: pyOpenSSL's X509Store.

OpenSSL, unlike stricter verifiers, takes what phones' clusters still hold: SHA-1 signatures,
version 1 certificates, certificates without extensions.
"""

from dataclasses import dataclass
from datetime import datetime

from OpenSSL import crypto

from tvs.snapshot import Entry, Snapshot

MAX_DEPTH = 8  # certificates between the asked one and a self-signed CA
MAX_CANDIDATES = 32  # CAs of one name that are tried

_NO_CHECK_TIME = 0x20_0000  # X509_V_FLAG_NO_CHECK_TIME, which pyOpenSSL does not name


@dataclass(frozen=True, slots=True)
class ChainResult:
    """``anchor``: the CA in the snapshot that vouches, or None; ``reason`` in words."""

    anchor: Entry | None
    reason: str


def certificate_authority_of(
    der: bytes, issuer: str, snapshot: Snapshot, now: datetime | None
) -> ChainResult:
    """Look for the CA in ``snapshot`` under which ``der`` (issued by ``issuer``) verifies.

    ``now`` (aware) is the time at which all must be valid; None leaves validity unchecked. CAPF
    certificates vouch for phones, not for services, and do not count.
    """
    candidates = _authorities(issuer, snapshot)
    if not candidates:
        return ChainResult(None, f"no CA with the name {issuer} is in a store")
    store = crypto.X509Store()
    for entry in candidates:
        store.add_cert(crypto.load_certificate(crypto.FILETYPE_ASN1, entry.der))
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN | (0 if now else _NO_CHECK_TIME))
    if now:
        store.set_time(now)
    try:
        leaf = crypto.load_certificate(crypto.FILETYPE_ASN1, der)
        chain = crypto.X509StoreContext(store, leaf).get_verified_chain()
    except crypto.X509StoreContextError as error:
        return ChainResult(None, f"its CA is in a store, but: {error}")
    except crypto.Error:
        return ChainResult(None, "OpenSSL cannot read it")
    anchor_der = crypto.dump_certificate(crypto.FILETYPE_ASN1, chain[1])
    anchor = snapshot.same_octets(anchor_der)
    if anchor is None:
        return ChainResult(None, "its CA is in a store, but in another encoding")
    return ChainResult(anchor, f"issued by {anchor.subject}, a CA in {', '.join(anchor.stores)}")


def _authorities(issuer: str, snapshot: Snapshot) -> list[Entry]:
    """The entries that may stand above a certificate of ``issuer``, up to a self-signed one."""
    found: dict[str, Entry] = {}
    wanted = [issuer]
    for _ in range(MAX_DEPTH):
        above = {
            entry.sha256: entry
            for name in wanted
            for entry in snapshot.with_subject(name)[:MAX_CANDIDATES]
            if entry.type != "CAPF" and entry.sha256 not in found
        }
        if not above or len(found) + len(above) > MAX_CANDIDATES:
            break
        found |= above
        wanted = [entry.issuer for entry in above.values() if entry.issuer != entry.subject]
    return list(found.values())
