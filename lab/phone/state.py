"""A phone on disk: what survives its reset.

A folder holds ``phone.json`` (MAC, model, TVS servers and their answers), the lists as
``CTLFile.tlv`` and ``ITLFile.tlv``, and the last good configuration. What has no file is not held:
deleting a file by hand is what deleting a list in the phone's menu is.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec

from conf.files import write_whole
from itl import ItlError
from itl.trustlist import CTL_FILENAME, ITL_FILENAME, parse_trust_list
from lab import LabError
from lab.endpoint import UsageError
from lab.phone.cache import CachedAnswer
from lab.phone.configuration import TvsServer
from lab.phone.models import Model, model
from lab.phone.trust import Answer, Held

STATE_FILE = "phone.json"
DEFAULT_MAC = "00005E005301"  # RFC 7042 section 2.1.2: set aside for documentation
DEFAULT_MODEL = "8861"


@dataclass
class Phone:
    """One phone: who it is, and the octets it holds.

    ``tvs`` are the servers that its last good configuration named, in their order.
    """

    mac: str
    model: Model
    ctl: bytes | None = None
    itl: bytes | None = None
    configuration: bytes | None = None
    tvs: tuple[TvsServer, ...] = ()
    cache: tuple[CachedAnswer, ...] = field(default=())

    @property
    def name(self) -> str:
        """``SEP`` and the MAC."""
        return f"SEP{self.mac}"

    @property
    def device(self) -> str:
        """The name a phone gives itself to TVS, as in the trace of Cisco document 213407."""
        return f"CP-{self.model.name}-{self.name}"

    def held(self) -> Held:
        """The lists held, parsed, and what the model can check."""
        return Held(
            ctl=None if self.ctl is None else parse_trust_list(self.ctl),
            itl=None if self.itl is None else parse_trust_list(self.itl),
            digests=self.model.digests,
        )


class _Entry(msgspec.Struct, frozen=True):
    issuer: str
    serial: bytes
    expires: Annotated[datetime, msgspec.Meta(tz=True)]  # it is compared with a time that has one
    server_certificate: bytes
    certificate: bytes | None
    roles: tuple[int, ...]


class _Record(msgspec.Struct, frozen=True):
    mac: str
    model: str
    tvs: tuple[TvsServer, ...] = ()
    tvs_cache: tuple[_Entry, ...] = ()


def parse_mac(text: str) -> str:
    """Twelve upper-case hexadecimal digits from a MAC written in any of the usual ways."""
    digits = re.sub(r"[-:. ]", "", text.upper().removeprefix("SEP"))
    if not re.fullmatch(r"[0-9A-F]{12}", digits):
        raise UsageError(f"MAC {text!r}: twelve hexadecimal digits expected")
    return digits


def following_mac(mac: str, number: int) -> str:
    """The MAC ``number`` after ``mac``, in the same vendor's range of 2**24."""
    return f"{mac[:6]}{(int(mac[6:], 16) + number) % (1 << 24):06X}"


def load_phone(folder: Path, *, mac: str | None = None, model_name: str | None = None) -> Phone:
    """The phone kept in ``folder``, or a new one; the other arguments overrule what is kept.

    Raises LabError for a folder whose files no phone could have written.
    """
    record = _read_record(folder / STATE_FILE)
    mac = parse_mac(mac or record.mac)
    return Phone(
        mac=mac,
        model=model(model_name or record.model),
        ctl=_read_list(folder / CTL_FILENAME),
        itl=_read_list(folder / ITL_FILENAME),
        configuration=_read(folder / f"SEP{mac}.cnf.xml"),
        tvs=record.tvs,
        cache=tuple(_cached(entry) for entry in record.tvs_cache),
    )


def save_phone(folder: Path, phone: Phone) -> None:
    """Write ``phone`` under ``folder``, every file whole; a file the phone no longer holds goes."""
    folder.mkdir(parents=True, exist_ok=True)
    octets = {
        CTL_FILENAME: phone.ctl,
        ITL_FILENAME: phone.itl,
        f"{phone.name}.cnf.xml": phone.configuration,
        STATE_FILE: msgspec.json.format(msgspec.json.encode(_record(phone)), indent=2),
    }
    for name, data in octets.items():
        path = folder / name
        if data is None:
            path.unlink(missing_ok=True)
        elif _read(path) != data:
            write_whole(path, data)


def factory_reset(folder: Path) -> None:
    """Forget everything: the next boot is a new phone's."""
    for pattern in (CTL_FILENAME, ITL_FILENAME, "SEP*.cnf.xml", STATE_FILE):
        for path in folder.glob(pattern):
            path.unlink()


def _record(phone: Phone) -> _Record:
    return _Record(
        mac=phone.mac,
        model=phone.model.name,
        tvs=phone.tvs,
        tvs_cache=tuple(
            _Entry(
                issuer=entry.issuer,
                serial=entry.serial,
                expires=entry.expires,
                server_certificate=entry.answer.server_certificate,
                certificate=entry.answer.certificate,
                roles=entry.answer.roles,
            )
            for entry in phone.cache
        ),
    )


def _cached(entry: _Entry) -> CachedAnswer:
    answer = Answer(
        server_certificate=entry.server_certificate,
        status=0,
        roles=entry.roles,
        certificate=entry.certificate,
    )
    return CachedAnswer(answer, entry.issuer, entry.serial, entry.expires)


def _read_record(path: Path) -> _Record:
    data = _read(path)
    if data is None:
        return _Record(DEFAULT_MAC, DEFAULT_MODEL)
    try:
        return msgspec.json.decode(data, type=_Record)
    except msgspec.DecodeError as error:
        raise LabError(f"{path}: {error}") from None


def _read_list(path: Path) -> bytes | None:
    data = _read(path)
    try:
        if data is not None:
            parse_trust_list(data)
    except ItlError as error:
        raise LabError(f"{path}: {error}; delete the file to delete the list") from None
    return data


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
