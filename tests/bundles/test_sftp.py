"""The directory on a real OpenSSH server, unprivileged and on loopback, with its faults."""

import getpass
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import paramiko
import pytest

from tests.bundles.samples import stored
from tvs.exchange import TooLargeError
from tvs.sftp import Login, SftpError, SftpFolder

CONFIGURATION = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
PidFile {folder}/pid
AuthorizedKeysFile {folder}/authorized
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
ForceCommand {command}
AllowTcpForwarding no
"""


@dataclass
class Server:
    """An sshd; ``command`` is what serves SFTP, ``file_bytes`` its RLIMIT_FSIZE."""

    folder: Path
    program: str
    port: int = 0
    process: subprocess.Popen | None = None

    @property
    def root(self) -> Path:
        return self.folder / "served"

    @property
    def address(self) -> str:
        return f"sftp://{getpass.getuser()}@127.0.0.1:{self.port}{self.root}"

    @property
    def login(self) -> Login:
        return Login(key_file=self.folder / "user", known_hosts=self.folder / "known")

    @property
    def options(self) -> list[object]:
        """The same for the program."""
        return ["--ssh-key", self.folder / "user", "--known-hosts", self.folder / "known"]

    def start(self, *, command: str = "internal-sftp", file_bytes: int | None = None) -> None:
        if not self.port:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                self.port = listener.getsockname()[1]
        text = CONFIGURATION.format(port=self.port, folder=self.folder, command=command)
        (self.folder / "sshd").write_text(text)
        host_key = (self.folder / "host.pub").read_text()
        (self.folder / "known").write_text(f"[127.0.0.1]:{self.port} {host_key}")
        self.process = subprocess.Popen(
            [self.program, "-D", "-e", "-f", self.folder / "sshd"],
            stderr=subprocess.PIPE,
        )
        if file_bytes is not None:
            limits = (file_bytes, file_bytes)
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, limits)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if b"Server listening" in line:
                return
        raise AssertionError(f"sshd ended with {self.process.wait()}")

    def kill(self) -> None:
        """End it with all its connections, without a word."""
        family = [self.process.pid]
        for pid in family:
            with suppress(FileNotFoundError):  # it ended by itself meanwhile
                children = Path(f"/proc/{pid}/task/{pid}/children")
                family += map(int, children.read_text().split())
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate()
        self.process = None


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sshd")
    for name, passphrase in (("host", ""), ("user", ""), ("locked", "open sesame"), ("other", "")):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", folder / name]
        subprocess.run(command, check=True)
    (folder / "authorized").write_text(
        (folder / "user.pub").read_text() + (folder / "locked.pub").read_text()
    )
    return folder


@pytest.fixture
def server(keys, program, tmp_path) -> Iterator[Server]:
    if os.getuid() == 0:
        # An sshd of root's wants the empty folder that its system service makes at boot. It stays:
        # another run of these tests may be using it.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    folder = shutil.copytree(keys, tmp_path / "sshd")
    server = Server(folder, program("sshd"))
    server.root.mkdir()
    server.start()
    try:
        yield server
    finally:
        if server.process is not None:
            server.kill()


def names(server: Server) -> list[str]:
    return sorted(path.name for path in server.root.iterdir())


def test_the_whole_procedure_over_sftp(server, clusters, trustlab):
    where = (server.address, *server.options)
    for state, command in (
        (clusters.b, ("export",)),
        (clusters.a, ("export",)),
        (clusters.b, ("consolidate",)),
        (clusters.a, ("import", "--yes")),
        (clusters.b, ("import", "--yes")),
    ):
        result = trustlab(state, "bundle", *command, *where)
        assert result.code == 0, result.err
    assert len(names(server)) == 16
    assert not [name for name in names(server) if name.startswith(".")]
    assert len(stored(trustlab, clusters.a)) == 4
    assert len(stored(trustlab, clusters.b)) == 7


def test_what_is_written_is_read_and_the_progress_told(server):
    told = []
    data = os.urandom(200_000)
    report = lambda name, done, size: told.append((name, done, size))  # noqa: E731 - one line
    with SftpFolder(server.address, server.login, report) as folder:
        folder.write("a b.p12", data)
        assert told[-1] == ("a b.p12", 200_000, 200_000)
        assert folder.names() == ["a b.p12"]
        assert folder.read("a b.p12", 200_000) == data
        with pytest.raises(TooLargeError):
            folder.read("a b.p12", 199_999)
    assert told == sorted(told[: len(told) // 2]) * 2


def test_a_private_file_is_so_before_its_first_octet_and_replaces_one_that_is_not(server):
    (server.root / "key.p12").touch(mode=0o644)
    told = []

    def look(_name: str, done: int, _size: int) -> None:
        (part,) = server.root.glob(".*.part")
        told.append((done, part.stat().st_mode & 0o777))

    with SftpFolder(server.address, server.login, look) as folder:
        folder.write("key.p12", b"secret", private=True)
    assert told == [(6, 0o600)]
    assert (server.root / "key.p12").read_bytes() == b"secret"
    assert (server.root / "key.p12").stat().st_mode & 0o777 == 0o600


def failing(server: Server, login: Login, action=SftpFolder.names, address: str = "") -> str:
    with (
        SftpFolder(address or server.address, login) as folder,
        pytest.raises(SftpError) as caught,
    ):
        action(folder)
    return str(caught.value)


def test_an_unknown_host_is_refused_with_its_fingerprint(server):
    fingerprint = paramiko.PKey.from_path(server.folder / "host").fingerprint
    (server.folder / "known").unlink()
    text = failing(server, server.login)
    assert "the host key is not known: ssh-ed25519 SHA256:" in text
    assert fingerprint in text
    pinned = Login(key_file=server.folder / "user", host_key=fingerprint + "=")
    with SftpFolder(server.address, pinned) as folder:
        assert folder.names() == []
    other = Login(key_file=server.folder / "user", host_key="SHA256:" + "A" * 43)
    assert fingerprint in failing(server, other)


def test_another_host_key_than_the_known_one_is_refused(server):
    other = (server.folder / "other.pub").read_text()
    (server.folder / "known").write_text(f"[127.0.0.1]:{server.port} {other}")
    assert "is not the one in known_hosts" in failing(server, server.login)


def test_logins_that_are_not_accepted(server):
    known = server.folder / "known"
    text = "user, password or key was not accepted"
    assert text in failing(server, Login(key_file=server.folder / "other", known_hosts=known))
    asked = []

    def password(prompt: str) -> str:
        asked.append(prompt)
        return "wrong"

    wrong = Login(password, key_file=server.folder / "other", known_hosts=known)
    assert text in failing(server, wrong)
    assert asked == [f"SFTP password of {getpass.getuser()} at 127.0.0.1:{server.port}: "]
    missing = Login(key_file=server.folder / "nothing", known_hosts=known)
    assert "no private key" in failing(server, missing)


def test_a_locked_key_is_opened_with_its_passphrase(server):
    known, key = server.folder / "known", server.folder / "locked"
    opened = Login(passphrase=lambda _: "open sesame", key_file=key, known_hosts=known)
    with SftpFolder(server.address, opened) as folder:
        assert folder.names() == []
    wrong = Login(passphrase=lambda _: "wrong", key_file=key, known_hosts=known)
    assert "no private key that can be used" in failing(server, wrong)


def test_the_agent_is_asked(server, tmp_path, monkeypatch):
    socket_path = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket_path], stdout=subprocess.PIPE)
    try:
        assert agent.stdout is not None
        agent.stdout.readline()  # the socket is there when it has said where
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket_path))
        monkeypatch.setenv("HOME", str(tmp_path))
        key = server.folder / "user"
        subprocess.run(["ssh-add", "-q", key], check=True)
        with SftpFolder(server.address, Login(known_hosts=server.folder / "known")) as folder:
            assert folder.names() == []
    finally:
        agent.terminate()
        agent.communicate()


def test_no_such_directory(server):
    text = failing(server, server.login, address=server.address + "/nowhere")
    assert text.endswith("/served/nowhere: no such file or directory")


def test_a_read_only_directory(server):
    server.kill()
    server.start(command="internal-sftp -R")
    text = failing(server, server.login, lambda folder: folder.write("a", b"b"))
    assert text.endswith("/served/a: permission denied")
    assert names(server) == []


def test_no_server(server):
    server.kill()
    assert "cannot connect" in failing(server, server.login)
    text = failing(server, server.login, address="sftp://host.invalid/x")
    assert "no such host" in text


def test_a_write_that_fails_leaves_nothing_behind_and_runs_again(server, clusters, trustlab):
    """RLIMIT_FSIZE of the server in place of a full disk."""
    server.kill()
    server.start(file_bytes=100_000)
    data = os.urandom(300_000)
    with SftpFolder(server.address, server.login) as folder:
        folder.write("whole", b"old")
        with pytest.raises(SftpError):
            folder.write("whole", data)
        assert folder.read("whole", 10) == b"old"
    assert names(server) == ["whole"]
    server.kill()
    server.start()
    with SftpFolder(server.address, server.login) as folder:
        folder.write("whole", data)
        assert folder.read("whole", 300_000) == data
    assert names(server) == ["whole"]


def test_a_server_killed_in_mid_transfer(server):
    data = os.urandom(3_000_000)
    kills = [server.kill]

    def kill_at_half(_name: str, done: int, _size: int) -> None:
        if done > len(data) // 2 and kills:
            kills.pop()()

    with SftpFolder(server.address, server.login, kill_at_half) as folder:
        with pytest.raises(SftpError, match="connection lost"):
            folder.write("bundle.p12", data)
        (left,) = names(server)
        assert left.startswith(".bundle.p12.")
        server.start()
        assert folder.names() == []
        folder.write("bundle.p12", data)
        assert folder.read("bundle.p12", len(data)) == data
    assert names(server) == ["bundle.p12"]


def test_an_interrupted_command_leaves_nothing_behind(server):
    def interrupt(_name: str, done: int, size: int) -> None:
        if done < size:
            raise KeyboardInterrupt

    with SftpFolder(server.address, server.login, interrupt) as folder:
        with pytest.raises(KeyboardInterrupt):
            folder.write("bundle.p12", bytes(100_000))
        assert folder.names() == []
    assert names(server) == []


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("sftp://user:secret@host/x", "all users see it"),
        ("sftp://user:secret@host:99999/x", "all users see it"),
        ("sftp://user:se/cret@host/x", "sftp://USER@HOST"),
        ("sftp://user:secret@[::1/x", "sftp://USER@HOST"),
        ("sftp://user@a..b/x", "no host name"),
        ("sftp:///x", "sftp://USER@HOST"),
        ("sftp://host:99999/x", "host:99999/x: an SFTP directory is sftp://USER@HOST[:PORT]"),
        ("sftp://host/x?y", "sftp://USER@HOST"),
    ],
)
def test_addresses_that_are_none(address, text, clusters, trustlab):
    result = trustlab(clusters.a, "bundle", "list", address)
    assert result.code == 3
    assert text in result.err
    assert not any(word in result.err for word in ("secret", "se/", "'se'"))


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("sleep 60", "no answer in time"),
        ("echo hello", "the server does not keep to SFTP: Garbage packet received"),
        (
            "printf '\\0\\0\\0\\5\\1\\0\\0\\0\\3'",
            "does not keep to SFTP: Incompatible sftp protocol",
        ),
        ("true", "connection lost"),
    ],
)
def test_a_server_that_does_not_speak_sftp(server, monkeypatch, command, reason):
    monkeypatch.setattr("tvs.sftp._CONNECT_SECONDS", 1.0)
    server.kill()
    server.start(command=command)
    assert reason in failing(server, server.login)


def test_a_name_that_is_not_utf_8(server):
    (server.root / os.fsdecode(b"caf\xe9.p12")).touch()
    assert "a file name there is not UTF-8" in failing(server, server.login)


def test_a_known_hosts_file_that_is_none(server):
    for octets in (b"127.0.0.1 ssh-ed25519 !!!\n", b"\xff\xfe\n"):
        (server.folder / "known").write_bytes(octets)
        assert "know" in failing(server, server.login)


def test_a_server_that_does_not_speak_ssh(clusters):
    """One line of error, and nothing of what paramiko's thread has to say."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"sftp://127.0.0.1:{listener.getsockname()[1]}/x"
        command = [sys.executable, "-m", "lab", "--state", clusters.a, "bundle", "list", address]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        _, shown = process.communicate(timeout=30)
    assert process.returncode == 3
    assert len(shown.splitlines()) == 1, shown
    assert "connection lost" in shown
