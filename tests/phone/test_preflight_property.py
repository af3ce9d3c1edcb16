"""Clusters drawn at random: what must happen, what the pre-flight says, what the phone does.

What must happen is derived from the drawn facts alone. Servers, TLS and UDP are real.
"""

from dataclasses import dataclass, replace

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.phone.boot import BootVerdict, boot
from lab.phone.configuration import TvsServer
from lab.phone.models import model
from lab.phone.state import Phone
from lab.preflight.examination import examine
from lab.preflight.places import Place
from tests.phone.clusters import LONG_AGO, signed
from tests.phone.servers import SECONDS, configuration, files_of, known, serve_files, serve_trust
from tvs.answers import AnswerPolicy

CASES = 200
MAC = "00005E005301"
DEAD, IGNORANT, KNOWING, STRANGER = "dead", "ignorant", "knowing", "stranger"
SIGNERS = ("recovery", "first", "second")  # the cluster's ITLRecovery, each node's CallManager


@dataclass(frozen=True)
class Facts:
    """A source, a destination with one or two nodes, and what lies between them."""

    source_secure: bool
    source_itl: str  # "whole", "emptied" for the rollback, "none"
    servers: tuple[str, ...]  # the source's TVS, in the order phones know them
    old_tls: bool  # whether they speak TLS 1.0
    imported: frozenset[str]  # what the knowing ones know of SIGNERS
    imported_as: str
    refuses_expired: bool
    known_before: bool  # the source's ITL names the destination's first signer as a SAST
    secure: bool
    by_recovery: bool  # the destination's lists are signed by ITLRecovery, else CallManager
    nodes: int
    digest: str
    expired: bool  # every signer of the destination
    strange_configuration: bool
    phone: str


def must_follow(facts: Facts, node: int) -> bool:
    """Whether a phone moved to ``node`` must follow, by the rules alone."""
    if (facts.phone == "7945" and facts.digest == "sha512") or facts.strange_configuration:
        return False
    if not facts.source_secure and facts.source_itl != "whole":
        return True  # no list is in force: the first one is believed
    if facts.source_itl != "whole":
        return False  # the CTL alone is left, and there is no TVS to ask
    own = "recovery" if facts.by_recovery else SIGNERS[1:][0 if facts.secure else node]
    if facts.known_before and own == ("recovery" if facts.by_recovery else "first"):
        return True
    if facts.phone == "7945" and not facts.old_tls:
        return False
    first = next((server for server in facts.servers if server in (IGNORANT, KNOWING)), None)
    vouched = own in facts.imported and facts.imported_as in ("CallManager", "ITLRecovery")
    return first == KNOWING and vouched and not (facts.expired and facts.refuses_expired)


SERVERS = st.one_of(  # half of them such that a phone may follow
    st.sampled_from([(KNOWING,), (DEAD, KNOWING), (STRANGER, KNOWING, IGNORANT)]),
    st.lists(st.sampled_from([KNOWING, DEAD, IGNORANT, STRANGER]), max_size=3).map(tuple),
)
IMPORTED = st.one_of(
    st.just(frozenset(SIGNERS)), st.frozensets(st.sampled_from(SIGNERS), min_size=1)
)
DRAWN = st.builds(
    Facts,
    source_secure=st.booleans(),
    source_itl=st.sampled_from(["whole"] * 6 + ["emptied", "none"]),
    servers=SERVERS,
    old_tls=st.booleans(),
    imported=IMPORTED,
    imported_as=st.sampled_from(["CallManager"] * 3 + ["ITLRecovery"] * 3 + ["CAPF", "tomcat"]),
    refuses_expired=st.booleans(),
    known_before=st.integers(0, 5).map(lambda number: number == 0),
    secure=st.booleans(),
    by_recovery=st.booleans(),
    nodes=st.integers(1, 2),
    digest=st.sampled_from(["sha1", "sha1", "sha512"]),
    expired=st.booleans(),
    strange_configuration=st.integers(0, 7).map(lambda number: number == 0),
    phone=st.sampled_from(["8861", "8861", "7945"]),
)


