"""Source and destination of a move: live servers or files, and what was got from them."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import trio

from conf.settings import load_settings
from itl import ItlError
from itl.signedfile import parse_signed_file
from itl.trustlist import CTL_FILENAME, ITL_FILENAME, TrustList, parse_trust_list
from lab import LabError
from lab.endpoint import UsageError, parse_endpoint
from lab.phone.configuration import (
    DEFAULT_TVS_PORT,
    Configuration,
    ConfigurationError,
    TvsServer,
    parse_configuration,
)
from lab.phone.fetch import FileServer, Transfer, fetch
from lab.plane import read_standing
from lab.preflight.bundles import Bundles, Import, plan_imports
from tftp.content import ErrorReply, Later, whole
from tvs.answers import AnswerPolicy
from tvs.snapshot import Entry, Snapshot
from tvs.store import STORE_FILE, TrustStore

TFTP_PORT = 69
KEYS = ("tftp", "tvs", "list", "bundles", "state")


@dataclass(frozen=True)
class Place:
    """What ``--source`` or ``--destination`` names; TFTP nodes and TVS servers in their order."""

    tftp: tuple[tuple[str, int], ...] = ()
    tvs: tuple[TvsServer, ...] = ()
    lists: tuple[Path, ...] = ()
    bundles: tuple[Path, ...] = ()
    states: tuple[Path, ...] = ()


@dataclass(frozen=True)
class ServedFile:
    """One file: its octets, or why there are none.

    ``name`` is what the header must say; ``asked`` the name it was got by; ``problem`` is empty for
    a file that is there or that the place definitely does not have.
    """

    name: str
    asked: str
    data: bytes | None = None
    problem: str = ""


@dataclass(frozen=True)
class FileNode:
    """What one TFTP node serves, or one set of files holds."""

    where: str
    ctl: ServedFile
    itl: ServedFile
    configuration: ServedFile

    @property
    def problem(self) -> str:
        """Why this node could not be read; empty if it could."""
        return self.ctl.problem or self.itl.problem

    def lists(self) -> list[TrustList]:
        """The lists that can be parsed."""
        return [
            parsed
            for file in (self.ctl, self.itl)
            if file.data is not None and (parsed := parse_list(file.data)) is not None
        ]


@dataclass(frozen=True)
class Side:
    """Everything got from one side.

    ``tvs`` are its servers, from the command line or else from its phones' configuration, None
    where neither is there; ``imports`` are what importing the bundles named would do; ``snapshot``
    is what its TVS would know then, where a store or bundles were named, and ``policy`` how it
    would answer.
    """

    label: str
    nodes: tuple[FileNode, ...]
    tvs: tuple[TvsServer, ...] | None = None
    imports: tuple[Import, ...] = ()
    snapshot: Snapshot | None = None
    policy: AnswerPolicy = field(default_factory=AnswerPolicy)

    def lists(self) -> list[TrustList]:
        """Every list of every node that can be parsed."""
        return [parsed for node in self.nodes for parsed in node.lists()]


def parse_place(text: str) -> Place:
    """Read ``tftp=HOST[:PORT],tvs=HOST[:PORT],list=FILE,bundles=DIR,state=DIR``, any of them often.

    Raises UsageError.
    """
    values: dict[str, list[str]] = {key: [] for key in KEYS}
    for item in text.split(","):
        key, equals, value = item.partition("=")
        if key not in values or not equals or not value:
            raise UsageError(f"{item!r}: one of {', '.join(f'{key}=…' for key in KEYS)} expected")
        values[key].append(value)
    return Place(
        tftp=tuple(parse_endpoint(value, TFTP_PORT) for value in values["tftp"]),
        tvs=tuple(TvsServer(*parse_endpoint(value, DEFAULT_TVS_PORT)) for value in values["tvs"]),
        lists=tuple(Path(value) for value in values["list"]),
        bundles=tuple(Path(value) for value in values["bundles"]),
        states=tuple(Path(value) for value in values["state"]),
    )


def parse_list(data: bytes) -> TrustList | None:
    """The list in ``data``, None if it is none."""
    try:
        return parse_trust_list(data)
    except ItlError:
        return None


def configuration_of(file: ServedFile) -> Configuration | None:
    """What a configuration says, whoever signed it; None if it says nothing."""
    if file.data is None:
        return None
    try:
        payload = parse_signed_file(file.data).payload if file.name.endswith(".sgn") else file.data
        return parse_configuration(payload)
    except (ItlError, ConfigurationError):
        return None


async def gather(
    label: str,
    place: Place,
    *,
    mac: str,
    timeout_seconds: float,
    bundles: Sequence[Bundles] = (),
) -> Side:
    """Get everything a place has for the phone with ``mac``; failures become part of the result."""
    nodes = [
        await _fetch_node(FileServer(host, port, None, timeout_seconds), mac)
        for host, port in place.tftp
    ]
    entries: list[Entry] = []
    policy = AnswerPolicy()
    for state in place.states:
        node, known, policy = await trio.to_thread.run_sync(_read_state, state, mac)
        nodes.append(node)
        entries += known
    if place.lists:
        nodes.append(_read_files(place.lists))
    told = [found for node in nodes if (found := configuration_of(node.configuration))]
    imports, after = await trio.to_thread.run_sync(
        plan_imports,
        bundles,
        place.states[0] if place.states else None,
        Snapshot(entries).entries(),
        policy,
    )
    # What only lies in a folder says nothing of a TVS that runs: its store answers then.
    tvs = place.tvs or (told[0].tvs if told and place.tftp else None)
    return Side(
        label=label,
        nodes=tuple(nodes),
        tvs=tvs,
        imports=tuple(imports),
        snapshot=Snapshot(after) if place.states or bundles else None,
        policy=policy,
    )


async def _fetch_node(server: FileServer, mac: str) -> FileNode:
    """What a phone would be served, by the names it would ask for."""

    async def first(name: str, *asked: str) -> ServedFile:
        for wanted in asked:
            fetched = await fetch(server, wanted)
            header = name or wanted
            if fetched.transfer is Transfer.OK:
                return ServedFile(header, wanted, fetched.data)
            if fetched.transfer is Transfer.NO_ANSWER:
                return ServedFile(header, wanted, problem=fetched.text)
        return ServedFile(name or asked[0], asked[0])

    ctl = await first(CTL_FILENAME, f"CTLSEP{mac}.tlv")
    if ctl.problem:
        missing = ServedFile(ITL_FILENAME, ITL_FILENAME, problem=ctl.problem)
        return FileNode(server.where, ctl, missing, ServedFile("", "", problem=ctl.problem))
    return FileNode(
        where=server.where,
        ctl=ctl,
        itl=await first(ITL_FILENAME, f"ITLSEP{mac}.tlv", ITL_FILENAME),
        configuration=await first("", *_configuration_names(mac)),
    )


def _configuration_names(mac: str) -> tuple[str, ...]:
    return f"SEP{mac}.cnf.xml.sgn", "XMLDefault.cnf.xml.sgn", f"SEP{mac}.cnf.xml"


def _read_state(state: Path, mac: str) -> tuple[FileNode, list[Entry], AnswerPolicy]:
    """The lists a node would serve and what its TVS would answer from, without its daemon.

    Nothing is written there, and no trust store made.
    """
    settings = load_settings(state)
    with closing(TrustStore(state / STORE_FILE)) as store:
        standing = read_standing(state, settings, store.sound_entries(), keep=False)

    def served(name: str, *asked: str) -> ServedFile:
        for wanted in asked:
            content = standing.catalog.find(wanted, "127.0.0.1")
            if isinstance(content, Later):
                content = content.make()
            if not isinstance(content, ErrorReply):
                return ServedFile(name or wanted, wanted, whole(content))
        return ServedFile(name or asked[0], asked[0])

    node = FileNode(
        where=f"state {state}",
        ctl=served(CTL_FILENAME, CTL_FILENAME),
        itl=served(ITL_FILENAME, ITL_FILENAME),
        configuration=served("", *_configuration_names(mac)),
    )
    return node, list(standing.snapshot.entries()), standing.policy


def _read_files(paths: Sequence[Path]) -> FileNode:
    """Lists and a configuration saved as files; what each is, its header tells."""
    found: dict[str, ServedFile] = {}
    for path in paths:
        data = path.read_bytes()
        try:
            name = parse_signed_file(data).header.filename
        except ItlError as error:
            raise LabError(f"{path}: neither a trust list nor a signed file: {error}") from None
        kind = name if name in {CTL_FILENAME, ITL_FILENAME} else ""
        if kind in found:
            both = f"{found[kind].asked} and {path}"
            raise UsageError(
                f"list={both}: one {kind or 'signed file'} of one node can be looked at"
            )
        found[kind] = ServedFile(name, str(path), data)
    return FileNode(
        where=", ".join(str(path) for path in paths),
        ctl=found.get(CTL_FILENAME, ServedFile(CTL_FILENAME, CTL_FILENAME)),
        itl=found.get(ITL_FILENAME, ServedFile(ITL_FILENAME, ITL_FILENAME)),
        configuration=found.get("", ServedFile("", "")),
    )
