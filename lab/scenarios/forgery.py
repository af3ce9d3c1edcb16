"""Lists and configurations that are not what they should be, each wrong in one way."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from conf.node import Node
from conf.signer import Signer
from itl.certificates import describe
from itl.roles import Role
from itl.signedfile import sign_file
from itl.trustlist import CTL_FILENAME, ITL_FILENAME, RecordSpec, build_trust_list, parse_trust_list
from lab.scenarios.model import ConfigurationFault, ListFault
from lab.scenarios.stranger import HOST, Stranger
from tftp.lists import ctl_records, itl_records

BITS = frozenset({"bit in record", "bit in header", "bit in signature"})
OVERSIZE_RECORDS = 80  # some 90 kB; phones load 64 kB
_LOAD = re.compile(rb"[ \t]*<loadInformation>.*?</loadInformation>\r?\n?", re.DOTALL)
_TVS = re.compile(rb"<TVS>.*?</TVS>", re.DOTALL)


@dataclass(frozen=True)
class Forger:
    """Makes them for one node; ``list_signer`` and ``file_signer`` are the node's true keys."""

    node: Node
    list_signer: Signer
    file_signer: Signer
    stranger: Stranger
    digest: str
    timestamp: int

    def trust_list(self, fault: ListFault) -> bytes:
        """The octets of a wrong ITL or CTL."""
        name = f"{fault.file}File.tlv"
        digest, records, signer = self.digest, self._trapped(fault.file), self.list_signer
        match fault.what:
            case "blank":
                return b"\n"
            case "stranger":
                records, signer = self._foreign(), self.stranger.recovery
            case "expired":
                records, signer = self._foreign(), self.stranger.expired
            case "rollback":
                records = itl_records(self.node, self.list_signer, rollback=True)
            case "wrong name":
                name = ITL_FILENAME if name == CTL_FILENAME else CTL_FILENAME
            case "sha512":
                digest = "sha512"
            case "oversized":
                own = self.node.own.certificates["CallManager"]
                filling = self._record(Role.SAST, own, self.node.own.host)
                records += [filling] * OVERSIZE_RECORDS
        built = self._build(name, records, signer, digest)
        if fault.what == "truncated":
            return built[: len(built) * 2 // 3]
        return _with_bit_changed(built, fault.what) if fault.what in BITS else built

    def configuration(self, true: bytes, fault: ConfigurationFault, name: str) -> bytes:
        """A configuration for the request ``name``, made from the true unsigned octets."""
        payload = naming(true, fault.names)
        if fault.what == "altered" and name.endswith(".sgn"):
            return self._altered(true, fault, name)
        if not name.endswith(".sgn") or fault.what == "unsigned":
            return payload
        signer = self.stranger.callmanager if fault.what == "stranger" else self.file_signer
        said = name
        if fault.what == "wrong name":
            said = re.sub(r"SEP[0-9A-Fa-f]{12}", "SEP000000000000", name)
        signed = sign_file(
            payload, name=said, signer=signer, timestamp=self.timestamp, digest=self.digest
        )
        if fault.what == "truncated":
            return signed[: len(signed) - len(payload) // 2]
        return signed

    def _altered(self, true: bytes, fault: ConfigurationFault, name: str) -> bytes:
        """Signed as it should be; then other words of the same length are put in."""
        honest: Literal["good", "evil"] = "good" if fault.names == "evil" else "evil"
        signed = self.configuration(true, ConfigurationFault(boots=(), names=honest), name)
        return signed.replace(naming_words(honest), naming_words(fault.names))

    def _build(
        self, name: str, records: Sequence[RecordSpec], signer: Signer, digest: str
    ) -> bytes:
        return build_trust_list(
            records,
            signer=signer,
            filename=name,
            timestamp=self.timestamp,
            digest=digest,
        )

    def _trapped(self, kind: str) -> list[RecordSpec]:
        """The true records, and the stranger's."""
        if kind == "ITL":
            return [*itl_records(self.node, self.list_signer), *self._strangers()]
        return [*ctl_records(self.node, self.list_signer), *self._strangers()]

    def _strangers(self) -> list[RecordSpec]:
        role = Role.CCM_TFTP if self.node.secure else Role.TFTP
        return [
            self._record(role, self.stranger.callmanager.certificate),
            self._record(Role.TVS, self.stranger.tvs.chain[0]),
        ]

    def _foreign(self) -> list[RecordSpec]:
        """The records of the stranger's own lists."""
        signers = (self.stranger.recovery, self.stranger.expired, self.stranger.callmanager)
        return [
            *(self._record(Role.SAST, signer.certificate) for signer in signers),
            *self._strangers(),
            self._record(Role.TVS, self.node.own.certificates["TVS"], self.node.own.host),
        ]

    def _record(self, role: Role, certificate: bytes, host: str = HOST) -> RecordSpec:
        return RecordSpec(
            role=role, certificate=certificate, dns_name=host, address=self.node.address
        )


def naming(configuration: bytes, load: str) -> bytes:
    """``configuration`` with our load in it, and no other."""
    bare = _LOAD.sub(b"", configuration)
    head, separator, tail = bare.rpartition(b"</device>")
    return head + naming_words(load) + separator + tail if separator else bare


def naming_words(load: str) -> bytes:
    """The element that names our load."""
    return f"  <loadInformation>trustlab-{load}</loadInformation>\n".encode()


def with_tvs(configuration: bytes, servers: Sequence[tuple[str, int]]) -> bytes:
    """``configuration`` with ``servers`` as its TVS members, in that order."""
    members = "".join(
        f'<member priority="{at}"><port>{port}</port><address>{host}</address></member>'
        for at, (host, port) in enumerate(servers)
    )
    made = f"<TVS><members>{members}</members></TVS>".encode()
    return _TVS.sub(lambda _: made, configuration, count=1)


def issued_by(signer: Signer) -> tuple[str, bytes]:
    """Issuer and serial number, as phones ask about a signer."""
    certificate = describe(signer.certificate)
    return certificate.issuer, certificate.serial


def _with_bit_changed(data: bytes, where: str) -> bytes:
    """``data`` with one bit changed, in a place where it stays readable."""
    read = parse_trust_list(data)
    if where == "bit in signature":
        at = data.index(read.header.signature) + 7
    elif where == "bit in header":
        # the last octet of the time it was signed at
        at = data.index(b"\x0f\x00\x04", 0, read.header.header_length) + 6
    else:
        last = read.records[-1]
        at = data.index(last.dns_name.encode() + b"\0", last.offset)
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
