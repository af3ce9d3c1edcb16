"""Checks of the lists by themselves: can they be read, do they verify, do they suit the phones."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from itl import ItlError
from itl.acceptance import LIST_SIGNERS, records_with
from itl.certificates import Certificate, describe
from itl.limits import load_guards
from itl.signing import Verdict, verify_data
from itl.trustlist import TrustList
from lab.phone.models import Model
from lab.phone.trust import Held
from lab.preflight.findings import Finding, Result
from lab.preflight.places import FileNode, ServedFile, Side, parse_list

MAX_RSA_BITS = 2048  # usecallmanager.nz; that no phone goes further is assumed
CLOCK_SLACK = timedelta(minutes=5)
SHORTEN = "Delete trust certificates that are no longer needed, then rebuild the list."


def check_lists(side: Side, *, needed: bool) -> Iterator[Finding]:
    """Every list of a side can be got, read and verified; ``needed``: phones need them to move."""
    check = f"{side.label}.lists"
    bad = Result.FAIL if needed else Result.WARN
    if not side.nodes:
        yield Finding(check, Result.UNKNOWN, "no TFTP server, file or node was named", (), _NAME)
    for node in side.nodes:
        if node.problem:
            text = f"{node.where}: {node.problem}"
            yield Finding(check, Result.UNKNOWN, text, (), _REACH.format(where=node.where))
            continue
        if node.itl.data is None:
            text = f"{node.where} has no ITL: phones keep what they hold"
            yield Finding(check, Result.WARN, text, (), _SERVE_ITL.format(where=node.where))
        for file in (node.ctl, node.itl):
            if file.data is not None:
                yield _verified(check, bad, node, file)


_NAME = "Name the place with tftp=, list= or state=."
_REACH = "Make {where} reachable from here, or give its lists as files with list=."
_SERVE_ITL = "Start the TFTP service on {where} and check that it has an ITL (show itl)."
_RESIGN = "Rebuild the list there (restart TFTP for an ITL, utils ctl update CTLFile for a CTL)."


def _verified(check: str, bad: Result, node: FileNode, file: ServedFile) -> Finding:
    data = file.data or b""
    found = verify_data(data, lists_only=True)
    list_ = parse_list(data)
    named = "" if list_ is None else list_.header.filename
    evidence = (
        f"{file.asked} from {node.where}: {len(data)} octets",
        *(f"{finding.code}: {finding.text}" for finding in found.findings),
    )
    signer = "" if found.signer is None else found.signer.subject
    if found.verdict is Verdict.VALID and named == file.name:
        return Finding(
            check, Result.PASS, f"{file.name} of {node.where} is signed by {signer}", evidence
        )
    problem = f"says it is {named!r}" if found.verdict is Verdict.VALID else str(found.verdict)
    return Finding(check, bad, f"{file.name} of {node.where}: {problem}", evidence, _RESIGN)


def check_fitness(side: Side, models: Sequence[Model], now: datetime) -> Iterator[Finding]:
    """Digest, size and signer of each list suit the phone models."""
    for node in side.nodes:
        for list_ in node.lists():
            what = f"{list_.kind} of {node.where}"
            yield _digest(f"{side.label}.digest", what, list_, models)
            yield _size(f"{side.label}.size", what, list_)
            yield from _signer(f"{side.label}.signer", what, list_, now)
            yield _time(f"{side.label}.time", what, list_, now)


def _digest(check: str, what: str, list_: TrustList, models: Sequence[Model]) -> Finding:
    digest = list_.header.digest
    unfit = [model.name for model in models if digest not in model.digests]
    if not unfit:
        return Finding(check, Result.PASS, f"{what} is signed over {digest}: the models check it")
    text = f"{what} is signed over {digest}, which {', '.join(unfit)} cannot check"
    remedy = "Set the enterprise parameter TFTP File Signature Algorithm to SHA-1."
    return Finding(check, Result.FAIL, text, (), remedy)


def _size(check: str, what: str, list_: TrustList) -> Finding:
    text = f"{what} has {len(list_.raw)} octets and {list_.certificate_count} certificates"
    evidence = tuple(guard.text for guard in load_guards(list_))
    if not evidence:
        return Finding(check, Result.PASS, text)
    return Finding(check, Result.FAIL, text, evidence, SHORTEN)


def _signer(check: str, what: str, list_: TrustList, now: datetime) -> Iterator[Finding]:
    certificate = signer_certificate(list_)
    if certificate is None:
        text = f"{what} does not hold its signer's certificate"
        yield Finding(check, Result.WARN, text, (list_.header.signer_name,), _RESIGN)
        return
    evidence = (f"{certificate.subject}, valid until {certificate.not_after:%Y-%m-%d}",)
    if certificate.not_after < now:
        text = f"the signer of {what} has expired (that phones do not mind is assumed)"
        remedy = "Renew the signer's certificate, rebuild the list, and exchange bundles again."
        yield Finding(check, Result.WARN, text, evidence, remedy)
    elif certificate.key_bits > MAX_RSA_BITS:
        text = f"the signer of {what} has a key of {certificate.key_bits} bits"
        remedy = f"Renew the signer with {MAX_RSA_BITS} bits: some phones stop there."
        yield Finding(check, Result.WARN, text, evidence, remedy)
    else:
        yield Finding(check, Result.PASS, f"the signer of {what} is in date", evidence)


def _time(check: str, what: str, list_: TrustList, now: datetime) -> Finding:
    stamp = list_.header.timestamp
    if stamp is None:
        return Finding(check, Result.WARN, f"{what} has no time stamp", (), _RESIGN)
    made = datetime.fromtimestamp(stamp, UTC)
    text = f"{what} was made on {made:%Y-%m-%d %H:%M} UTC"
    if made > now + CLOCK_SLACK:
        remedy = "Set the clock of the node that signed (NTP), then rebuild the list."
        return Finding(check, Result.WARN, f"{text}, after now", (), remedy)
    return Finding(check, Result.PASS, text)


def signer_certificate(list_: TrustList) -> Certificate | None:
    """The certificate of a list's signer, from its own SAST records."""
    for record in records_with([list_], LIST_SIGNERS):
        if record.certificate and record.is_named_by(list_.header):
            try:
                return describe(record.certificate)
            except ItlError:
                return None
    return None


