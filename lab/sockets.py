"""The sockets of the daemon, and what to do when a port is taken or forbidden."""

import errno
import socket

import trio

from lab import LabError

TCP_BACKLOG = 4096  # a cluster's phones come at once; the kernel caps it at net.core.somaxconn


class PortError(LabError):
    """A port that this process cannot have: taken, forbidden, or of no local address."""

    exit_code = 2

    def __init__(self, service: str, address: str, port: int, error: OSError) -> None:
        self.forbidden = error.errno in {errno.EACCES, errno.EPERM}
        if self.forbidden:
            why = "this user may not use ports below 1024"
        elif error.errno == errno.EADDRINUSE:
            why = "another program has this port"
        elif error.errno == errno.EADDRNOTAVAIL:
            why = "this machine has no such address"
        else:
            why = str(error)
        super().__init__(f"{service} cannot listen on {address} port {port}: {why}")


async def listen_tcp(service: str, address: str, port: int) -> list[trio.SocketListener]:
    """Listeners on ``address`` (IPv4 or IPv6); port 0 is the kernel's choice.

    Raises :class:`PortError`.
    """
    try:
        return await trio.open_tcp_listeners(port, host=address, backlog=TCP_BACKLOG)
    except OSError as error:
        raise PortError(service, address, port, error) from None


async def open_tcp(service: str, address: str, port: int) -> socket.socket:
    """The one listening socket on ``address``, for a service that makes its own listener of it.

    Raises :class:`PortError`.
    """
    (listener,) = await listen_tcp(service, address, port)
    return socket.socket(fileno=listener.socket.detach())


def bind_udp(service: str, address: str, port: int) -> socket.socket:
    """A non-blocking datagram socket on ``address``; port 0 is the kernel's choice.

    Raises :class:`PortError`.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_DGRAM)
    bound.setblocking(False)  # noqa: FBT003  the standard library's own signature
    try:
        bound.bind((address, port))
    except OSError as error:
        bound.close()
        raise PortError(service, address, port, error) from None
    return bound


def address_of(name: tuple[object, ...]) -> tuple[str, int]:
    """Address and port of what ``getsockname`` or ``recvfrom`` gave, for either family."""
    return str(name[0]), int(str(name[1]))
