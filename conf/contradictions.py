"""Settings that are of the right type, and cannot be meant: alone, or not together."""

import ipaddress
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conf.settings import Settings


def contradictions(settings: "Settings") -> Iterator[tuple[str, str]]:
    """The key of each setting that means nothing or that another one contradicts, and how."""
    yield from _unusable(settings)
    yield from _ports(settings)
    if settings.tftp.serve_uploads and not settings.tftp.uploads:
        yield "tftp.serve_uploads", "there are no uploads to serve while tftp.uploads is false"
    rendered = {mac.upper() for mac in settings.phones.macs}
    for mac in settings.phones.loads:
        if mac.upper() not in rendered:
            yield "phones.loads", f"{mac} gets no configuration: phones.macs does not name it"


def _unusable(settings: "Settings") -> Iterator[tuple[str, str]]:
    """What has the right type, and no meaning."""
    node = settings.node
    for name in ("cluster", "host", "address"):
        if not getattr(node, name):
            yield f"node.{name}", "is not given; `trustlab init` writes it"
    wanted = {
        "node.address": node.address,
        "serve.address": settings.serve.address,
        "metrics.address": settings.metrics.address,
    }
    for key, address in wanted.items():
        try:
            ipaddress.ip_address(address)
        except ValueError:
            yield key, f"{address!r} is no IPv4 or IPv6 address"


def _ports(settings: "Settings") -> Iterator[tuple[str, str]]:
    """TCP ports that two services would want."""
    wanted = [
        ("tvs.port", settings.tvs.port, True),
        ("tvs.legacy_port", settings.tvs.legacy_port, True),
        ("http.port", settings.http.port, settings.http.enabled),
        ("http.tls_port", settings.http.tls_port, settings.http.tls_enabled),
        ("metrics.port", settings.metrics.port, settings.metrics.enabled),
    ]
    seen: dict[int, str] = {}
    for key, port, used in wanted:
        if port and used:
            if port in seen:
                yield key, f"{port} is {seen[port]} already"
            seen.setdefault(port, key)
