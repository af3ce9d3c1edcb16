"""Certificates, servers and clients for tests of the TVS."""

import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, fields
from functools import partial

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL

from tests.tvs.certificates import Made, make
from tvs.answers import AnswerPolicy
from tvs.server import Counters, Limits, serve_tvs
from tvs.snapshot import Snapshot, entry_of
from tvs.tls import client_context, server_context

Keys = Callable[[int], rsa.RSAPrivateKey]


@dataclass
class Standing:
    """A server that stands in this process."""

    port: int
    events: list[Mapping[str, object]]
    counters: Counters
    stop: trio.Event
    trusted: Made
    unknown: Made
    identity: Made
    running: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def event(self, name: str, number: int = 1) -> Mapping[str, object]:
        """The event ``name`` that comes as the ``number``-th of its kind."""
        with trio.fail_after(5):
            # the server's report sets no event of trio's
            while len(found := [e for e in self.events if e["event"] == name]) < number:  # noqa: ASYNC110
                await trio.sleep(0.005)
        return found[number - 1]


@pytest.fixture(scope="session")
def certificates(rsa_keys: Keys) -> dict[str, Made]:
    """``identity`` is the server's; ``trusted`` is in the stores, ``unknown`` in none."""
    return {
        "identity": make("tvs.lab", rsa_keys(0)),
        "trusted": make("ucm11pub.lab", rsa_keys(1)),
        "unknown": make("elsewhere.lab", rsa_keys(2)),
    }


@pytest.fixture
def serve(certificates: dict[str, Made]):
    """``serve(**keywords)``: a server as an async context manager, which answers a Standing."""

    @asynccontextmanager
    async def start(
        *, context: SSL.Context | None = None, snapshot: Snapshot | None = None, **keywords: object
    ) -> AsyncIterator[Standing]:
        identity, trusted = certificates["identity"], certificates["trusted"]
        stores = ("Phone-SAST-trust", "CallManager-trust")
        entry = entry_of(trusted.der, type="CallManager", stores=stores, source="a test")
        snapshot = snapshot or Snapshot([entry])
        context = context or server_context([((identity.der,), identity.key)])
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        events: list[Mapping[str, object]] = []
        standing = Standing(
            listeners[0].socket.getsockname()[1],
            events,
            Counters(),
            trio.Event(),
            trusted,
            certificates["unknown"],
            identity,
        )
        names = {field.name for field in fields(Limits)} & keywords.keys()
        limits = Limits(**{name: keywords.pop(name) for name in names})
        settings = {"policy": AnswerPolicy(), "drain_seconds": 0.2, "limits": limits} | keywords
        async with trio.open_nursery() as nursery:
            await nursery.start(
                partial(
                    serve_tvs,
                    listeners,
                    context=context,
                    snapshot=lambda: snapshot,
                    report=events.append,
                    counters=standing.counters,
                    stop=standing.stop,
                    **settings,
                )
            )
            yield standing
            standing.stop.set()

    return start


@contextmanager
def shaken(port: int, *, context: SSL.Context | None = None) -> Iterator[SSL.Connection]:
    """A blocking TLS connection to 127.0.0.1 after its handshake: for use in a thread."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connected:
        connected.settimeout(None)
        tls = SSL.Connection(context or client_context("modern"), connected)
        tls.set_connect_state()
        tls.do_handshake()
        yield tls


def read_exactly(tls: SSL.Connection, length: int) -> bytes:
    octets = b""
    while len(octets) < length:
        octets += tls.recv(length - len(octets))
    return octets


def read_message(tls: SSL.Connection) -> bytes:
    """One whole message of a TVS."""
    header = read_exactly(tls, 10)
    return header + read_exactly(tls, int.from_bytes(header[8:10], "big"))
