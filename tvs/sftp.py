"""The shared directory on an SFTP server, as CUCM's own bulk certificate management uses it.

The server is authenticated first: its host key must be in known_hosts, or have the fingerprint
that was asked for. A file is written under a temporary name and renamed, so that no reader sees
half of one; the temporary name is the client's own, so that its next run clears what a lost
connection left.
"""

import errno
import hashlib
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import join
from stat import S_ISREG
from typing import Self
from urllib.parse import unquote, urlsplit

import paramiko  # type: ignore[import-untyped]  # paramiko ships no types

from conf.addresses import address_text
from tvs.exchange import ExchangeError, Progress, TooLargeError, no_progress

SCHEME = "sftp"
# What paramiko's own thread has to say of a failed connection is in the error that is raised.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
_CONNECT_SECONDS = 15.0
_CHUNK_BYTES = 32 * 1024  # what every server accepts in one message (draft-ietf-secsh-filexfer-02)


@dataclass(frozen=True)
class Login:
    """How to log in, and whom to believe.

    ``password`` and ``passphrase`` are called with the prompt's text, and answer None where nobody
    can be asked. ``host_key`` pins a fingerprint ("SHA256:…") instead of ``known_hosts``.
    """

    password: Callable[[str], str | None] = field(default=lambda _: None, repr=False)
    passphrase: Callable[[str], str | None] = field(default=lambda _: None, repr=False)
    key_file: Path | None = None
    host_key: str | None = None
    known_hosts: Path = Path("~/.ssh/known_hosts")


class SftpError(ExchangeError):
    """The SFTP server, its directory or a transfer failed; the text says which and why."""


class _UnknownHostError(Exception):
    """The host key is not one that the user has vouched for; carries its fingerprint."""


class _Pinned(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]  # its base has no types
    """Accepts the pinned fingerprint alone."""

    def __init__(self, fingerprint: str | None) -> None:
        self._fingerprint = fingerprint

    def missing_host_key(self, _client: object, _host: str, key: paramiko.PKey) -> None:
        """Raise unless the key's fingerprint is the pinned one."""
        if self._fingerprint is None or key.fingerprint != _canonical(self._fingerprint):
            raise _UnknownHostError(f"{key.get_name()} {key.fingerprint}")


