"""The certificates a TVS answers from: frozen in memory, found by fingerprint or as Cisco does.

A real server keys its cache by serial number and issuer text (Cisco document 213407, "Unique MAP
ID"); the fingerprint decides whether the octets are the same. Nothing here changes after it is
made: a changed store becomes a new snapshot.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import TypeVar

from itl.certificates import describe
from itl.names import MAX_NAME_CHARACTERS, name_attributes

_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class Entry:
    """One trusted certificate.

    ``der`` are the octets as received, ``sha256`` their fingerprint (lower-case hex), ``subject``
    and ``issuer`` the text CUCM prints (joined with ``;``), ``serial`` the unsigned octets,
    ``type`` what it is for ("CallManager", "CAPF", …; None: not known), ``stores`` the trust stores
    it lies in, ``source`` where it came from, in words.
    """

    der: bytes
    sha256: str
    subject: str
    issuer: str
    serial: bytes
    type: str | None
    stores: frozenset[str]
    source: str
    not_after: datetime


def entry_of(der: bytes, *, type: str | None, stores: Iterable[str], source: str) -> Entry:  # noqa: A002 - the field's name
    """Read ``der`` into an entry. Raises :class:`itl.certificates.CertificateError`."""
    certificate = describe(der)
    return Entry(
        der=der,
        sha256=certificate.sha256,
        subject=certificate.subject,
        issuer=certificate.issuer,
        serial=certificate.serial,
        type=type,
        stores=frozenset(stores),
        source=source,
        not_after=certificate.not_after,
    )


class Snapshot:
    """Frozen indexes over entries; the same certificate given twice is one, in all its stores.

    Of two entries with the same octets the first one's source and the first known type hold.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._by_sha256: dict[str, Entry] = {}
        for entry in entries:
            known = self._by_sha256.get(entry.sha256)
            self._by_sha256[entry.sha256] = _merged(known, entry) if known else entry
        self._by_serial = _indexed(self.entries(), lambda entry: _minimal(entry.serial))
        self._by_subject = _indexed(self.entries(), lambda entry: entry.subject)

    def __len__(self) -> int:
        """How many different certificates there are."""
        return len(self._by_sha256)

    def entries(self) -> Iterable[Entry]:
        """Every certificate, once."""
        return self._by_sha256.values()

    def same_octets(self, der: bytes) -> Entry | None:
        """The entry with exactly these octets."""
        return self._by_sha256.get(hashlib.sha256(der).hexdigest())

    def issued(self, issuer: str, serial: bytes) -> list[Entry]:
        """The entries with this issuer and serial number, first the one that came first.

        The issuer text must be equal, as for the real server; where nothing is, names are compared
        attribute by attribute, whatever their order, joiner and case (assumed to be harmless).
        """
        same_serial = self.with_serial(serial)
        exact = [entry for entry in same_serial if entry.issuer == issuer]
        if exact or not same_serial or len(issuer) > MAX_NAME_CHARACTERS:
            return exact
        asked = name_attributes(issuer)  # a stranger's text, which no cache may keep
        return [entry for entry in same_serial if _stored_names(entry.issuer) == asked]

    def with_serial(self, serial: bytes) -> list[Entry]:
        """The entries with this serial number, of whatever issuer."""
        return self._by_serial.get(_minimal(serial), [])

    def with_subject(self, subject: str) -> list[Entry]:
        """The entries with exactly this subject text."""
        return self._by_subject.get(subject, [])


def _merged(first: Entry, second: Entry) -> Entry:
    return replace(first, stores=first.stores | second.stores, type=first.type or second.type)


def _indexed(entries: Iterable[Entry], key: Callable[[Entry], _Key]) -> dict[_Key, list[Entry]]:
    """Entries by a key. Nearly every list has one entry, so none is given room to grow."""
    index: dict[_Key, list[Entry]] = {}
    for entry in entries:
        value = key(entry)
        if value in index:
            index[value].append(entry)
        else:
            index[value] = [entry]
    return index


def _minimal(serial: bytes) -> bytes:
    """The octets without leading zeros: DER puts one before a set top bit, CUCM does not."""
    return serial.lstrip(b"\0")


_stored_names = lru_cache(maxsize=4096)(name_attributes)
