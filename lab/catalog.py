"""The catalog of a node, from its settings: which phones, which lists beside its own."""

import ipaddress
import os
from pathlib import Path
from typing import TypedDict

from conf import ConfError
from conf.files import make_folder, read_regular
from conf.identity import load_signer
from conf.node import Node
from conf.settings import (
    SETTINGS_FILE,
    OfferSettings,
    PhoneSettings,
    Settings,
    TftpSettings,
)
from itl import ItlError
from itl.certificates import load_certificates
from itl.trustlist import parse_trust_list
from tftp import TftpError
from tftp.catalog import Catalog, Offer
from tftp.limits import Limits
from tftp.uploads import Uploads

UPLOADS = "uploads"  # where files sent to the node go
PHONES = "phones"


def node_catalog(node: Node, settings: Settings, *, keep: bool = True) -> Catalog:
    """Build it. Without ``keep`` nothing is written: no lists kept, no folder for uploads made.

    Raises :class:`~conf.ConfError`, ItlError or OSError.
    """
    state, tftp, phones = node.state, settings.tftp, settings.phones
    uploads, served = state / UPLOADS, tftp.uploads and tftp.serve_uploads
    if tftp.uploads:
        if os.path.lexists(uploads) and not uploads.is_dir():
            raise ConfError(f"{uploads}: is no folder, and tftp.uploads wants one")
        if keep:
            make_folder(uploads)
    try:
        return Catalog(
            node,
            root=state / "tftp",
            list_signer=load_signer(state, node.list_signer),
            file_signer=load_signer(state, "CallManager"),
            digest=settings.lists.digest,
            macs=phones.macs,
            loads={mac.upper(): load for mac, load in phones.loads.items()},
            template=state / phones.template if phones.template else None,
            rollback=settings.lists.rollback,
            offers=[_offer(entry, phones, state) for entry in settings.lists.offers],
            rules=tftp.rules,
            fold_case=tftp.fold_case,
            uploads=uploads if served and uploads.exists() else None,
            phone_certificates=_certificates(state / PHONES),
            signatures_per_address=tftp.signatures_per_address,
            keep=keep,
        )
    except TftpError as error:
        raise ConfError(f"{state / SETTINGS_FILE}: {error}") from None


def tftp_limits(chosen: TftpSettings) -> Limits:
    """The limits of the TFTP service."""
    return Limits(
        max_transfers=chosen.max_transfers,
        max_transfers_per_address=chosen.max_transfers_per_address,
        max_requests_per_second=chosen.max_requests_per_second,
        max_blksize=chosen.max_blksize,
        max_windowsize=chosen.max_windowsize,
    )


class TftpKeywords(TypedDict):
    """What of the settings :func:`~tftp.server.serve_tftp` takes for as long as it runs."""

    uploads: Uploads | None
    receive_buffer: int
    cache_bytes: int
    rollover: int


def tftp_keywords(state: Path, chosen: TftpSettings) -> TftpKeywords:
    """Keywords of the TFTP service of a node whose catalog is built. Raises OSError."""
    return {
        "uploads": Uploads(state / UPLOADS, max_bytes=chosen.max_upload_bytes)
        if chosen.uploads
        else None,
        "receive_buffer": chosen.receive_buffer,
        "cache_bytes": chosen.cache_bytes,
        "rollover": chosen.rollover,
    }


def _offer(entry: OfferSettings, phones: PhoneSettings, state: Path) -> Offer:
    of_models = {mac for mac, model in phones.models.items() if model in entry.models}
    try:
        networks = tuple(ipaddress.ip_network(text) for text in entry.addresses)
    except ValueError as error:
        raise ConfError(f"lists.offers: addresses: {error}") from None
    return Offer(
        macs=frozenset(mac.upper() for mac in {*entry.macs, *of_models}),
        networks=networks,
        itl=_list(state, entry.itl),
        ctl=_list(state, entry.ctl),
    )


def _list(state: Path, name: str) -> bytes | None:
    if not name:
        return None
    try:
        data = read_regular(state / "lists" / name)
        parse_trust_list(data)
    except OSError as error:
        raise ConfError(f"lists.offers: {name}: {error.strerror}") from None
    except ItlError as error:
        raise ConfError(f"lists.offers: {name}: {error}") from None
    return data


def _certificates(folder: Path) -> dict[str, bytes]:
    """Phones' certificates by MAC, from files called MAC.pem."""
    found = {}
    for path in folder.glob("*.pem"):
        try:
            found[path.stem.upper()] = load_certificates(read_regular(path))[0]
        except ItlError as error:
            raise ConfError(f"{path}: {error}") from None
    return found