class SftpFolder:
    """A directory on an SFTP server; see :class:`~tvs.exchange.Exchange`.

    The connection is opened on first use and kept until :meth:`close`.
    """

    def __init__(self, address: str, login: Login, progress: Progress = no_progress) -> None:
        # What is refused may hold a password where none is found: nothing before the @ is printed,
        # nor what urllib says, which quotes it.
        shown = address.rpartition("@")[2].removeprefix(f"{SCHEME}://")
        refused = SftpError(f"{shown}: an SFTP directory is sftp://USER@HOST[:PORT]/DIRECTORY")
        try:
            parts = urlsplit(address)
            if parts.password is not None:
                raise SftpError("an address with a password in it is not used: all users see it")
            port = parts.port or paramiko.config.SSH_PORT
        except ValueError:
            raise refused from None
        if parts.scheme != SCHEME or not parts.hostname or parts.query or parts.fragment:
            raise refused
        self._host, self._port = parts.hostname, port
        self._user = unquote(parts.username) if parts.username else None
        path = unquote(parts.path) or "/"
        self._path = path.removeprefix("/~/") if path.startswith("/~/") else path
        self._path = self._path or "."
        self._login, self._progress = login, progress
        self._client: paramiko.SSHClient | None = None
        self._session: paramiko.SFTPClient | None = None
        self.where = address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        if self._client is not None:
            self._client.close()
        self._client = self._session = None

    def exists(self) -> bool:
        """Whether the directory is there. Only a local one is made when it is not."""
        self.names()
        return True

    def names(self) -> list[str]:
        """The regular files in the directory, sorted; hidden and unfinished ones left out."""
        with self._translated(self._path):
            return sorted(
                entry.filename
                for entry in self._sftp().listdir_attr(self._path)
                if not entry.filename.startswith(".") and S_ISREG(entry.st_mode or 0)
            )

    def read(self, name: str, max_bytes: int) -> bytes:
        """The octets of one file; TooLargeError when it has more than ``max_bytes``."""
        path = join(self._path, name)
        with self._translated(path), self._sftp().open(path, "rb") as file:
            size = file.stat().st_size or 0
            if size > max_bytes:
                raise TooLargeError(f"{self.where}/{name}: more than {max_bytes} octets")
            file.prefetch(size)
            data = bytearray()
            while len(data) <= max_bytes and (chunk := file.read(_CHUNK_BYTES)):
                data += chunk
                self._progress(name, len(data), size)
        if len(data) > max_bytes:
            raise TooLargeError(f"{self.where}/{name}: more than {max_bytes} octets")
        return bytes(data)

    def write(self, name: str, data: bytes, *, private: bool = False) -> None:
        """See :class:`~tvs.exchange.Exchange`."""
        temporary = join(self._path, f".{name}.{_client_name()}.part")
        target = join(self._path, name)
        try:
            with self._translated(target):
                self._upload(temporary, name, data, private=private)
                self._sftp().posix_rename(temporary, target)
        except BaseException:
            self._discard(temporary)
            raise

    def _upload(self, temporary: str, name: str, data: bytes, *, private: bool) -> None:
        sftp = self._sftp()
        with suppress(FileNotFoundError):
            sftp.remove(temporary)  # of an earlier run that lost its connection
        with sftp.open(temporary, "wxb") as file:
            if private:
                file.chmod(0o600)  # while it is empty still
            file.set_pipelined()  # 25 times as fast; what fails shows when the file is closed
            for start in range(0, len(data), _CHUNK_BYTES):
                file.write(data[start : start + _CHUNK_BYTES])
                self._progress(name, min(start + _CHUNK_BYTES, len(data)), len(data))
        if sftp.stat(temporary).st_size != len(data):
            raise OSError(errno.EIO, "the server kept fewer octets than were sent")

    def _discard(self, temporary: str) -> None:
        """Remove an unfinished file, over a new connection where the old one is lost."""
        for _ in range(2):
            try:
                self._sftp().remove(temporary)
            except FileNotFoundError:
                return
            except (OSError, EOFError, paramiko.SSHException, ExchangeError):
                self.close()
            else:
                return

    def _sftp(self) -> paramiko.SFTPClient:
        if self._session is None:
            self._client = self._connect()
            self._session = _opened_session(self._client)
            self._session.get_channel().settimeout(_CONNECT_SECONDS)
        return self._session

    def _connect(self) -> paramiko.SSHClient:
        client = paramiko.SSHClient()
        if self._login.host_key is None:
            _load_known_hosts(client, self._login.known_hosts.expanduser())
        client.set_missing_host_key_policy(_Pinned(self._login.host_key))
        try:
            self._log_in(client)
        except BaseException:
            client.close()
            raise
        return client

    def _log_in(self, client: paramiko.SSHClient) -> None:
        """With keys first, as ssh does; then with a password, where there is one."""
        server = f"{self._user or 'this account'} at {address_text(self._host, self._port)}"
        key = _load_key(self._login) if self._login.key_file is not None else None
        common = {
            "port": self._port,
            "username": self._user,
            "timeout": _CONNECT_SECONDS,
            "banner_timeout": _CONNECT_SECONDS,
            "auth_timeout": _CONNECT_SECONDS,
            "channel_timeout": _CONNECT_SECONDS,
        }
        try:
            client.connect(
                self._host,
                pkey=key,
                allow_agent=key is None,
                look_for_keys=key is None,
                **common,
            )
        except (paramiko.AuthenticationException, paramiko.SSHException) as refused:
            if not _asks_for_login(refused):
                raise
            password = self._login.password(f"SFTP password of {server}: ")
            if password is None:
                raise
            client.connect(
                self._host, password=password, allow_agent=False, look_for_keys=False, **common
            )

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        """Say in words what went wrong with ``path``; a connection that is of no more use ends."""
        try:
            yield
        except tuple(kind for kind, _ in _REASONS) as error:
            lost = self._session is not None and self._session.get_channel().closed
            if lost:
                text = _LOST
            else:
                text = next(text for kind, text in _REASONS if isinstance(error, kind))
            if lost or not isinstance(error, OSError):
                self.close()
            reason = text.format(path=path, words=_words(error))
            where = address_text(self._host, self._port)
            raise SftpError(f"{where}: {reason}") from None