@dataclass(frozen=True)
class World:
    """The facts made real: a source, and the destination's nodes."""

    facts: Facts
    source: object
    destination: tuple[object, ...]
    signers: dict[str, object]
    stranger: object

    def files_of_source(self, servers) -> dict[str, bytes]:
        facts, source = self.facts, replace(self.source, secure=self.facts.source_secure)
        itl = source.itl(also=[self.signers[self.first]] if facts.known_before else [])
        files = files_of(source, MAC, *servers, itl=itl)
        if facts.source_itl == "emptied":
            files[f"ITLSEP{MAC}.tlv"] = source.rollback_itl()
        elif facts.source_itl == "none":
            del files[f"ITLSEP{MAC}.tlv"]
        return files | {f"SEP{MAC}.cnf.xml": configuration(*servers)}

    @property
    def first(self) -> str:
        return "recovery" if self.facts.by_recovery else "first"

    def files_of_node(self, number) -> dict[str, bytes]:
        facts, node = self.facts, self.destination[number]
        own = "recovery" if facts.by_recovery else SIGNERS[1 + number]
        files = files_of(
            node,
            MAC,
            itl=node.itl(signer=self.signers[own], digest=facts.digest),
            ctl=self.destination[0].ctl(signer=self.signers[self.first], digest=facts.digest),
        )
        if facts.strange_configuration:
            name = f"SEP{MAC}.cnf.xml.sgn"
            files[name] = signed(name, self.stranger, configuration())
        return files

    async def serve_tvs(self, nursery, kind) -> TvsServer:
        facts = self.facts
        if kind == DEAD:
            return TvsServer("127.0.0.1", 1)
        knows = [self.signers[name] for name in SIGNERS if name in facts.imported]
        shown = self.destination[0].tvs if kind == STRANGER else self.source.tvs
        return await serve_trust(
            nursery,
            shown,
            known(*([] if kind == IGNORANT else knows), type_=facts.imported_as),
            policy=AnswerPolicy(expired="refuse" if facts.refuses_expired else "warn"),
            profile="legacy" if facts.old_tls else "modern",
        )


async def play(world: World) -> tuple[bool | None, list[bool]]:
    """What the pre-flight says, and what a phone does at each node of the destination."""
    facts = world.facts
    async with trio.open_nursery() as nursery:
        servers = [await world.serve_tvs(nursery, kind) for kind in facts.servers]
        home = await serve_files(nursery, world.files_of_source(servers))
        away = [
            await serve_files(nursery, world.files_of_node(number)) for number in range(facts.nodes)
        ]
        found = await examine(
            Place(tftp=((home.host, home.tftp_port),)),
            Place(tftp=tuple((server.host, server.tftp_port) for server in away)),
            models=[model(facts.phone)],
            mac=MAC,
            timeout_seconds=SECONDS,
        )
        phone = Phone(MAC, model(facts.phone))
        await boot(phone, home, tvs_seconds=SECONDS)
        did = []
        for server in away:
            moved = await boot(replace(phone), server, tvs_seconds=SECONDS)
            assert moved.verdict in (BootVerdict.UPDATED, BootVerdict.REFUSED)
            did.append(moved.verdict is BootVerdict.UPDATED)
        nursery.cancel_scope.cancel()
    return found.follows, did


@pytest.mark.timeout(300)
def test_preflight_and_phone_do_what_the_facts_demand(make_cluster, make_signer):
    outcomes = {True: 0, False: 0}

    @given(facts=DRAWN)
    @settings(
        max_examples=CASES,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    def holds(facts):
        limit = {"not_after": LONG_AGO} if facts.expired else {}
        signers = {
            "recovery": make_signer("ITLRECOVERY_destination", 3, **limit),
            "first": make_signer("dst1", 4, **limit),
            "second": make_signer("dst2", 5, **limit),
        }
        nodes = [
            replace(
                make_cluster(name, 3, secure=facts.secure, recovery=signers["recovery"]),
                callmanager=signers[own],
            )
            for name, own in (("dst1", "first"), ("dst2", "second"))
        ]
        nodes[0] = replace(nodes[0], peers=(nodes[1],))
        world = World(
            facts, make_cluster("source", 0), tuple(nodes), signers, make_signer("stranger", 2)
        )
        must = [must_follow(facts, number) for number in range(facts.nodes)]
        said, did = trio.run(play, world)
        assert did == must
        assert said is all(must)
        for each in must:
            outcomes[each] += 1

    holds()
    assert min(outcomes.values()) > CASES // 10  # else too little of one kind was drawn
