"""The ports on which a node's files are served over HTTP and HTTPS."""

import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from conf import ConfError
from conf.identity import CALLMANAGER_ECDSA, identity_file
from conf.settings import HttpSettings, Settings
from lab.events import Reader
from lab.plane import TrustPlane
from lab.sockets import address_of, open_tcp
from tftp.admission import ReplyPolicy


@dataclass(frozen=True)
class Web:
    """The listening sockets, None for what is switched off, and the identity of HTTPS."""

    http: socket.socket | None
    https: socket.socket | None
    identity: Path

    def address(self, scheme: str) -> tuple[str, int] | None:
        """Where "http" or "https" is served."""
        bound = self.http if scheme == "http" else self.https
        return None if bound is None else address_of(bound.getsockname())

    def services(
        self, plane: TrustPlane, *, report: Reader, policy: ReplyPolicy | None, stop: trio.Event
    ) -> Iterator[Callable[..., Awaitable[object]]]:
        """What to start in the daemon's nursery."""
        if self.http is None and self.https is None:
            return
        # a tenth of a daemon's start and of its memory, for those who want it
        from tftp.http import serve_http  # noqa: PLC0415

        drain = plane.settings.serve.drain_seconds
        serve = partial(
            serve_http, report=report, reply_policy=policy, stop=stop, drain_seconds=drain
        )
        if self.http is not None:
            yield partial(serve, self.http, find=plane.find)
        if self.https is not None:
            yield partial(serve, self.https, find=plane.find_unsigned, identity=self.identity)


async def open_web(state: Path, settings: Settings, passed: Mapping[str, socket.socket]) -> Web:
    """Open the ports that ``settings`` switch on; one that was ``passed`` stands for its own.

    A socket that was passed is served whatever the settings say: its port accepts already.

    Raises :class:`~lab.sockets.PortError`, and :class:`~conf.ConfError` for an identity that the
    node does not have.
    """
    chosen, address = settings.http, settings.serve.address
    http, https = passed.get("http"), passed.get("https")
    if http is None and chosen.enabled:
        http = await open_tcp("HTTP", address, chosen.port)
    identity = https_identity(state, chosen, wanted=https is not None or chosen.tls_enabled)
    if https is None and chosen.tls_enabled:
        https = await open_tcp("HTTPS", address, chosen.tls_port)
    return Web(http, https, identity)


def https_identity(state: Path, chosen: HttpSettings, *, wanted: bool) -> Path:
    """The file of what HTTPS shows. Raises :class:`~conf.ConfError` if ``wanted`` and not there."""
    identity = identity_file(state, CALLMANAGER_ECDSA if chosen.ecdsa else "CallManager")
    if wanted and not identity.exists():
        raise ConfError(f"http.ecdsa: the node has no identity {identity.stem}")
    return identity
