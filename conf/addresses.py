"""Addresses of peers in words."""


def plain_host(host: str) -> str:
    """An IPv4 address as such, which a socket for both families shows as ``::ffff:192.0.2.1``."""
    bare = host.removeprefix("::ffff:")
    return host if ":" in bare else bare


def address_text(host: str, port: int) -> str:
    """``127.0.0.1:5000`` or ``[::1]:5000``."""
    host = plain_host(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
