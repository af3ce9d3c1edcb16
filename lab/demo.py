"""A migration played from beginning to end: two clusters, an exchange of certificates, one phone.

The guide played is Cisco document 215539. Real daemons on loopback addresses, real TLS and
UDP, real files; nothing is left behind.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from conf.addresses import address_text
from conf.node import load_node
from itl.roles import role_name
from itl.trustlist import CTL_FILENAME, ITL_FILENAME
from lab.demo_nodes import NodePlan, RunningNode, command, create, loopback, serving
from lab.phone.boot import Boot, BootVerdict, boot
from lab.phone.fetch import FileServer, Transfer
from lab.phone.log import Status
from lab.phone.models import model
from lab.phone.state import DEFAULT_MAC, DEFAULT_MODEL, Phone
from tvs import TvsError
from tvs.client import verify

PHONE_SECONDS = 10.0
CHANGE_SECONDS = 10.0
POLL_SECONDS = 0.1
SOURCE, SECOND, DESTINATION = "src-pub", "src-sub", "dst-pub"

# Who does what, in the guide's order. Each node has a trust store of its own here; in CUCM
# replication takes what the publisher imports to its subscribers.
EXCHANGE = (
    ("export", (DESTINATION, SOURCE)),
    ("consolidate", (SOURCE,)),
    ("import", (DESTINATION, SOURCE, SECOND)),
)
EXPECTED = {
    "export": "the certificates of all nodes in the shared folder",
    "consolidate": "one file for each type",
    "import": "the other cluster's certificates in the trust stores",
}
WHY = {
    "export": "one PKCS12 file for each node and type",
    "consolidate": "on one of the clusters only",
    "import": "CallManager and ITLRecovery become signers that TVS vouches for",
}


@dataclass(frozen=True)
class Step:
    """One step: what was asked of whom, what had to come of it, what came of it and why."""

    name: str
    asked: str
    expected: str
    happened: str
    why: str
    ok: bool


async def play(folder: Path, *, secure: bool, show: Callable[[Step], None]) -> list[Step]:
    """Play the demo under ``folder``, which the caller removes; ``show`` gets each step at once.

    Raises :class:`~lab.demo_nodes.DemoError` where a daemon or command does not work at all.
    """
    plans = [
        NodePlan("source", SOURCE, loopback(11)),
        NodePlan("source", SECOND, loopback(12)),
        NodePlan("destination", DESTINATION, loopback(21)),
    ]
    steps: list[Step] = []

    def add(*done: Step) -> None:
        for step in done:
            steps.append(step)
            show(step)

    await create(folder, plans, secure=secure)
    # The source's publisher after its subscriber: it then knows the port of the other TVS.
    stages = [plans[1:], plans[:1]]
    async with serving(folder, stages, phone=DEFAULT_MAC) as nodes:
        phone = Phone(DEFAULT_MAC, model(DEFAULT_MODEL))
        add(_at_home(await _boot(phone, nodes[SOURCE]), nodes, secure=secure))
        before = (phone.ctl, phone.itl)
        add(_refused(await _boot(phone, nodes[DESTINATION]), before))
        for verb, hosts in EXCHANGE:
            add(*await _exchange(verb, [nodes[host] for host in hosts], folder / "sftp"))
        add(await _taken_up(nodes))
        moved = await _boot(phone, nodes[DESTINATION])
        add(*(_secure_move if secure else _move)(moved, nodes[SOURCE]))
        add(_settled(await _boot(phone, nodes[DESTINATION])))
    return steps


async def _boot(phone: Phone, node: RunningNode) -> Boot:
    host, port = node.tftp
    server = FileServer(host, port, None, PHONE_SECONDS)
    return await boot(phone, server, tvs_seconds=PHONE_SECONDS)


async def _exchange(verb: str, nodes: Sequence[RunningNode], where: Path) -> list[Step]:
    """The same on each of ``nodes``, at the same time."""
    steps: dict[str, Step] = {}

    async def one(node: RunningNode) -> None:
        confirmed = ["--yes"] if verb == "import" else []
        told = await command(node.state, "bundle", verb, str(where), *confirmed, "--json")
        if verb == "import":
            states = Counter(entry["state"] for entry in told["certificates"])
            happened = f"{states['new']} certificates new, {states['skipped']} its own"
            ok = states["new"] > 0
        else:
            happened = f"{len(told['written'])} files written"
            ok = bool(told["written"])
        host = node.plan.host
        asked = f"trustlab --state {host} bundle {verb} {where.name}"
        steps[host] = Step(f"{verb} on {host}", asked, EXPECTED[verb], happened, WHY[verb], ok)

    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(one, node)
    return [steps[node.plan.host] for node in nodes]


async def _taken_up(nodes: dict[str, RunningNode]) -> Step:
    """Both TVS of the source know the destination's signer, without having been restarted."""
    der = load_node(nodes[DESTINATION].state).own.certificates["ITLRecovery"]
    known: list[str] = []
    with trio.move_on_after(CHANGE_SECONDS):
        for host in (SOURCE, SECOND):
            while not await _trusts(nodes[host], der):  # noqa: ASYNC110 - another process's change
                await trio.sleep(POLL_SECONDS)
            known.append(host)
    return Step(
        name="the running TVS take it up",
        asked=f"TVS of {SOURCE} and {SECOND}: verify the destination's ITLRecovery",
        expected="both trust it",
        happened=f"trusted by {' and '.join(known) or 'none'}",
        why="a change of the trust store is in force within a second",
        ok=known == [SOURCE, SECOND],
    )


