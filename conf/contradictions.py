"""Settings that are each possible and not together."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conf.settings import Settings


def contradictions(settings: "Settings") -> Iterator[tuple[str, str]]:
    """The key of each setting that another one contradicts, and in words how."""
    yield from _ports(settings)
    if settings.tftp.serve_uploads and not settings.tftp.uploads:
        yield "tftp.serve_uploads", "there are no uploads to serve while tftp.uploads is false"
    rendered = {mac.upper() for mac in settings.phones.macs}
    for mac in settings.phones.loads:
        if mac.upper() not in rendered:
            yield "phones.loads", f"{mac} gets no configuration: phones.macs does not name it"


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
