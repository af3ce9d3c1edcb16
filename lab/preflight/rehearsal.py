"""A phone of the source judges the destination's files, as it would after its reset.

The judgement is the emulated phone's own; what differs is where the octets come from, and that a
TVS may be a store or bundles in files.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from itl.trustlist import CTL_FILENAME, TrustList
from lab import LabError
from lab.phone.inquiry import Ask, Inquiry, inquire, settle
from lab.phone.models import Model
from lab.phone.state import Phone
from lab.phone.trust import (
    Answer,
    Held,
    Outcome,
    Question,
    Reason,
    Verdict,
    judge_file,
    judge_list,
    tvs_certificates,
    wants_signed,
)
from lab.preflight.places import FileNode, ServedFile, Side, parse_list
from lab.preflight.store import ask_store


class NobodyToAskError(LabError):
    """The lists held do not settle it, and neither a TVS nor a store of the source was named."""


@dataclass(frozen=True)
class Step:
    """One file judged, and what TVS was asked for it."""

    file: str
    verdict: Verdict
    inquiries: tuple[Inquiry, ...] = ()


@dataclass(frozen=True)
class Move:
    """One model with the lists of ``holder`` moved to ``node``.

    ``problem`` says why the rehearsal could not be finished; empty if it was.
    """

    holder: str
    node: str
    model: str
    steps: tuple[Step, ...]
    problem: str = ""

    @property
    def follows(self) -> bool | None:
        """Whether the phone would follow; None if that could not be told."""
        if any(step.verdict.outcome is Outcome.REFUSE for step in self.steps):
            return False
        if self.problem:
            return None
        return any(step.verdict.accepted for step in self.steps)


def held_by(node: FileNode, model: Model) -> Held:
    """What a phone that boots from ``node`` holds."""

    def parsed(file: ServedFile) -> TrustList | None:
        return None if file.data is None else parse_list(file.data)

    return Held(ctl=parsed(node.ctl), itl=parsed(node.itl), digests=model.digests)


async def rehearse(
    holder: FileNode,
    node: FileNode,
    model: Model,
    side: Side,
    mac: str,
    *,
    timeout_seconds: float,
) -> Move:
    """Move a phone of ``model`` that booted from ``holder`` to ``node``; ``side`` is its source."""
    problem = holder.problem or node.problem or _unreadable(holder)
    if problem:
        return Move(holder.where, node.where, model.name, (), problem)
    device = Phone(mac, model).device
    held = held_by(holder, model)
    steps: list[Step] = []
    try:
        for file in (node.ctl, node.itl):
            if file.data is None:
                continue
            step = await _judge(
                file, held, judge_list, asking(side, held, model, device, timeout_seconds)
            )
            steps.append(step)
            if step.verdict.outcome is Outcome.REFUSE:
                break
            document = step.verdict.document
            if isinstance(document, TrustList):
                is_ctl = file.name == CTL_FILENAME
                held = replace(held, ctl=document) if is_ctl else replace(held, itl=document)
        else:
            file = node.configuration
            if file.data is not None and wants_signed(held):
                ask = asking(side, held, model, device, timeout_seconds)
                steps.append(await _judge(file, held, judge_file, ask))
            elif file.data is not None:
                steps.append(Step(file.name, Verdict(Outcome.INSTALL, Reason.UNSIGNED)))
    except NobodyToAskError as error:
        problem = str(error)
    return Move(holder.where, node.where, model.name, tuple(steps), problem)


def _unreadable(holder: FileNode) -> str:
    """Why nobody can tell what phones of ``holder`` hold; empty if one can."""
    for file in (holder.ctl, holder.itl):
        if file.data is not None and parse_list(file.data) is None:
            return f"{file.name} of {holder.where} cannot be read: no phone holds it"
    return ""


async def _judge(
    file: ServedFile,
    held: Held,
    judge: Callable[[Held, str, bytes, Answer | None], Verdict],
    ask: Ask,
) -> Step:
    verdict, inquiries = await settle(partial(judge, held, file.name, file.data or b""), ask)
    return Step(file.name, verdict, tuple(inquiries))


def asking(side: Side, held: Held, model: Model, device: str, timeout_seconds: float) -> Ask:
    """How a phone of ``side`` asks: its TVS servers where they are known, else its store."""

    async def ask(question: Question) -> Sequence[Inquiry]:
        believed = tvs_certificates(held)
        if side.tvs is not None:
            return await inquire(
                question,
                side.tvs,
                believed=believed,
                device=device,
                tls_profile=model.tls_profile,
                timeout_seconds=timeout_seconds,
            )
        if side.snapshot is not None:
            shown = min(believed)  # one there is: else nobody would be asked
            said, text = ask_store(question, side.snapshot, side.policy, shown)
            return [Inquiry("store", question, said, shown, text=text)]
        raise NobodyToAskError(
            f"{question.subject} is in no list held, and no TVS and no store was named to ask"
        )

    return ask
