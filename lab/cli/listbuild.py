"""`trustlab itl build` and `trustlab ctl build`."""

import ipaddress
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from conf.identity import read_signer
from itl.document import Style
from itl.limits import Guard, check_build
from itl.roles import parse_role
from itl.trustlist import RecordSpec, build_trust_list
from lab.cli import terminal
from lab.cli.arguments import Flag
from lab.cli.documents import (
    UnreadableError,
    read_certificate,
    shown_path,
    write_file,
)
from lab.endpoint import UsageError

PUBLIC_FILE = 0o644
NO_CERTIFICATE = "-"
_RECORD = re.compile(
    r"(?P<role>[^=]+)=(?P<certificate>.+?)(?P<rest>(?:,(?:dns|address)=[^,]*)*)", re.DOTALL
)


def build_command(filename: str) -> Callable[..., int]:
    """`trustlab itl|ctl build`, by the name in the list's header."""

    def build(
        *,
        record: Annotated[list[str], Parameter(negative="")],
        signer: Path,
        signer_key: Path,
        output: Annotated[Path, Parameter(name=["--output", "-o"])],
        digest: str = "sha1",
        style: Style = "cucm",
        signer_version: Literal["none", "1.0", "1.1"] = "none",
        phones: Annotated[list[str] | None, Parameter(negative="")] = None,
        force: Flag = False,
    ) -> int:
        """Write a signed list; it is read back and verified before the file is made.

        Parameters
        ----------
        record:
            ROLE=CERT[,dns=NAME][,address=IP]; in the order given, may be repeated. ROLE is SAST,
            CCM, CCM+TFTP, TFTP, CAPF, APP-SERVER, TVS or a number; CERT a PEM or DER file, or - for
            a record without certificate. An IPv6 address is left out of the record (assumed).
        signer:
            The signer's certificate, which should be a SAST of the list.
        signer_key:
            Its private key, RSA of 1024, 2048 or 4096 bits.
        output:
            The file to write.
        digest:
            sha1, which every phone verifies, or sha512.
        style:
            cucm, or certutils: names in the certificate's order, joined by commas, neither DNS
            names nor addresses, another order of elements.
        signer_version:
            Element 28 of an ITL: 1.1 makes phones fetch their files by HTTPS on port 6971.
        phones:
            A phone family that will load the list (7900, 8800, …); may be repeated.
        force:
            Write the list although phones would refuse it.
        """
        specs = [read_record(text) for text in record]
        if style == "certutils" and any(spec.dns_name or spec.address for spec in specs):
            terminal.say("warning: style certutils: DNS names and addresses are left out")
        signing = read_signer(signer, signer_key)
        now = datetime.now(UTC)
        built = build_trust_list(
            specs,
            signer=signing,
            filename=filename,
            timestamp=int(now.timestamp()),
            digest=digest,
            style=style,
            signer_version=None if signer_version == "none" else signer_version,
        )
        guards = check_build(
            specs,
            built,
            signer=signing.certificate,
            digest=digest,
            now=now,
            families=phones or (),
        )
        _heed(guards, force=force)
        write_file(output, built, PUBLIC_FILE)
        count = f"{len(specs)} record{'s' if len(specs) > 1 else ''}"
        terminal.say(f"{shown_path(output)}: {count}, {len(built)} bytes")
        return 0

    return build


def read_record(text: str) -> RecordSpec:
    """A record from ``ROLE=CERT[,dns=NAME][,address=IP]``; the certificate is read."""
    found = _RECORD.fullmatch(text)
    if found is None:
        raise UsageError(f"--record {text!r}: not ROLE=CERT[,dns=NAME][,address=IP]")
    role, file = parse_role(found["role"]), found["certificate"]
    pairs = [pair.split("=", 1) for pair in found["rest"].split(",")[1:]]
    rest = dict(pairs)
    if len(rest) < len(pairs):
        raise UsageError(f"--record {text!r}: one dns and one address for the most")
    address = rest.get("address")
    if address is not None:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError as error:
            raise UsageError(f"--record {text!r}: {error}") from None
        if isinstance(parsed, ipaddress.IPv6Address):
            terminal.say(f"warning: {address}: IPv6, left out of the record (assumed)")
    try:
        certificate = None if file == NO_CERTIFICATE else read_certificate(Path(file))
    except UnreadableError as error:
        raise UsageError(f"--record {error}") from None
    return RecordSpec(role, certificate, rest.get("dns", ""), address)


def _heed(guards: list[Guard], *, force: bool) -> None:
    """Say every guard; raise :class:`UsageError` for those that phones refuse a list for."""
    fatal = [guard for guard in guards if guard.fatal and not force]
    for guard in guards:
        if guard not in fatal:
            terminal.say(f"warning: {guard.text}")
    if fatal:
        reasons = "; ".join(guard.text for guard in fatal)
        raise UsageError(f"not written: {reasons} (--force writes it all the same)")
