"""Names of peers: addresses as the kernel has them (struct sockaddr_in and sockaddr_in6).

They come and go with datagrams as they are, and tell peers apart; the text is made for people.
"""

import socket
from functools import lru_cache
from struct import Struct

from conf.addresses import address_text
from tftp.sockets import Address

_IPV4_OCTETS = 4
_IN = Struct("=H2s4s8x")  # struct sockaddr_in: family, port, address
_IN6 = Struct("=H2s4x16sI")  # struct sockaddr_in6: family, port, flow, address, scope
_PRIVILEGED = 1024 >> 8  # of a port's two octets the first


def name_octets(family: int) -> int:
    """How many octets a name of ``family`` has."""
    return _IN.size if family == socket.AF_INET else _IN6.size


def is_privileged(name: bytes) -> bool:
    """Whether the port is below 1024: a service that may answer whatever it gets."""
    return name[2] < _PRIVILEGED


def address_of(name: bytes) -> Address:
    """The address that the kernel has as ``name``."""
    host, port = host_text(host_of(name)), int.from_bytes(name[2:4], "big")
    return (host, port) if len(name) == _IN.size else (host, port, 0, _IN6.unpack(name)[3])


def name_of(address: Address) -> bytes:
    """``address`` as the kernel has it. Raises OSError if it is none."""
    host, number, *rest = address
    port = number.to_bytes(2, "big")
    if not rest:
        return _IN.pack(socket.AF_INET, port, socket.inet_pton(socket.AF_INET, host))
    return _IN6.pack(socket.AF_INET6, port, socket.inet_pton(socket.AF_INET6, host), rest[1])


def host_of(name: bytes) -> bytes:
    """The part of ``name`` that is the same for all ports of a host."""
    return name[4:8] if len(name) == _IN.size else name[8:24]


@lru_cache(maxsize=4096)
def host_text(host: bytes) -> str:
    """The address that :func:`host_of` answers, in words."""
    return socket.inet_ntop(socket.AF_INET if len(host) == _IPV4_OCTETS else socket.AF_INET6, host)


@lru_cache(maxsize=4096)
def _before_port(host: bytes) -> str:
    return address_text(host_text(host), 0).removesuffix("0")


def peer_text(name: bytes) -> str:
    """Address and port in words."""
    return f"{_before_port(host_of(name))}{int.from_bytes(name[2:4], 'big')}"
