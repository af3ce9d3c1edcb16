"""Checks of what lies between the clusters: the source's TVS, what it knows, the move itself."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from itl.acceptance import LIST_SIGNERS
from itl.roles import SIGNS_FILES, Role, role_name
from lab.phone.models import Model
from lab.phone.trust import Held, Outcome, Question, Reason, tvs_certificates
from lab.preflight.findings import Finding, Result
from lab.preflight.list_checks import SHORTEN
from lab.preflight.places import Side, configuration_of
from lab.preflight.probe import Known, Probe
from lab.preflight.rehearsal import Move, Step

_IMPORT = (
    "Export on the destination, consolidate, and import on the source (Bulk Certificate Management,"
    " type All); or upload {what} to {stores} on the source's publisher."
)
_LIST_STORES = "Phone-SAST-trust and CallManager-trust"


def check_imports(side: Side) -> Iterator[Finding]:
    """What importing the bundles named would do: nothing, if one of them cannot be read."""
    check = f"{side.label}.bundles"
    for each in side.imports:
        what, missing = f"an import of {each.where}", each.plan.missing
        if each.refusals:
            text = f"{what} would be refused, all of it"
            remedy = "Take those files out, or open them with --password-file (see bundle list)."
            yield Finding(check, Result.WARN, text, each.refusals, remedy)
        elif missing:
            remedy = "Export on every node of that cluster again."
            yield Finding(check, Result.WARN, f"{what} would lack signers", missing, remedy)
        elif not each.plan.lines:
            text = f"{each.where} has no certificates to import"
            yield Finding(check, Result.WARN, text, (), "Export on the other cluster first.")
        else:
            text = f"{what} would bring or change {len(each.plan.changes)} certificates"
            yield Finding(check, Result.PASS, text)


def check_tvs(held: Sequence[Held], probes: Sequence[Probe]) -> Iterator[Finding]:
    """Each TVS server can be reached from here, and shows a certificate of the lists held."""
    live = [probe for probe in probes if probe.server != "store"]
    if not live:
        text = "no TVS server of the source was named: phones may still reach one"
        yield Finding("tvs.reachable", Result.UNKNOWN, text, (), "Name it with tvs=.")
    believed = frozenset[bytes]().union(*(tvs_certificates(each) for each in held))
    for probe in live:
        if probe.server_certificate is None:
            yield _unreachable(probe)
            continue
        text = f"TVS {probe.server} answers on this port, asked from this machine"
        yield Finding("tvs.reachable", Result.PASS, text, (probe.tls,) if probe.tls else ())
        if probe.problem:
            text = f"TVS {probe.server} did not answer every question: {probe.problem}"
            remedy = "Restart the Trust Verification Service on that node."
            yield Finding("tvs.answers", Result.WARN, text, (), remedy)
        if probe.server_certificate in believed:
            text = f"TVS {probe.server} shows a certificate of the phones' ITL"
            yield Finding("tvs.certificate", Result.PASS, text)
        else:
            text = f"TVS {probe.server} shows a certificate that is in no ITL of the source"
            remedy = "Restart TFTP on the source and let the phones fetch the ITL before the move."
            yield Finding("tvs.certificate", Result.WARN, text, (), remedy)


def _unreachable(probe: Probe) -> Finding:
    text = f"TVS {probe.server} cannot be asked from this machine: {probe.problem}"
    remedy = "Open TCP port 2445 to it from the phones' network, or start the service there."
    return Finding("tvs.reachable", Result.WARN, text, (), remedy)


def check_tls(
    models: Sequence[Model], probes: Sequence[Probe], old_probes: Sequence[Probe]
) -> Iterator[Finding]:
    """The TLS spoken is one the models speak; ``old_probes`` were made with TLS 1.0 alone."""
    for probe in probes:
        if probe.tls:
            text = f"TVS {probe.server} speaks {probe.tls} with phones that know it"
            yield Finding("tvs.tls", Result.PASS, text)
    old = ", ".join(model.name for model in models if model.old_tls)
    reachable = {probe.server for probe in probes if probe.server_certificate is not None}
    for probe in old_probes:
        if probe.server_certificate is not None:
            text = f"TVS {probe.server} speaks TLS 1.0, all that {old} know"
            yield Finding("tvs.tls", Result.PASS, text)
        elif probe.server in reachable:
            text = f"TVS {probe.server} does not speak TLS 1.0, all that {old} know"
            remedy = "Set the minimum TLS version of the source cluster to 1.0 for the move."
            yield Finding("tvs.tls", Result.WARN, text, (probe.problem,), remedy)


def check_known(
    held: Sequence[Held], wanted: Sequence[Question], probes: Sequence[Probe]
) -> Iterator[Finding]:
    """For everything that signs at the destination: held already, or vouched for, by whom."""
    for question in wanted:
        check = "signer.lists" if question.roles == LIST_SIGNERS else "signer.files"
        own = [record for each in held for record in each.records(question.roles)]
        if any(record.is_called(question.issuer, question.serial) for record in own):
            text = f"{question.subject} is in the lists the phones hold"
            yield Finding(check, Result.PASS, text)
            continue
        said = [
            (probe.server, known)
            for probe in probes
            for known in probe.known
            if known.question == question
        ]
        if not said:
            text = f"{question.subject} is in no list held, and nobody could be asked"
            yield Finding(check, Result.UNKNOWN, text, (_key(question),), "Name a tvs= to ask.")
        for server, known in said:
            yield _known(check, server, known)


def _known(check: str, server: str, known: Known) -> Finding:
    question, answer = known.question, known.answer
    roles = ", ".join(role_name(role) for role in answer.roles) or "no role"
    evidence = (_key(question), f"status {answer.status}, {roles}", *filter(None, [known.text]))
    if known.vouched:
        text = f"{server} vouches for {question.subject} as {roles}"
        return Finding(check, Result.PASS, text, evidence)
    remedy = _IMPORT.format(what=question.subject, stores=_stores(question))
    if answer.status == 0:
        text = f"{server} knows {question.subject}, but only as {roles}"
    else:
        text = f"{server} does not know {question.subject}"
    return Finding(check, Result.WARN, text, evidence, remedy)


def _key(question: Question) -> str:
    return f"serial number {question.serial.hex()}, issuer {question.issuer}"


def check_tvs_list(side: Side) -> Iterator[Finding]:
    """The phones' configuration names the TVS servers, in the order of the CallManager group."""
    for node in side.nodes:
        if node.problem or not node.where.startswith(("tftp", "state")):
            continue
        found = configuration_of(node.configuration)
        if found is None:
            text = f"{node.where} has no configuration for the phone asked for"
            yield Finding(
                "tvs.list", Result.UNKNOWN, text, (), "Name one of its phones with --mac."
            )
            continue
        named = tuple(server.where for server in found.tvs)
        if named:
            text = f"the configuration names {len(named)} TVS servers"
            yield Finding("tvs.list", Result.PASS, text, named)
        else:
            text = "the configuration names no TVS server: phones have nobody to ask"
            remedy = "Check the device pool's CallManager group on the source."
            yield Finding("tvs.list", Result.WARN, text, (), remedy)


