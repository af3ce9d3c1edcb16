"""`make run`: a node under ./var on first start, then the daemon.

Only this entry falls back to a high TFTP port where 69 is forbidden; `trustlab serve` says no.
"""

import os
import socket
import sys
from pathlib import Path

from conf.settings import SETTINGS_FILE, load_settings
from lab import LabError
from lab.cli.main import EXIT_USAGE, run
from lab.sockets import PortError, bind_udp

STATE = Path("var")
FALLBACK_PORT = 6969


def main() -> int:
    """Create the node if there is none, choose the TFTP port, serve. Answers the exit code."""
    os.umask(0o077)
    if not (STATE / SETTINGS_FILE).exists():
        host = socket.gethostname() or "trustlab"
        who = ["--cluster", "lab", "--node", host, "--address", "127.0.0.1"]
        made = run(["--state", str(STATE), "init", *who])
        if made != 0:
            return made
    try:
        extra = _tftp_port()
    except LabError as error:
        sys.stderr.write(f"trustlab: {error}\n")
        return EXIT_USAGE
    return run(["--state", str(STATE), "serve", *extra])


def _tftp_port() -> list[str]:
    settings = load_settings(STATE)
    try:
        bind_udp("TFTP", settings.serve.address, settings.tftp.port).close()
    except PortError as error:
        if not error.forbidden:
            raise
        sys.stderr.write(
            f"TFTP port {settings.tftp.port} is not allowed to this user: serving on udp "
            f"{FALLBACK_PORT} instead, where phones do not ask. Two ways to get the real one:\n"
            f"  sudo sysctl net.ipv4.ip_unprivileged_port_start=69   (until the next boot)\n"
            f"  systemd socket activation: the units in systemd/     (see the README)\n"
        )
        return ["--tftp-port", str(FALLBACK_PORT)]
    return []


if __name__ == "__main__":
    sys.exit(main())