_LOST = "connection lost: {words}"
_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (
        _UnknownHostError,
        (
            "the host key is not known: {words}; compare it with what the server's administrator"
            " says, then add it to known_hosts or give --host-key"
        ),
    ),
    (
        paramiko.BadHostKeyException,
        "the host key is not the one in known_hosts, someone may be in between: {words}",
    ),
    (paramiko.AuthenticationException, "user, password or key was not accepted"),
    (FileNotFoundError, "{path}: no such file or directory"),
    (PermissionError, "{path}: permission denied"),
    (paramiko.ssh_exception.NoValidConnectionsError, "cannot connect: {words}"),
    (socket.gaierror, "no such host: {words}"),
    (TimeoutError, "no answer in time"),
    (paramiko.SSHException, _LOST),
    (EOFError, _LOST),
    (ConnectionError, _LOST),
    (UnicodeDecodeError, "{path}: a file name there is not UTF-8: {words}"),
    (UnicodeError, "no host name, or a word that is not UTF-8: {words}"),
    (paramiko.SFTPError, "the server does not keep to SFTP: {words}"),
    (struct.error, "the server does not keep to SFTP: {words}"),
    # The protocol's code 4 says "Failure" for a full disk as well as for all else.
    (OSError, "{path}: the server could not do it (no space left, or a limit?): {words}"),
)


def _opened_session(client: paramiko.SSHClient) -> paramiko.SFTPClient:
    """The SFTP session of a connection. Raises TimeoutError; paramiko would wait for ever."""
    late = threading.Event()

    def give_up() -> None:
        late.set()
        client.close()

    timer = threading.Timer(_CONNECT_SECONDS, give_up)
    timer.start()
    try:
        return client.open_sftp()
    except (EOFError, paramiko.SSHException):
        if late.is_set():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _canonical(fingerprint: str) -> str:
    """A fingerprint as ssh-keygen prints it: base64 without padding after "SHA256:"."""
    digits = fingerprint.strip().removeprefix("SHA256:").rstrip("=")
    return f"SHA256:{digits}"


def _asks_for_login(error: paramiko.SSHException) -> bool:
    """Whether what failed is the login: paramiko has no class of its own for having no key."""
    is_refusal = isinstance(error, paramiko.AuthenticationException)
    return is_refusal or "No authentication methods" in str(error)


def _load_known_hosts(client: paramiko.SSHClient, path: Path) -> None:
    """Believe the keys in ``path``; without the file no host is known."""
    try:
        client.load_host_keys(str(path))
    except FileNotFoundError:
        return
    except (OSError, ValueError, paramiko.hostkeys.InvalidHostKey) as error:
        raise SftpError(f"{path}: no known hosts to read: {_words(error)}") from None


def _load_key(login: Login) -> paramiko.PKey:
    """The private key of a login, its passphrase asked for where it has one."""
    path = login.key_file
    try:
        try:
            return paramiko.PKey.from_path(path)
        except (paramiko.PasswordRequiredException, TypeError):  # TypeError is cryptography's word
            passphrase = login.passphrase(f"Passphrase of {path}: ") or ""
            return paramiko.PKey.from_path(path, passphrase.encode())
    except (OSError, ValueError, TypeError, paramiko.SSHException) as error:
        raise SftpError(f"{path}: no private key that can be used: {_words(error)}") from None


def _client_name() -> str:
    """The same for every run of one account on one machine, and for no other."""
    account = f"{socket.gethostname()}:{os.getuid()}"
    return hashlib.sha256(account.encode()).hexdigest()[:8]