async def _trusts(node: RunningNode, der: bytes) -> bool:
    try:
        return (await verify(*node.tvs, certificate=der)).status == 0
    except TvsError:
        return False


def _at_home(run: Boot, nodes: dict[str, RunningNode], *, secure: bool) -> Step:
    named = [(server.address, server.port) for server in run.phone.tvs]
    wanted = {ITL_FILENAME, *([CTL_FILENAME] if secure else []), f"{run.phone.name}.cnf.xml.sgn"}
    return Step(
        name="boot at the source",
        asked=_asked(run),
        expected="lists and configuration installed; it names both TVS of the source",
        happened=f"{run.verdict}; TVS {_addresses(named)}",
        why=_why(run),
        ok=run.verdict is BootVerdict.UPDATED
        and wanted <= set(run.installed)
        and named == [nodes[SOURCE].tvs, nodes[SECOND].tvs],
    )


def _refused(run: Boot, before: tuple[bytes | None, bytes | None]) -> Step:
    said = [line.text for line in run.messages]
    asked = run.inquiries[-1] if run.inquiries else None
    kept = (run.phone.ctl, run.phone.itl) == before
    return Step(
        name="moved before the exchange",
        asked=_asked(run),
        expected=f"{Status.UPDATE_FAILED}; the source's TVS does not know the signer either",
        happened=f"{', '.join(filter(None, said))}; old lists {'kept' if kept else 'lost'}",
        why=_why(run),
        ok=run.verdict is BootVerdict.REFUSED
        and Status.UPDATE_FAILED in said
        and kept
        and asked is not None
        and asked.answer is not None
        and asked.answer.status == 1,
    )


def _move(run: Boot, source: RunningNode) -> list[Step]:
    """The guide's four steps for a non-secure cluster, and the configuration."""
    unknown, connected, compared, asked, installed = _by_tvs(run, source, ITL_FILENAME)
    return [
        replace(unknown, name="1 the signer of the ITL is unknown"),
        replace(connected, name="2 connects to the source's TVS"),
        replace(compared, name="3 compares the TVS certificate"),
        replace(asked, name="3 asks about the signer"),
        replace(installed, name="4 installs the destination's ITL"),
        _configuration(run, "4 verifies its configuration"),
    ]


