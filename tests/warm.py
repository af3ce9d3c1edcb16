"""The program run from a process that has read its modules: starting is most of a command's cost.

Each command still is a process of its own with its own arguments, environment, folder and output;
it is forked instead of started. Daemons, and what asks how the program starts, start it plainly.
"""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from functools import cache
from importlib import import_module
from tempfile import TemporaryFile

MAX_REQUEST = 1 << 20
SECONDS = 60


class Warm:
    """The waiting process; commands are run one after another."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.warm", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._ours.settimeout(SECONDS)
        self._turn = threading.Lock()

    def run(self, arguments: list[str], cwd: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        os.umask(umask := os.umask(0))
        with self._turn, TemporaryFile("w+") as out, TemporaryFile("w+") as err:
            request = json.dumps([arguments, cwd, umask, dict(os.environ)]).encode()
            socket.send_fds(self._ours, [request], [out.fileno(), err.fileno()])
            try:
                code = int(self._ours.recv(16))
            except TimeoutError:
                os.killpg(self._process.pid, signal.SIGKILL)
                raise
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(arguments, code, out.read(), err.read())


@cache
def warm() -> Warm:
    """The one of this process."""
    return Warm()


def wait_for_commands(channel: socket.socket) -> None:
    """Fork for each command that comes; return in the child, or when nobody asks any more."""
    while True:
        request, descriptors, _, _ = socket.recv_fds(channel, MAX_REQUEST, 2)
        if not request:
            sys.exit()
        child = os.fork()
        if not child:
            channel.close()
            arguments, cwd, umask, environment = json.loads(request)
            for standard, descriptor in enumerate(descriptors, start=1):
                os.dup2(descriptor, standard)
                os.close(descriptor)
            os.chdir(cwd)
            os.umask(umask)
            os.environ.clear()
            os.environ.update(environment)
            sys.argv = ["trustlab", *arguments]
            return
        for descriptor in descriptors:
            os.close(descriptor)
        _, status = os.waitpid(child, 0)
        channel.send(str(os.waitstatus_to_exitcode(status)).encode())


if __name__ == "__main__":
    from lab.cli.main import GROUPS, main

    for target in GROUPS.values():
        import_module(target.partition(":")[0])
    gc.freeze()
    wait_for_commands(socket.socket(fileno=int(sys.argv[1])))
    main()