def check_nodes(side: Side) -> Iterator[Finding]:
    """Every TFTP node of the destination was looked at: each signs its own ITL."""
    names = {
        record.dns_name: record.address
        for list_ in side.lists()
        for record in list_.records
        if record.role in SIGNS_FILES | {Role.TVS} and record.dns_name
    }
    looked_at = sum(bool(node.lists()) for node in side.nodes)
    evidence = tuple(f"{name} ({address})" for name, address in sorted(names.items()))
    if looked_at >= len(names):
        text = f"nodes looked at: {looked_at}, named in their lists: {len(names)}"
        yield Finding("destination.nodes", Result.PASS, text, evidence)
    else:
        text = f"the lists name {len(names)} nodes, {looked_at} were looked at"
        remedy = "Name every TFTP node the phones may use with its own tftp=."
        yield Finding("destination.nodes", Result.WARN, text, evidence, remedy)


def check_way_back(source: Iterable[Question], probes: Sequence[Probe]) -> Iterator[Finding]:
    """The destination's TVS knows who signs at the source, so that phones can come back."""
    if not probes:
        text = "no TVS of the destination was named: whether phones could come back is not known"
        yield Finding("way-back", Result.UNKNOWN, text, (), "Name it with tvs= or state=.")
    wanted = {question for question in source if question.roles == LIST_SIGNERS}
    for probe in probes:
        for known in probe.known:
            if known.question in wanted:
                found = _known("way-back", probe.server, known)
                what = known.question.subject
                remedy = f"Import {what} at the destination too, into {_LIST_STORES}."
                yield replace(found, remedy=remedy if found.remedy else "")


