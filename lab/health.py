"""Is a daemon well? It is asked as a phone would ask: TVS by TLS, TFTP for its lists."""

import ipaddress
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TypeAlias

import trio

from conf.composition import tvs_certificates
from conf.node import Node
from conf.running import RunRecord
from itl.signing import Verdict, verify_data
from itl.trustlist import CTL_FILENAME, ITL_FILENAME
from lab import LabError, systemd
from lab.events import Reader
from tftp import TftpError
from tftp.client import get
from tvs import TvsError
from tvs.client import connect

Ask: TypeAlias = Callable[[tuple[str, int]], Awaitable[str]]

DEVICE = "trustlab-health"  # the name the question to TVS carries
TIMEOUT_SECONDS = 5.0
MAX_LIST_BYTES = 1 << 20
STATUS_SECONDS = 10.0


class UnwellError(LabError):
    """What the daemon answered is not what it should."""

    exit_code = 1


@dataclass(frozen=True)
class Finding:
    """What one question came to."""

    service: str
    place: tuple[str, int]
    ok: bool
    found: str
    milliseconds: float


async def examine(node: Node, record: RunRecord) -> list[Finding]:
    """Ask each service of the daemon of ``record`` what a phone of ``node`` would ask."""
    names = [ITL_FILENAME, *([CTL_FILENAME] if node.secure else [])]
    questions: list[tuple[str, tuple[str, int] | None, Ask]] = [
        ("TVS", record.tvs, partial(ask_tvs, node)),
        ("TFTP", record.tftp, partial(ask_tftp, names=names)),
        ("HTTP", record.http, partial(ask_http, names=names)),
        ("HTTPS", record.https, partial(ask_http, names=names, tls=True)),
    ]
    findings: dict[str, Finding] = {}

    async def put(service: str, place: tuple[str, int], ask: Ask) -> None:
        findings[service] = await _timed(service, place, ask)

    async with trio.open_nursery() as nursery:
        for service, place, ask in questions:
            if place is not None:
                nursery.start_soon(put, service, place, ask)
    return [findings[service] for service, _, _ in questions if service in findings]


async def ask_tvs(node: Node, place: tuple[str, int]) -> str:
    """Ask about the node's own CallManager certificate; answers what was found, in words.

    Raises :class:`UnwellError` or :class:`~tvs.TvsError`.
    """
    host, port = reachable(place)
    async with connect(host, port, timeout_seconds=TIMEOUT_SECONDS) as inquiry:
        own = node.own.certificates
        if inquiry.server_certificate not in tvs_certificates(node.own):
            raise UnwellError("it shows another certificate than the node's TVS identity")
        reply = await inquiry.verify(certificate=own["CallManager"], device=DEVICE)
    if reply.status != 0:
        raise UnwellError("it does not trust the node's own CallManager certificate")
    return f"trusts the node's CallManager certificate, roles {list(reply.roles)}, {reply.tls}"


async def ask_tftp(place: tuple[str, int], names: list[str]) -> str:
    """Fetch the lists ``names`` and verify them; answers what was found, in words.

    Raises :class:`UnwellError` or :class:`~tftp.TftpError`.
    """
    host, port = reachable(place)
    got = {
        name: await get(host, port, name, timeout_seconds=TIMEOUT_SECONDS, max_bytes=MAX_LIST_BYTES)
        for name in names
    }
    return _verified(got)


async def ask_http(place: tuple[str, int], names: list[str], *, tls: bool = False) -> str:
    """The same over HTTP or HTTPS, whatever certificate it shows.

    Raises :class:`UnwellError` or OSError.
    """
    return _verified(
        {name: await trio.to_thread.run_sync(_fetch, reachable(place), name, tls) for name in names}
    )


def _fetch(place: tuple[str, int], name: str, tls: bool) -> bytes:  # noqa: FBT001  a thread's call
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # a list is verified
        connection: HTTPConnection = HTTPSConnection(
            *place, timeout=TIMEOUT_SECONDS, context=context
        )
    else:
        connection = HTTPConnection(*place, timeout=TIMEOUT_SECONDS)
    with closing(connection):
        try:
            connection.request("GET", f"/{name}")
            response = connection.getresponse()
            data = response.read(MAX_LIST_BYTES)
        except HTTPException as error:
            raise UnwellError(f"{name}: {error!r}") from None
    if response.status != HTTPStatus.OK:
        raise UnwellError(f"{name}: answered {response.status}")
    return data


def _verified(lists: dict[str, bytes]) -> str:
    words = []
    for name, data in lists.items():
        verdict = verify_data(data).verdict
        if verdict is not Verdict.VALID:
            raise UnwellError(f"{name}: signature {verdict}")
        words.append(f"{name}: {len(data)} octets, signature valid")
    return "; ".join(words)


async def _timed(service: str, place: tuple[str, int], ask: Ask) -> Finding:
    begin = time.monotonic()
    try:
        ok, found = True, await ask(place)
    except (UnwellError, TvsError, TftpError, OSError) as error:
        ok, found = False, str(error)
    return Finding(service, place, ok, found, round((time.monotonic() - begin) * 1000, 1))


async def tell_manager(
    node: Callable[[], Node],
    place: tuple[str, int],
    *,
    status: Callable[[], str],
    report: Reader,
    watchdog_seconds: float | None,
) -> None:
    """Keep the service manager informed: ``status`` in words, and that we are alive.

    Alive is a daemon whose TVS at ``place`` has answered a real question; one that does not is
    restarted after ``watchdog_seconds``. Ends only when cancelled.
    """
    every = STATUS_SECONDS if watchdog_seconds is None else watchdog_seconds / 3
    while True:
        systemd.notify(f"STATUS={status()}")
        if watchdog_seconds is not None:
            try:
                await ask_tvs(node(), place)
            except (UnwellError, TvsError) as error:
                report({"event": "daemon.unwell", "outcome": "failed", "reason": str(error)})
            else:
                systemd.notify("WATCHDOG=1")
        await trio.sleep(every)


def reachable(place: tuple[str, int]) -> tuple[str, int]:
    """Where a service that listens on ``place`` is reached from this machine."""
    host, port = place
    address = ipaddress.ip_address(host.partition("%")[0])
    if address.is_unspecified:
        return ("::1" if address.version == 6 else "127.0.0.1"), port  # noqa: PLR2004  IP's version
    return host, port
