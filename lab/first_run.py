"""`make run`: a node under ./var on first start, then the daemon.

Only this entry falls back to a high TFTP port where 69 is forbidden; `trustlab serve` says no.
"""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conf.creation import Request, create_node
from conf.settings import SETTINGS_FILE, load_settings
from lab.cli import terminal
from lab.cli.main import guarded, run
from lab.process import PRIVATE_UMASK
from lab.sockets import PortError, bind_udp

STATE = Path("var")
FALLBACK_PORT = 6969
PHONE = "00005E005301"  # of the addresses for documents (RFC 7042, section 2.1.2)


def main() -> int:
    """Create the node if there is none, choose the TFTP port, serve. Answers the exit code."""
    os.umask(PRIVATE_UMASK)
    return guarded(_serve)


def _serve() -> int:
    if not (STATE / SETTINGS_FILE).exists():
        host = socket.gethostname() or "trustlab"
        request = Request(cluster="lab", host=host, address="127.0.0.1", macs=(PHONE,))
        create_node(STATE, request)
        terminal.say(f"made a new node in {STATE}")
    port = _tftp_port()
    with _own_terminal():
        return run(["--state", str(STATE), "serve", *port])


def _tftp_port() -> list[str]:
    """Another port if that of the settings is forbidden; other trouble is for `serve` to tell."""
    settings = load_settings(STATE)
    try:
        bind_udp("TFTP", settings.serve.address, settings.tftp.port).close()
    except PortError as error:
        if error.forbidden:
            terminal.say(
                f"TFTP port {settings.tftp.port} is not allowed to this user: serving on udp "
                f"{FALLBACK_PORT} instead, where phones do not ask. Two ways to get the real one:\n"
                "  sudo sysctl net.ipv4.ip_unprivileged_port_start=69   (until the next boot)\n"
                "  systemd socket activation: the units in systemd/   (see docs/how-to/service.md)"
            )
            return ["--tftp-port", str(FALLBACK_PORT)]
    return []


@contextmanager
def _own_terminal() -> Iterator[None]:
    """Ctrl-C is for the daemon alone: make would take it too, and call a clean end an error."""
    make = os.getpgrp()
    if not sys.stdin.isatty() or os.tcgetpgrp(sys.stdin.fileno()) != make:
        yield
        return
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # else giving the terminal back would stop us
    os.setpgid(0, 0)
    os.tcsetpgrp(sys.stdin.fileno(), os.getpgrp())
    try:
        yield
    finally:
        os.tcsetpgrp(sys.stdin.fileno(), make)


if __name__ == "__main__":
    sys.exit(main())
