"""Sockets handed over by systemd, and the notices it waits for (sd_listen_fds(3), sd_notify(3))."""

import os
import socket
from collections.abc import Mapping, MutableMapping
from contextlib import suppress

from lab import LabError

FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START
SOCKET_KINDS = {  # by FileDescriptorName=
    "tvs": socket.SOCK_STREAM,
    "tftp": socket.SOCK_DGRAM,
    "http": socket.SOCK_STREAM,
    "https": socket.SOCK_STREAM,
    "metrics": socket.SOCK_STREAM,
}


def inherited_sockets(
    environment: MutableMapping[str, str] = os.environ,
) -> dict[str, socket.socket]:
    """The sockets systemd passed, by their ``FileDescriptorName=``; empty where it passed none.

    The variables are removed and the descriptors closed on exec, so that no child takes them for
    its own. Raises :class:`~lab.LabError` for a socket whose name or kind is none of
    :data:`SOCKET_KINDS`, and for two of one name: a port nobody serves would look open.
    """
    count = int(environment.pop("LISTEN_FDS", "0"))
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    addressee = environment.pop("LISTEN_PID", "")
    if addressee != str(os.getpid()):
        return {}
    found: dict[str, socket.socket] = {}
    for position in range(count):
        name = names[position] if position < len(names) else "unknown"
        if name in found:
            raise LabError(f"systemd passed two sockets named {name}")
        os.set_inheritable(FIRST_DESCRIPTOR + position, False)  # noqa: FBT003  os's own signature
        passed = socket.socket(fileno=FIRST_DESCRIPTOR + position)
        of_ip = passed.family in {socket.AF_INET, socket.AF_INET6}
        if passed.type != SOCKET_KINDS.get(name) or not of_ip:
            raise LabError(
                f"systemd passed a socket named {name!r} that is none of ours: "
                f"FileDescriptorName= is one of {', '.join(SOCKET_KINDS)}, each an IP port, "
                "ListenDatagram= for tftp and ListenStream= for the others"
            )
        passed.setblocking(False)  # noqa: FBT003  socket's own signature
        found[name] = passed
    return found


def notify(*assignments: str, environment: Mapping[str, str] = os.environ) -> None:
    """Tell the service manager ``READY=1`` and the like; does nothing where none listens."""
    address = environment.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    with socket.socket(socket.AF_UNIX, kind) as manager, suppress(OSError):  # sd_notify(3): advice
        manager.connect(address)
        manager.sendall("\n".join(assignments).encode())


def watchdog_seconds(environment: Mapping[str, str] = os.environ) -> float | None:
    """How often the service manager wants to hear from us, or None where it does not."""
    microseconds = environment.get("WATCHDOG_USEC")
    if microseconds is None or environment.get("WATCHDOG_PID", str(os.getpid())) != str(
        os.getpid()
    ):
        return None
    return int(microseconds) / 1_000_000
