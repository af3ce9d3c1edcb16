"""Serve a folder with the default settings of the TFTP service: HOST PORT FOLDER [nolog].

Every transfer is reported to an event log beside the folder, as the daemon does.
"""

import socket
import sys
import tempfile
import tomllib
from functools import partial
from pathlib import Path

import msgspec
import trio

from conf.settings import TftpSettings, default_text
from lab.catalog import tftp_keywords, tftp_limits
from lab.events import EVENTS_FILE, EventLog
from lab.process import allow_all_descriptors, settle
from tftp.root import Root
from tftp.server import serve_tftp


def main() -> None:
    """Serve until killed."""
    host, port, folder, *rest = sys.argv[1:]
    chosen = msgspec.convert(tomllib.loads(default_text())["tftp"], TftpSettings)
    root = Root(Path(folder))
    allow_all_descriptors()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound,
        tempfile.TemporaryDirectory() as state,
    ):
        log = EventLog(Path(state) / EVENTS_FILE, max_bytes=10_000_000, kept_files=3)
        bound.bind((host, int(port)))
        settle()
        trio.run(
            partial(
                serve_tftp,
                [bound],
                find=lambda name, _: root.open(name),
                report=(lambda _: None) if rest else log.report,
                limits=tftp_limits(chosen),
                **tftp_keywords(Path(state), chosen),
            )
        )


if __name__ == "__main__":
    main()
