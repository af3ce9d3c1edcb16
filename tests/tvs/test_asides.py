"""Records that carry no data: as many as the bound are taken, a flood inside one read is not."""

import hmac
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import trio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from OpenSSL import SSL

from tvs.client import InquiryError, verify
from tvs.messages import Request, encode_request
from tvs.tls import MAX_ASIDES, server_context

HANDSHAKE, DATA = 22, 23
RECORD = struct.Struct(">BHH")
TLS12 = 0x303
KEY_UPDATE = b"\x18\0\0\1\0"  # its own keys only (RFC 8446, 4.6.3)
TICKETS = 2  # that OpenSSL sends after the handshake
HELLO = b"\1\0\0\0"  # all that OpenSSL looks at before it refuses a renegotiation


class Tls13:
    """Writes records of an open TLS 1.3 connection with AES-128-GCM (RFC 8446, 5.2 and 7.2)."""

    aside = KEY_UPDATE

    def __init__(
        self, _tls: SSL.Connection, secrets: dict[bytes, bytes], side: bytes = b"CLIENT"
    ) -> None:
        self._rekey(secrets[side + b"_TRAFFIC_SECRET_0"])

    def _rekey(self, secret: bytes) -> None:
        self._secret, self._sequence = secret, 0
        self._key, self._iv = AESGCM(self._expand(b"key", 16)), self._expand(b"iv", 12)

    def _expand(self, label: bytes, length: int) -> bytes:
        label = b"tls13 " + label
        info = struct.pack(">HB", length, len(label)) + label + b"\0"
        return HKDFExpand(algorithm=hashes.SHA256(), length=length, info=info).derive(self._secret)

    def record(self, kind: int, content: bytes) -> bytes:
        inner = content + bytes((kind,))
        head = RECORD.pack(DATA, TLS12, len(inner) + 16)
        nonce = int.from_bytes(self._iv) ^ self._sequence
        self._sequence += 1
        sealed = head + self._key.encrypt(nonce.to_bytes(12), inner, head)
        if content == KEY_UPDATE:
            self._rekey(self._expand(b"traffic upd", 32))
        return sealed


class Tls12:
    """The same of TLS 1.2 (RFC 5246, 6.3; RFC 5288, 3); the Finished was its first record."""

    aside = HELLO

    def __init__(self, tls: SSL.Connection, _secrets: dict[bytes, bytes]) -> None:
        master, seed = (
            tls.master_key(),
            b"key expansion" + tls.server_random() + tls.client_random(),
        )
        block, a = b"", seed
        while len(block) < 40:
            a = hmac.digest(master, a, "sha256")
            block += hmac.digest(master, a + seed, "sha256")
        self._key, self._salt, self._sequence = AESGCM(block[:16]), block[32:36], 1

    def record(self, kind: int, content: bytes) -> bytes:
        number = self._sequence.to_bytes(8)
        self._sequence += 1
        covered = number + RECORD.pack(kind, TLS12, len(content))
        sealed = number + self._key.encrypt(self._salt + number, content, covered)
        return RECORD.pack(kind, TLS12, len(sealed)) + sealed


def secrets_of(context: SSL.Context) -> dict[bytes, bytes]:
    """The secrets of the next connection, by the labels of the key log format."""
    secrets: dict[bytes, bytes] = {}

    def keep(_tls: SSL.Connection, line: bytes) -> None:
        label, _, secret = line.split()
        secrets[label] = bytes.fromhex(secret.decode())

    context.set_keylog_callback(keep)
    return secrets


@contextmanager
def opened(
    port: int, version: type[Tls12 | Tls13]
) -> Iterator[tuple[SSL.Connection, Tls12 | Tls13]]:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if version is Tls12:
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(b"ECDHE-RSA-AES128-GCM-SHA256")
    context.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256")
    secrets = secrets_of(context)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connected:
        connected.settimeout(None)
        tls = SSL.Connection(context, connected)
        tls.set_connect_state()
        tls.do_handshake()
        yield tls, version(tls, secrets)


@pytest.mark.parametrize("version", [Tls12, Tls13])
async def test_a_flood_of_key_updates_or_hellos_ends_its_connection(serve, version) -> None:
    def flood(port: int) -> None:
        with opened(port, version) as (tls, writer):
            records = [writer.record(HANDSHAKE, version.aside) for _ in range(10 * MAX_ASIDES)]
            tls._socket.sendall(b"".join(records))
            with suppress(SSL.Error):
                while tls.recv(100):
                    pass

    async with serve() as tvs:
        await trio.to_thread.run_sync(flood, tvs.port)
        event = await tvs.event("tvs.connection")
    assert event["outcome"] == "dropped"
    assert event["reason"] == f"more than {MAX_ASIDES} key updates or renegotiations"


async def test_as_many_key_updates_as_the_bound_do_no_harm(serve) -> None:
    def ask(port: int, der: bytes) -> bytes:
        with opened(port, Tls13) as (tls, writer):
            records = [writer.record(HANDSHAKE, KEY_UPDATE) for _ in range(MAX_ASIDES)]
            request = encode_request(Request(1, b"sess", certificate=der))
            tls._socket.sendall(b"".join(records) + writer.record(DATA, request))
            return tls.recv(100)

    async with serve() as tvs:
        answer = await trio.to_thread.run_sync(ask, tvs.port, tvs.trusted.der)
    assert answer[10:14] == b"\7\0\1\0"


async def test_a_server_that_sends_nothing_else_is_left(certificates) -> None:
    identity, asked = certificates["identity"], trio.Event()
    context = server_context([((identity.der,), identity.key)])
    context.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256")
    secrets = secrets_of(context)

    def flood(listener: socket.socket) -> None:
        connected, _ = listener.accept()
        with connected:
            tls = SSL.Connection(context, connected)
            tls.set_accept_state()
            tls.do_handshake()
            tls.recv(4096)
            writer = Tls13(tls, secrets, b"SERVER")
            for _ in range(TICKETS):
                writer.record(HANDSHAKE, b"")
            records = [writer.record(HANDSHAKE, KEY_UPDATE) for _ in range(10 * MAX_ASIDES)]
            connected.sendall(b"".join(records))
            trio.from_thread.run(asked.wait)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, flood, listener)
            with pytest.raises(InquiryError, match="ended the connection without an answer"):
                await verify("127.0.0.1", listener.getsockname()[1], certificate=b"x")
            asked.set()
