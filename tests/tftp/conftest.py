"""A TFTP service in this process, and a node with certificates made for the run."""

import socket
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from conf.node import Member, Node
from conf.signer import Signer
from tftp.root import Root
from tftp.server import serve_tftp


@dataclass
class Service:
    """Where the service listens, and what it reported."""

    host: str
    port: int
    events: list[dict] = field(default_factory=list)

    async def event(self, **wanted) -> dict:
        """The first event with these values, once there is one."""
        with trio.fail_after(10):
            while True:
                for event in self.events:
                    if all(event.get(key) == value for key, value in wanted.items()):
                        return event
                await trio.sleep(0.005)  # reports come by a plain call


@asynccontextmanager
async def serving(root: Path, *, host="127.0.0.1", find=None, **keywords):
    """Serve the files of ``root`` on a free port of ``host``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_DGRAM)
    bound.bind((host, 0))
    service = Service(host, bound.getsockname()[1])
    files = Root(root)
    async with trio.open_nursery() as nursery:
        await nursery.start(
            partial(
                serve_tftp,
                [bound],
                find=find or (lambda name, _: files.open(name)),
                report=service.events.append,
                **keywords,
            )
        )
        try:
            yield service
        finally:
            nursery.cancel_scope.cancel()


@dataclass
class Phone:
    """A client that sends what a test wants, octet by octet, and waits at most two seconds."""

    sock: trio.socket.SocketType
    service: tuple

    async def ask(self, datagram: bytes) -> bytes:
        await self.sock.sendto(datagram, self.service)
        return await self.hear()

    async def rrq(self, name: bytes, *options: bytes, mode: bytes = b"octet") -> bytes:
        return await self.ask(b"\0\1" + b"".join(w + b"\0" for w in (name, mode, *options)))

    async def hear(self, seconds: float = 2) -> bytes:
        with trio.fail_after(seconds):
            datagram, self.peer = await self.sock.recvfrom(70_000)
            return datagram

    async def answer(self, datagram: bytes) -> bytes:
        await self.tell(datagram)
        return await self.hear()

    async def tell(self, datagram: bytes) -> None:
        await self.sock.sendto(datagram, self.peer)

    async def ack(self, number: int) -> bytes:
        return await self.answer(b"\0\4" + number.to_bytes(2, "big"))

    async def goes_on(self, number: int) -> bool:
        """Acknowledge a block; whether the next comes, after repetitions perhaps."""
        await self.tell(b"\0\4" + number.to_bytes(2, "big"))
        wanted = b"\0\3" + (number + 1).to_bytes(2, "big")
        while (datagram := await self.hear())[:2] == b"\0\3":
            if datagram.startswith(wanted):
                return True
        return False

    async def silent(self, seconds: float = 0.03) -> bool:
        with trio.move_on_after(seconds):
            await self.hear()
            return False
        return True


@asynccontextmanager
async def phone(service: Service, source: str | None = None):
    """A new client of ``service``."""
    family = socket.AF_INET6 if ":" in service.host else socket.AF_INET
    with trio.socket.socket(family, socket.SOCK_DGRAM) as own:
        if source is not None:
            await own.bind((source, 0))
        yield Phone(own, (service.host, service.port))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A root with files of the lengths that are traps."""
    root = tmp_path / "root"
    root.mkdir()
    for name, size in (("empty", 0), ("one", 1), ("exact", 1024), ("config", 10_240)):
        (root / name).write_bytes(bytes(n * 7 % 251 for n in range(size)))
    return root


@pytest.fixture(scope="session")
def signers(rsa_keys) -> Callable[[str, int], Signer]:
    """``signers(name, n)``: a self-signed certificate of the n-th key."""
    made: dict[tuple[str, int], Signer] = {}

    def signer(name: str, number: int) -> Signer:
        if (name, number) not in made:
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
            now = datetime.now(UTC)
            key = rsa_keys(number)
            certificate = (
                x509.CertificateBuilder()
                .subject_name(subject)
                .issuer_name(subject)
                .public_key(key.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - timedelta(days=1))
                .not_valid_after(now + timedelta(days=99))
                .sign(key, hashes.SHA256())
            )
            made[name, number] = Signer(certificate.public_bytes(Encoding.DER), key)
        return made[name, number]

    return signer


@pytest.fixture
def cluster(signers, tmp_path: Path):
    """``cluster(secure=…, list_signer=…)``: a node of two, and its signers by name."""

    def make(*, secure=False, list_signer="ITLRecovery"):
        recovery = signers("ITLRECOVERY_cm1", 0)
        own = {
            "CallManager": signers("cm1", 1),
            "TVS": signers("cm1-TVS", 2),
            "CAPF": signers("CAPF-1", 3),
            "ITLRecovery": recovery,
        }
        other = {
            "CallManager": signers("cm2", 2),
            "TVS": signers("cm2-TVS", 3),
            "ITLRecovery": recovery,
        }
        members = tuple(
            Member(
                host=host,
                address=address,
                tvs_port=2445 + order,
                order=order,
                state=tmp_path,
                certificates={name: each.certificate for name, each in held.items()},
            )
            for order, (host, address, held) in enumerate(
                (("cm1", "10.0.0.1", own), ("cm2", "10.0.0.2", other))
            )
        )
        node = Node(
            state=tmp_path / "state",
            cluster="lab & co",
            host="cm1",
            address="10.0.0.1",
            secure=secure,
            list_signer=list_signer,
            members=members,
        )
        return node, own

    return make
