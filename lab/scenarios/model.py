"""A scenario: which faults a phone meets at which of its boots, and what it must do then.

A small TOML file. Boots are counted for each phone from its first request for ``CTLSEP<MAC>.tlv``
to a running daemon. What a phone believes shows in what it asks for: every configuration served
names a firmware load of ours, so a phone that asks for ``trustlab-good.loads`` has taken a
configuration it should take, and one that asks for ``trustlab-evil.loads`` one it should not.
"""

import re
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

import msgspec

from conf.files import read_regular
from lab import LabError

MAX_FILE = 65_536
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

Boots: TypeAlias = tuple[int, ...]


class ScenarioError(LabError):
    """A scenario that cannot be read or played; the text names the file and what is wrong."""

    exit_code = 2


class _Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="on"):
    """What all faults have: the boots they happen at, and for whom (MACs or addresses; all)."""

    boots: Boots
    phones: tuple[str, ...] = ()


class ListFault(_Fault, frozen=True, kw_only=True, tag="list"):
    """Another ITL or CTL than the true one.

    All lists made here but "rollback" also name the stranger as TFTP and as TVS: a phone that
    installs one takes the stranger's configuration afterwards.
    """

    what: Literal[
        "bit in record",
        "bit in header",
        "bit in signature",
        "stranger",
        "expired",
        "truncated",
        "oversized",
        "wrong name",
        "sha512",
        "blank",
        "rollback",
        "missing",
        "silence",
    ]
    file: Literal["ITL", "CTL"] = "ITL"


class ConfigurationFault(_Fault, frozen=True, kw_only=True, tag="configuration"):
    """Another configuration than the true one; ``names`` is the load it names.

    ``tvs`` are the TVS servers that it names in their order: "self" is this daemon, "dead" a port
    where nobody listens. Without ``what`` it is signed as it should be.
    """

    what: Literal[
        "true", "unsigned", "stranger", "wrong name", "altered", "truncated", "missing"
    ] = "true"
    names: Literal["good", "evil"] = "evil"
    tvs: tuple[Literal["self", "dead"], ...] = ()


class TransferFault(_Fault, frozen=True, kw_only=True, tag="transfer"):
    """A network that does what networks do, and worse, with DATA packets sent to the phone.

    ``files`` is a pattern of names. Every ``every``-th packet is lost, sent twice, preceded by
    an old one, ``seconds`` late, or preceded by an ERROR from another port; "stop" is silence after
    ``after_blocks``.
    """

    what: Literal["lose", "repeat", "reorder", "delay", "stop", "stray port"]
    files: str = "*"
    every: int = 3
    after_blocks: int = 2
    seconds: float = 0.2


class TvsFault(_Fault, frozen=True, kw_only=True, tag="tvs"):
    """A TVS that answers otherwise than it should, or shows another certificate.

    "yes" vouches for the stranger, with ``roles``.
    """

    answer: Literal[
        "true",
        "yes",
        "no",
        "other session",
        "other certificate",
        "no certificate",
        "close",
        "half",
        "stall",
    ] = "true"
    roles: tuple[int, ...] = (0, 3)
    shows: Literal["own", "stranger"] = "own"


Fault: TypeAlias = ListFault | ConfigurationFault | TransferFault | TvsFault


class Expectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing a phone must do, or not do, at one of its boots; exactly one key beside the others.

    ``asks`` is a pattern of file names ({device} is the phone's), ``asks_tvs`` whom it asks about:
    "stranger", "expired" or "anyone"; ``takes`` which configuration. Those that must be are met in
    their order. ``within_seconds`` counts from the boot's first request.
    """

    KINDS: ClassVar[tuple[str, ...]] = (
        "asks",
        "asks_tvs",
        "takes",
        "must_not_ask",
        "must_not_ask_tvs",
        "must_not_take",
    )

    boot: int
    asks: str | None = None
    asks_tvs: Literal["stranger", "expired", "anyone"] | None = None
    takes: Literal["good", "evil"] | None = None
    must_not_ask: str | None = None
    must_not_ask_tvs: Literal["stranger", "expired", "anyone"] | None = None
    must_not_take: Literal["good", "evil"] | None = None
    within_seconds: float = 60.0
    standing: Literal["required", "assumed"] = "required"

    def __post_init__(self) -> None:
        """Raises ValueError unless exactly one kind is given."""
        given = [kind for kind in self.KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"an expectation has one of {', '.join(self.KINDS)}")

    @property
    def kind(self) -> str:
        """Which kind it is."""
        return next(kind for kind in self.KINDS if getattr(self, kind) is not None)

    @property
    def value(self) -> str:
        """The value of that kind."""
        return str(getattr(self, self.kind))

    @property
    def text(self) -> str:
        """The expectation in words."""
        return f"boot {self.boot}: {self.kind.replace('_', ' ')} {self.value}"


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole scenario; ``model`` is a phone it matters for, ``secure`` whether it needs a CTL."""

    name: str
    title: str
    why: str
    source: str
    expect: tuple[Expectation, ...]
    fault: tuple[Fault, ...] = ()
    model: str = "8861"
    secure: bool = False

    @property
    def boots(self) -> int:
        """How many boots it takes."""
        told = [number for fault in self.fault for number in fault.boots]
        return max([1, *told, *(expectation.boot for expectation in self.expect)])


def parse_scenario(data: bytes, where: str) -> Scenario:
    """Read a scenario. Raises :class:`ScenarioError` naming ``where`` and the key."""
    if len(data) > MAX_FILE:
        raise ScenarioError(f"{where}: more than {MAX_FILE} octets")
    try:
        read = msgspec.convert(tomllib.loads(data.decode()), Scenario)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ScenarioError(f"{where}: no TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{where}: {error}") from None
    if not _NAME.fullmatch(read.name):
        raise ScenarioError(f"{where}: name: lower-case words joined by hyphens expected")
    if any(number < 1 for fault in read.fault for number in fault.boots):
        raise ScenarioError(f"{where}: fault.boots: boots are counted from 1")
    if not read.expect:
        raise ScenarioError(f"{where}: expect: a scenario without expectation shows nothing")
    return read


def shipped() -> Iterator[Scenario]:
    """The catalogue, by name."""
    folder = files("lab.scenarios") / "catalog"
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".toml"):
            yield parse_scenario(entry.read_bytes(), entry.name)


def find_scenario(text: str) -> Scenario:
    """The scenario of that name in the catalogue, or in that file."""
    if text.endswith(".toml"):
        path = Path(text)
        try:
            return parse_scenario(read_regular(path), text)
        except OSError as error:
            raise ScenarioError(f"{text}: {error.strerror}") from None
    for scenario in shipped():
        if scenario.name == text:
            return scenario
    raise ScenarioError(f"no scenario is called {text}; `trustlab scenario list` shows them")
