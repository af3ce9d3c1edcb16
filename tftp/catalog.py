"""What CUCM's TFTP does with a name: lists, signed files, configurations, files of the root."""

import ipaddress
import re
import time
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from conf.node import Node
from conf.signer import Signer
from itl import ItlError
from itl.encryption import encrypt_file
from itl.signedfile import is_signed, sign_file
from itl.trustlist import CTL_FILENAME, ITL_FILENAME, parse_trust_list
from tftp import TftpError
from tftp.configuration import PHONE_FILE, PhoneConfigurations
from tftp.content import NOT_FOUND, Answer, Content, ErrorReply, Later, Octets, octets_of, whole
from tftp.lists import Lists, build_lists
from tftp.packets import ErrorCode
from tftp.root import Root, split
from tftp.signatures import PER_ADDRESS, SignedFiles

PREPARED_PHONES = 64  # configurations signed before they are asked for, a millisecond each
MAX_SIGNED_BYTES = 32 * 1024 * 1024
_LIST = re.compile(r"(CTL|ITL)(?:File|SEP([0-9A-Fa-f]{12}))\.tlv")
_EXTENDED_ITL = re.compile(r"ext_ITLSEP[0-9A-Fa-f]{12}\.tlv")
_EXPECTED_MISS = ErrorReply(ErrorCode.NOT_FOUND, "file not found", expected=True)
_TOO_LARGE = ErrorReply(ErrorCode.UNDEFINED, f"above {MAX_SIGNED_BYTES} octets: not signed")
SIGNED_SUFFIXES = {".sgn": None, ".sha512": "sha512"}


class CatalogError(TftpError):
    """A catalog that cannot be built from what it was given."""


@dataclass(frozen=True)
class Offer:
    """Other lists for some phones: those with these MACs (upper case), or in these networks.

    ``itl`` and ``ctl`` are lists as octets, each None for "not found".
    """

    macs: frozenset[str]
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    itl: bytes | None
    ctl: bytes | None


