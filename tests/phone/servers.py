"""Real servers on loopback for phones: TFTP from a dictionary, TVS from a few certificates."""

import socket
from collections.abc import Mapping
from functools import lru_cache, partial

import trio
from OpenSSL import SSL

from conf.signer import Signer
from lab.phone.configuration import TvsServer
from lab.phone.fetch import FileServer
from tests.phone.clusters import signed
from tftp.content import NOT_FOUND, Octets
from tftp.server import serve_tftp
from tvs.answers import AnswerPolicy
from tvs.server import serve_tvs
from tvs.snapshot import Snapshot, entry_of
from tvs.tls import server_context

SECONDS = 20.0  # never reached, however busy the machine is
POLICY = AnswerPolicy()


def nothing(_: Mapping[str, object]) -> None:
    """Events go nowhere."""


def udp_socket() -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.setblocking(False)
    bound.bind(("127.0.0.1", 0))
    return bound


async def serve_files(nursery, files: Mapping[str, bytes], *, seconds=SECONDS) -> FileServer:
    """A TFTP server with exactly these files, looked up anew for each request."""

    def find(name: str, _: str):
        data = files.get(name)
        return NOT_FOUND if data is None else Octets(data, key=data)

    bound = udp_socket()
    port = bound.getsockname()[1]
    serve = partial(serve_tftp, [bound], find=find, report=nothing, receive_buffer=1 << 16)
    await nursery.start(serve)
    return FileServer("127.0.0.1", port, None, seconds)


@lru_cache(maxsize=32)
def tls_context(certificate: bytes, key, profile="modern") -> SSL.Context:
    return server_context([([certificate], key)], profile=profile)


def known(*holders: Signer, type_="CallManager", stores=("Phone-SAST-trust",)) -> Snapshot:
    """What a TVS trusts; a CallManager by default, which gives the roles 0 and 3."""
    return Snapshot(
        entry_of(holder.certificate, type=type_, stores=stores, source="test") for holder in holders
    )


async def serve_trust(
    nursery, tvs: Signer, snapshot: Snapshot, *, policy=POLICY, profile="modern", **options
) -> TvsServer:
    """A TVS that shows the certificate of ``tvs``."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    serve = partial(
        serve_tvs,
        listeners,
        context=tls_context(tvs.certificate, tvs.private_key, profile),
        snapshot=lambda: snapshot,
        policy=policy,
        report=options.pop("report", nothing),
        **options,
    )
    await nursery.start(serve)
    return TvsServer("127.0.0.1", port)


def configuration(*servers: TvsServer, more="") -> bytes:
    members = "".join(
        f'<member priority="{number}"><port>{server.port}</port>'
        f"<address>{server.address}</address></member>"
        for number, server in enumerate(servers)
    )
    return f"<device><TVS><members>{members}</members></TVS>{more}</device>".encode()


def files_of(
    cluster, mac, *servers: TvsServer, itl=None, ctl=None, signer=None
) -> dict[str, bytes]:
    """What a TFTP node of ``cluster`` serves to one phone."""
    name = f"SEP{mac}.cnf.xml.sgn"
    files = {
        f"ITLSEP{mac}.tlv": itl or cluster.itl(),
        name: signed(name, signer or cluster.callmanager, configuration(*servers)),
    }
    if cluster.secure:
        files[f"CTLSEP{mac}.tlv"] = ctl or cluster.ctl()
    return files