def check_moves(moves: Sequence[Move]) -> Iterator[Finding]:
    """The rehearsals: what a phone of each model does with the files of each node."""
    if not moves:
        text = "there are no lists on one of the two sides"
        yield Finding("move", Result.UNKNOWN, text, (), "Name tftp=, list= or state= for both.")
    for move in moves:
        who = f"model {move.model} with the lists of {move.holder}, moved to {move.node}"
        evidence = tuple(line for step in move.steps for line in _step(step))
        if move.follows:
            yield Finding("move", Result.PASS, f"{who}: follows", evidence)
        elif move.follows is None:
            text = f"{who}: {move.problem}"
            yield Finding("move", Result.UNKNOWN, text, evidence, "See the checks above.")
        else:
            yield Finding("move", Result.FAIL, f"{who}: {_why(move)}", evidence, _what_to_do(move))


def _step(step: Step) -> Iterator[str]:
    yield f"{step.file}: {step.verdict.outcome.value}, {step.verdict.explain()}"
    for asked in step.inquiries:
        yield f"TVS {asked.server}: {asked.outcome} {asked.text}".rstrip()


def _refused(move: Move) -> Step:
    return next(step for step in move.steps if step.verdict.outcome is Outcome.REFUSE)


def _why(move: Move) -> str:
    if not move.steps:
        return f"{move.node} has nothing for a phone"
    step = _refused(move)
    return f"{step.file} is refused: {step.verdict.explain()}"


_REMEDIES = {
    None: "See the checks above.",
    Reason.NOT_VOUCHED: "Import the signer's certificate on the source.",
    Reason.WRONG_ROLE: "Import the signer's certificate into Phone-SAST-trust on the source.",
    Reason.MALFORMED: "Rebuild the list at the destination and check it with trustlab itl verify.",
    Reason.WRONG_NAME: "Serve each file under the name that its header holds.",
    Reason.DIGEST: "Set the enterprise parameter TFTP File Signature Algorithm to SHA-1.",
    Reason.TOO_LONG: SHORTEN,
    Reason.TOO_MANY: SHORTEN,
    Reason.BAD_SIGNATURE: "Rebuild and sign the file again at the destination.",
    Reason.NO_TVS_IN_LIST: "Let the phones fetch an ITL with TVS from the source before the move.",
    Reason.SIGNED_BY_TVS: "Sign the list with ITLRecovery or CallManager, not with TVS.",
    Reason.NO_TVS_SERVERS: "Check the CallManager group of the phones' device pool at the source.",
    Reason.NO_ANSWER: "Make a TVS of the source reachable for the phones on TCP port 2445.",
    Reason.TVS_STRANGER: "Let the phones fetch the source's ITL again: its TVS was renewed.",
    Reason.OTHER_CERTIFICATE: "Delete the other certificate from the source's trust stores.",
}


def _what_to_do(move: Move) -> str:
    if not move.steps:
        return "Check the TFTP service of that node."
    step = _refused(move)
    reason = step.verdict.reason
    if reason in (Reason.NOT_VOUCHED, Reason.WRONG_ROLE) and step.inquiries:
        question = step.inquiries[-1].question
        return _IMPORT.format(what=question.subject, stores=_stores(question))
    return _REMEDIES[reason]


def _stores(question: Question) -> str:
    return _LIST_STORES if question.roles == LIST_SIGNERS else "CallManager-trust"