class Catalog:
    """Finds content for names, for one state of a node; a changed node gets a new catalog.

    ``root`` is the folder of files, ``list_signer`` signs ITL and CTL and ``file_signer`` (the
    CallManager of this node) other files, with ``digest`` "sha1" or "sha512". ``macs`` are the
    phones that get a rendered configuration, ``loads`` their firmware by MAC, ``template`` a Jinja2
    file in place of the one shipped. ``rollback`` empties the ITL. ``offers`` are other lists for
    some phones, first match first. ``rules`` are pairs of a regular expression for a whole name and
    the name to look up instead in the root. ``fold_case`` finds names in another case. ``uploads``
    is a folder whose files are served as they are where there is nothing else of that name, and
    never signed. ``phone_certificates`` (DER by MAC, upper case) are those of phones that may have
    their configuration encrypted. ``keep`` the lists in ``DIR/lists`` for the next time; who only
    looks at a node writes nothing.

    Raises :class:`CatalogError`, :class:`~itl.ItlError` or OSError; a caller keeps the old one
    then.
    """

    def __init__(
        self,
        node: Node,
        *,
        root: Path,
        list_signer: Signer,
        file_signer: Signer,
        digest: str = "sha1",
        macs: Collection[str] = (),
        loads: Mapping[str, str] | None = None,
        template: Path | None = None,
        rollback: bool = False,
        offers: Sequence[Offer] = (),
        rules: Sequence[tuple[str, str]] = (),
        fold_case: bool = False,
        uploads: Path | None = None,
        phone_certificates: Mapping[str, bytes] | None = None,
        signatures_per_address: int = PER_ADDRESS,
        keep: bool = True,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._node = node
        self._file_signer = file_signer
        self._digest = digest
        self._root = Root(root, fold_case=fold_case)
        self._phone_certificates = dict(phone_certificates or {})
        self._uploads = Root(uploads) if uploads else None
        self._offers = tuple(offers)
        self._rules = [_rule(pattern, path) for pattern, path in rules]
        self._configurations = PhoneConfigurations(
            node,
            {mac.upper(): (loads or {}).get(mac.upper(), "") for mac in macs},
            template=template,
            modified=int(now()),
        )
        self._signed = SignedFiles(clock=time.monotonic, per_address=signatures_per_address)
        self._lists: Lists = build_lists(
            node,
            list_signer,
            digest=digest,
            rollback=rollback,
            folder=node.state / "lists",
            keep=keep,
            now=now,
        )
        self._prepare(macs)

    def lists(self) -> dict[str, bytes]:
        """The lists in force, by file name."""
        built = {ITL_FILENAME: self._lists.itl, CTL_FILENAME: self._lists.ctl}
        return {name: content.data for name, content in built.items() if content is not None}

    def _prepare(self, macs: Collection[str]) -> None:
        """Sign what is sure to be asked for before it is."""
        for mac in sorted(macs)[:PREPARED_PHONES]:
            found = self.find(f"SEP{mac.upper()}.cnf.xml.sgn", "")
            if isinstance(found, Later):
                with suppress(TftpError, OSError):  # the phone that asks will be told
                    found.make()

    def ctl_certificates(self) -> list[bytes]:
        """The certificates (DER) of the CTL's records, for the snapshot TVS answers from."""
        if self._lists.ctl is None:
            return []
        records = parse_trust_list(self._lists.ctl.data).records
        return [record.certificate for record in records if record.certificate is not None]

    def find(self, name: str, peer: str, *, unsigned: bool = False) -> Answer:
        """What a phone at the address ``peer`` gets for ``name``.

        ``unsigned`` answers a ``.sgn`` name with the file itself, as phones want it over HTTPS.
        """
        parts = split(name)
        if parts is None:
            return ErrorReply(ErrorCode.ACCESS_VIOLATION, "names that leave the root are refused")
        plain = "/".join(parts)
        found = self._list(plain, peer)
        if found is not None:
            return found
        if unsigned and plain.endswith(".sgn"):
            body = self._file(plain.removesuffix(".sgn"))
            if not _missing(body):
                return body
        answer: Answer = self._file(plain)
        if _missing(answer):
            answer = self._made(plain, peer)
        if _missing(answer) and self._uploads is not None and not plain.startswith("."):
            # last of all: who may upload must not take the place of anything that is ours
            uploaded = self._uploads.open(plain)
            return answer if _missing(uploaded) else uploaded
        return answer

    def _made(self, plain: str, peer: str) -> Answer:
        """What has to be made for a name that is no file."""
        if plain.endswith(".enc.sgn"):
            return self._encrypt(plain, peer)
        for suffix, digest in SIGNED_SUFFIXES.items():
            if plain.endswith(suffix):
                return self._sign(plain, plain.removesuffix(suffix), peer, digest or self._digest)
        return _EXPECTED_MISS if _EXTENDED_ITL.fullmatch(plain) else NOT_FOUND

    def _list(self, name: str, peer: str) -> Content | ErrorReply | None:
        """The list that ``name`` stands for; None if it is no list, or none that is built here."""
        found = _LIST.fullmatch(name)
        if found is None:
            return None
        kind, mac = found[1], (found[2] or "").upper()
        offer = self._offer(mac, peer)
        if offer is not None:
            data = offer.itl if kind == "ITL" else offer.ctl
            return _EXPECTED_MISS if data is None else octets_of(data)
        built = self._lists.itl if kind == "ITL" else self._lists.ctl
        if built is not None:
            return built
        placed = self._root.open(name)
        return placed if not isinstance(placed, ErrorReply) else _EXPECTED_MISS

    def _offer(self, mac: str, peer: str) -> Offer | None:
        if not self._offers:
            return None
        address = _address(peer)
        for offer in self._offers:
            if mac in offer.macs or any(address in network for network in offer.networks):
                return offer
        return None

    def _file(self, name: str) -> Content | ErrorReply:
        """A file of the root, or a configuration rendered: what may be signed."""
        for pattern, path in self._rules:
            matched = pattern.fullmatch(name)
            if matched is not None:
                name = matched.expand(path)
                break
        content = self._root.open(name)
        rendered = self._configurations.find(name) if _missing(content) else None
        return content if rendered is None else rendered

    def _sign(self, name: str, file: str, peer: str, digest: str) -> Answer:
        """``file`` signed under the name asked for; one that Cisco signed goes out as it is."""

        def sign(payload: bytes, modified: int) -> bytes:
            if is_signed(payload):
                return payload
            return sign_file(
                payload, name=name, signer=self._file_signer, timestamp=modified, digest=digest
            )

        return self._form(name, file, peer, digest, sign)

    def _encrypt(self, name: str, peer: str) -> Answer:
        """A phone's configuration encrypted for it and signed, if its certificate is known."""
        file = name.removesuffix(".enc.sgn")
        found = PHONE_FILE.fullmatch(file)
        certificate = self._phone_certificates.get(found[1].upper()) if found else None
        if certificate is None:
            return _EXPECTED_MISS

        def encrypt(payload: bytes, modified: int) -> bytes:
            return encrypt_file(
                payload,
                name=name,
                phone_certificate=certificate,
                signer=self._file_signer,
                timestamp=modified,
                digest=self._digest,
            )

        return self._form(name, file, peer, certificate, encrypt)

    def _form(
        self, name: str, file: str, peer: str, how: Hashable, form: Callable[[bytes, int], bytes]
    ) -> Answer:
        """``file`` as ``form`` makes it, given its octets and when it was modified.

        Made once for each ``name``, content of the file, and ``how``.
        """
        base = self._file(file)
        if isinstance(base, ErrorReply):
            return base
        if base.size > MAX_SIGNED_BYTES:
            base.close()
            return _TOO_LARGE

        def make() -> Octets | ErrorReply:
            try:
                return octets_of(form(whole(base), base.modified), base.modified)
            except ItlError as error:
                return ErrorReply(ErrorCode.UNDEFINED, f"cannot be signed: {error}")

        found = self._signed.find((name, base.key, how), peer, make)
        if not isinstance(found, Later):
            base.close()
        return found


def _rule(pattern: str, path: str) -> tuple[re.Pattern[str], str]:
    try:
        compiled = re.compile(pattern)
        compiled.sub(path, "")  # for the error of a group that the pattern has not
    except re.error as error:
        raise CatalogError(f"rule {pattern!r}, {path!r}: {error}") from None
    return compiled, path


def _missing(answer: Answer) -> bool:
    return isinstance(answer, ErrorReply) and answer.code is ErrorCode.NOT_FOUND


def _address(peer: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address in ``peer``; IPv4 where a socket for both families has it inside IPv6."""
    address = ipaddress.ip_address(peer.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
