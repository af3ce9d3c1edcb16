"""The configuration of a phone that has no file of its own in the root."""

import re
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, PackageLoader, StrictUndefined, TemplateError

from conf.files import read_regular
from conf.node import Node
from tftp import TftpError
from tftp.content import Octets, octets_of

PHONE_FILE = re.compile(r"SEP([0-9A-Fa-f]{12})\.cnf\.xml")
DEFAULT_FILE = "XMLDefault.cnf.xml"
MAX_MEMBERS = 5  # TVS servers and CallManagers a phone takes: usecallmanager.nz
_TEMPLATE = "SEP.cnf.xml.j2"


class TemplateProblemError(TftpError):
    """A template that cannot be read or rendered."""


class PhoneConfigurations:
    """Renders ``SEP<MAC>.cnf.xml`` for the phones named, and ``XMLDefault.cnf.xml``.

    ``loads`` maps a MAC (12 upper-case digits) to the name of its firmware load, "" for none.
    ``template`` is a Jinja2 file instead of the one shipped; it sees ``mac``, ``load``,
    ``cluster``, ``secure`` and ``members`` (each with ``host``, ``address``, ``tvs_port``, in the
    order of the CallManager group), and what it inserts is escaped for XML. Rendered once, here.
    Raises :class:`TemplateProblemError`.
    """

    def __init__(
        self, node: Node, loads: Mapping[str, str], *, template: Path | None = None, modified: int
    ) -> None:
        loader = FileSystemLoader(template.parent) if template else PackageLoader("tftp")
        environment = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
        )
        try:
            if template is not None:
                read_regular(template)  # what is a pipe would be waited for
            page = environment.get_template(template.name if template else _TEMPLATE)
            rendered = {
                mac: page.render(
                    mac=mac,
                    load=load,
                    cluster=node.cluster,
                    secure=node.secure,
                    members=node.members[:MAX_MEMBERS],
                ).encode()
                for mac, load in {**loads, "": ""}.items()
            }
        except (TemplateError, OSError, UnicodeDecodeError) as error:
            raise TemplateProblemError(f"{template or _TEMPLATE}: {error}") from None
        self._octets = {mac: octets_of(data, modified) for mac, data in rendered.items()}

    def find(self, name: str) -> Octets | None:
        """The configuration ``name`` stands for, None if it is of no phone that is known."""
        if name == DEFAULT_FILE:
            return self._octets[""]
        found = PHONE_FILE.fullmatch(name)
        return self._octets.get(found[1].upper()) if found else None