def check_rollback(side: Side) -> Iterator[Finding]:
    """Prepare Cluster for Rollback to pre 8.0: an ITL whose TVS and TFTP sections are empty."""
    check = f"{side.label}.rollback"
    for node in side.nodes:
        itl = None if node.itl.data is None else parse_list(node.itl.data)
        if itl is None:
            continue
        remedy = "Set Prepare Cluster for Rollback to pre 8.0 to False and reset the phones once."
        if not itl.is_emptied:
            text = f"the ITL of {node.where} names TVS and TFTP certificates"
            yield Finding(check, Result.PASS, text)
        elif side.label == "source" and node.ctl.data is not None:
            text = f"the ITL of {node.where} is empty, but the CTL stays in force: TVS is lost"
            yield Finding(check, Result.FAIL, text, (), remedy)
        else:
            text = f"the ITL of {node.where} is empty: phones take any list and unsigned files"
            yield Finding(check, Result.WARN, text, (), remedy)


def check_stale_ctl(side: Side) -> Iterator[Finding]:
    """A CTL with records without certificates is what a cluster keeps that left mixed mode."""
    for node in side.nodes:
        ctl = None if node.ctl.data is None else parse_list(node.ctl.data)
        empty = 0 if ctl is None else sum(not record.has_key for record in ctl.records)
        if empty:
            text = f"the CTL of {node.where} has {empty} records without certificate"
            remedy = "Remove the CTL if the cluster is no longer in mixed mode, else rebuild it."
            yield Finding(f"{side.label}.ctl", Result.WARN, text, (), remedy)


def check_anchor(source: Sequence[Held], destination: Side) -> Iterator[Finding]:
    """A signer in the old lists that is in the new ones too lets phones come back by themselves."""
    old = {
        (record.issuer, record.serial) for held in source for record in held.records(LIST_SIGNERS)
    }
    for node in destination.nodes:
        common = [
            record.subject
            for record in records_with(node.lists(), LIST_SIGNERS)
            if (record.issuer, record.serial) in old
        ]
        if common:
            text = f"the old lists and those of {node.where} have a signer in common"
            yield Finding("anchor", Result.PASS, text, tuple(common))
        elif node.lists() and old:
            text = f"the old lists and those of {node.where} have no signer in common"
            remedy = (
                "Import the source's certificates at the destination before the move, or no phone "
                "can come back by itself."
            )
            yield Finding("anchor", Result.WARN, text, (), remedy)


def check_duplicates(sides: Iterable[Side]) -> Iterator[Finding]:
    """The same subject and serial number, or issuer and serial number, with another key."""
    seen: dict[tuple[str, str, bytes], dict[bytes, str]] = defaultdict(dict)
    for der, where in dict(pair for side in sides for pair in _certificates(side)).items():
        try:
            found = describe(der)
        except ItlError:
            continue
        seen["subject", found.subject, found.serial][found.public_key] = where
        seen["issuer", found.issuer, found.serial][found.public_key] = where
    conflicts = [
        Finding(
            "duplicates",
            Result.WARN,
            f"{len(keys)} certificates with {what} {name} and serial number {serial.hex()}"
            " have different keys",
            tuple(sorted(keys.values())),
            "Delete the outdated one from the trust stores and export again.",
        )
        for (what, name, serial), keys in seen.items()
        if len(keys) > 1
    ]
    if not conflicts:
        text = f"{len(seen) // 2} certificates, none in conflict with another"
        yield Finding("duplicates", Result.PASS, text)
    yield from conflicts


def _certificates(side: Side) -> Iterator[tuple[bytes, str]]:
    for node in side.nodes:
        for list_ in node.lists():
            for record in list_.records:
                if record.certificate is not None:
                    yield record.certificate, f"{list_.kind} of {node.where}"
    if side.snapshot is not None:
        for entry in side.snapshot.entries():
            yield entry.der, f"{side.label}: {entry.source}"
