"""What a phone takes from its configuration: TVS servers, CallManagers, files to fetch next.

Element names as on https://usecallmanager.nz and in configuration files people publish. The file
may be hostile even when it is signed: a document type (the door to entity bombs) is refused, names
that could not be file names are left out, and what is kept is bounded.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

from conf.addresses import address_text
from lab import LabError

MAX_MEMBERS = 5  # phones take up to five TVS servers and CallManagers: usecallmanager.nz
MAX_NAME = 128
DEFAULT_TVS_PORT = 2445

_TVS_MEMBER = ("TVS", "members", "member")
_CALL_MANAGER = ("callManagerGroup", "members", "member", "callManager", "processNodeName")
_SIGNED_FILES = {
    ("sipProfile", "dialTemplate"): "{}",
    ("softKeyFile",): "{}",
    ("featurePolicyFile",): "{}",
    ("networkLocaleInfo", "name"): "{}/g3-tones.xml",
}


class ConfigurationError(LabError):
    """A configuration that is no XML a phone could use; the text gives line and column."""


@dataclass(frozen=True, slots=True)
class TvsServer:
    """Where a TVS is asked: host name or address, and TCP port."""

    address: str
    port: int

    @property
    def where(self) -> str:
        """Both in one text."""
        return address_text(self.address, self.port)


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the phone uses of its configuration.

    ``tvs`` in the order of priority; ``load`` is the firmware's load list; ``files`` are the other
    files named, without ``.sgn``.
    """

    tvs: tuple[TvsServer, ...] = ()
    call_managers: tuple[str, ...] = ()
    load: str | None = None
    files: tuple[str, ...] = ()


def parse_configuration(data: bytes) -> Configuration:
    """Read the octets of a ``.cnf.xml``; raises :class:`ConfigurationError`."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(data, True)  # noqa: FBT003 - expat takes "final" by position only
    except (expat.ExpatError, ValueError, LookupError) as error:  # the last two: of an encoding
        raise ConfigurationError(f"configuration: {error}") from None
    return reader.result()


def _refuse_doctype(*_: object) -> None:
    raise ConfigurationError("configuration: a document type is not accepted")


@dataclass
class _Reader:
    """Collects while expat walks through the document."""

    path: list[str] = field(default_factory=list)
    priorities: list[int] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    member: dict[str, str] = field(default_factory=dict)
    tvs: list[tuple[int, TvsServer]] = field(default_factory=list)
    call_managers: list[tuple[int, str]] = field(default_factory=list)
    load: str | None = None
    files: list[str] = field(default_factory=list)

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self.path.append(name)
        self.words.clear()
        if name == "member":
            self.priorities.append(_number(attributes.get("priority", ""), 0))
            self.member = {}

    def text(self, data: str) -> None:
        self.words.append(data)

    def end(self, name: str) -> None:
        text = "".join(self.words).strip()
        self.words.clear()
        if self._ends(*_TVS_MEMBER):
            self._add_tvs()
        elif self._ends(*_TVS_MEMBER, name):
            self.member[name] = text
        elif self._ends(*_CALL_MANAGER) and text:
            self.call_managers.append((self.priorities[-1], text))
        elif len(self.path) == 2 and name == "loadInformation" and _file_name(text):  # noqa: PLR2004 - a child of the root
            self.load = f"{text}.loads"
        elif _file_name(text):
            self.files += [
                form.format(text) for tail, form in _SIGNED_FILES.items() if self._ends(*tail)
            ]
        if name == "member":
            self.priorities.pop()
        self.path.pop()

    def result(self) -> Configuration:
        return Configuration(
            tvs=tuple(server for _, server in sorted(self.tvs, key=_priority)[:MAX_MEMBERS]),
            call_managers=tuple(
                name for _, name in sorted(self.call_managers, key=_priority)[:MAX_MEMBERS]
            ),
            load=self.load,
            files=tuple(dict.fromkeys(self.files)),
        )

    def _ends(self, *tail: str) -> bool:
        return tuple(self.path[-len(tail) :]) == tail

    def _add_tvs(self) -> None:
        address = self.member.get("address", "")
        port = _number(self.member.get("port", ""), DEFAULT_TVS_PORT)
        if address and len(address) <= MAX_NAME and 0 < port < 1 << 16:
            self.tvs.append((self.priorities[-1], TvsServer(address, port)))


def _priority(item: tuple[int, object]) -> int:
    return item[0]


def _number(text: str, default: int) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,5}", text) else default


def _file_name(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME and text.isascii() and text.isprintable()