def _secure_move(run: Boot, source: RunningNode) -> list[Step]:
    """The guide's nine steps for a secure cluster, and the configuration."""
    first = run.requests[0]
    fetched = Step(
        name="1 fetches the destination's CTL",
        asked=first.name,
        expected="a CTL",
        happened=f"{len(first.data)} octets",
        why="a phone asks for it first",
        ok=first.name.startswith("CTL") and first.transfer is Transfer.OK,
    )
    unknown, connected, compared, asked, installed = _by_tvs(run, source, CTL_FILENAME)
    itl = run.installed.get(ITL_FILENAME)
    by_ctl = Step(
        name="9 verifies the ITL with the new CTL",
        asked=f"ITL{run.phone.name}.tlv",
        expected="installed, TVS not asked again",
        happened=f"{'installed' if itl else run.verdict}, TVS asked {len(run.inquiries)} time",
        why=itl.why if itl else _why(run),
        ok=itl is not None and len(run.inquiries) == 1,
    )
    return [
        fetched,
        replace(unknown, name="2 its signer is in no list held"),
        replace(connected, name="3-4 connects to the source's TVS"),
        replace(compared, name="5-6 compares the TVS certificate"),
        replace(asked, name="7 asks about the signer"),
        replace(installed, name="8 installs the destination's CTL"),
        by_ctl,
        _configuration(run, "afterwards: its configuration"),
    ]


def _by_tvs(run: Boot, source: RunningNode, list_name: str) -> tuple[Step, ...]:
    """A list that TVS has to vouch for: unknown signer, connection, comparison, answer, result."""
    inquiry = run.inquiries[0] if run.inquiries else None
    answer = inquiry.answer if inquiry else None
    server = inquiry.server if inquiry else "none"
    signer = inquiry.question.subject if inquiry else "none"
    wanted = _addresses([source.tvs])
    installed = run.installed.get(list_name)
    roles = ", ".join(role_name(role) for role in answer.roles) if answer else "none"
    told = f"status {answer.status}, roles {roles}, {answer.lifetime_seconds} s" if answer else "-"
    shown = inquiry is not None and inquiry.server_certificate is not None
    stranger = inquiry is None or inquiry.stranger
    why_known = "the configuration held names the source's TVS first"
    why_equal = "a TVS is believed only octet for octet"
    return (
        Step("", list_name, "turns to TVS", f"asks about {signer}", "no list held has it", shown),
        Step("", server, wanted, server, why_known, server == wanted and shown),
        Step("", server, "equal", "other" if stranger else "equal", why_equal, not stranger),
        Step("", signer, "status 0", told, "imported", answer is not None and answer.status == 0),
        Step(
            "",
            list_name,
            str(Status.UPDATED),
            ", ".join(line.text for line in run.messages if line.text),
            installed.why if installed else _why(run),
            installed is not None,
        ),
    )


def _configuration(run: Boot, name: str) -> Step:
    file = f"{run.phone.name}.cnf.xml.sgn"
    taken = run.installed.get(file)
    happened = f"signed by {taken.signer}" if taken else str(run.verdict)
    why = taken.why if taken else _why(run)
    return Step(name, file, "verified", happened, why, taken is not None)


def _settled(run: Boot) -> Step:
    return Step(
        name="boot at the destination again",
        asked=_asked(run),
        expected=str(BootVerdict.UNCHANGED),
        happened=str(run.verdict),
        why=_why(run),
        ok=run.verdict is BootVerdict.UNCHANGED and not run.inquiries,
    )


def _asked(run: Boot) -> str:
    names = [asked.name for asked in run.requests if asked.transfer is Transfer.OK]
    servers = [f"TVS {inquiry.server}" for inquiry in run.inquiries]
    return ", ".join([*names, *servers])


def _why(run: Boot) -> str:
    return run.messages[-1].why if run.messages else ""


def _addresses(servers: Sequence[tuple[str, int]]) -> str:
    return ", ".join(address_text(*server) for server in servers)
