"""What a pool would come to, for people and for programs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from rich.text import Text

from ingle_cli.explain.placing import room_told, why
from ingle_cli.explain.reason import meanings
from ingle_cli.text import SPARE, Shown, paragraph, plural, short_gpu, table, title
from ingle_core.placement.room import Outcome, Room
from ingle_kit.whatif import Answer, Question

NO_VARIANT = "VariantFitsNoGPU"
_TO = {"Asleep": "sleeps", "Dropped": "drops its weights", "Ended": "stops"}


@dataclass(frozen=True)
class Prospect:
    """`exists`: the pool is there already. `by_server`: the API server tried it. `variant` None: none fits any node.

    `by_scheduler`: the answer is the scheduler's. `room`: for the first replica that fits nowhere; None: all fit, or
    pools or pods could not be read.
    """

    pool: str
    exists: bool = False
    by_server: bool = True
    variant: str | None = None
    question: Question | None = None
    answer: Answer | None = None
    by_scheduler: bool = False
    room: Room | None = None


def prospect_json(prospect: Prospect) -> str:
    """One object; a part that does not apply is null."""
    found = None if prospect.answer is None else msgspec.to_builtins(prospect.answer)
    told: dict[str, Any] = {
        "pool": prospect.pool,
        "exists": prospect.exists,
        "checkedBy": "APIServer" if prospect.by_server else "Command",
        "variant": prospect.variant,
        "answeredBy": None if found is None else "Scheduler" if prospect.by_scheduler else "Command",
        "ask": None if prospect.question is None else msgspec.to_builtins(prospect.question.ask),
        "asked": found and found["asked"],
        "replicas": found["replicas"] if found else [],
        "refused": found["refused"] if found else [],
        "room": None if prospect.room is None else _room_json(prospect.room),
    }
    return msgspec.json.format(msgspec.json.encode(told), indent=2).decode()


def _room_json(room: Room) -> dict[str, Any]:
    victims = [
        {"podUID": v.uid, "pool": v.pool, "to": v.to, "costSeconds": v.cost_s, "why": v.reason}
        for v in room.victims
    ]
    return {"outcome": room.outcome, "node": room.node, "gpus": list(room.gpus), "victims": victims}


def prospect_text(prospect: Prospect) -> Shown:
    """Whether the pool is taken, one row a replica, why the next fits nowhere, and what would have to give way."""
    shown: Shown = [*_head(prospect)]
    found, question = prospect.answer, prospect.question
    if found is None or question is None:
        return [*shown, *meanings([NO_VARIANT])]
    shown += _placed(found)
    if len(found.replicas) == found.asked:
        return [*shown, *_caveat(prospect)]
    shown += _refused(question, found)
    shown += _room(prospect.room)
    return [*shown, *_caveat(prospect), *meanings(one.reason for one in found.refused)]


def _head(prospect: Prospect) -> Shown:
    verb = "be changed" if prospect.exists else "be made"
    tried = (
        f"The API server would take it: it would {verb}."
        if prospect.by_server
        else "Its rules hold, as far as this command knows them: you may not ask the API server."
    )
    if prospect.answer is None or prospect.question is None:
        head = f"Pool {prospect.pool}: no engine would start: {NO_VARIANT}"
        return [title(head), paragraph(tried)]
    fits, asked = len(prospect.answer.replicas), prospect.answer.asked
    ask = prospect.question.ask
    beside = " The engines it has now stay counted where they are." if prospect.exists else ""
    return [
        title(f"Pool {prospect.pool}: {fits} of {plural(asked, 'new engine')} would find room now"),
        paragraph(tried + beside),
        paragraph(
            f"Each asks for {ask.gpus} × {ask.memory_mib.awake} MiB and {ask.gpus * ask.watts} W"
            f" (variant {prospect.variant}), {ask.memory_mib.host} MiB of host memory; {ask.strategy},"
            f" NUMA {ask.numa}, NVLink {ask.nvlink}, priority {ask.priority}{SPARE if ask.spare else ''}"
        ),
    ]


def _placed(found: Answer) -> Shown:
    if not found.replicas:
        return []
    rows = [
        (
            number,
            one.node,
            ", ".join(short_gpu(uuid) for uuid in one.gpus),
            ", ".join(str(zone) for zone in one.zones),
            f"+{one.growth_w}",
            "any" if one.spare_w is None else one.spare_w,
            f"{one.score:g}",
        )
        for number, one in enumerate(found.replicas, 1)
    ]
    heads = ("ENGINE", "NODE", "GPUS", "ZONE", "WATTS", "LEFT W", "SCORE")
    return [Text(""), table(heads, rows, right=("ENGINE", "WATTS", "LEFT W", "SCORE"), fold="GPUS")]


def _refused(question: Question, found: Answer) -> Shown:
    number = len(found.replicas) + 1
    head = f"Engine {number} fits nowhere now"
    if not found.refused:
        return [Text(""), title(f"{head}: no node with GPUs has the labels, or tolerates its taints")]
    rows = [
        (one.nodes, one.reason, one.example["node"], why(question.ask, one.reason, room_told(one.example)))
        for one in found.refused
    ]
    return [
        Text(""),
        title(head),
        table(("NODES", "REASON", "SUCH AS", "WHY"), rows, right=("NODES",), fold="WHY"),
    ]


def _room(room: Room | None) -> Shown:
    if room is None:
        return [Text(""), paragraph("What could give way is not known: pools or pods cannot be read.")]
    if room.outcome is Outcome.SOON or room.outcome is Outcome.FITS:
        return [Text(""), paragraph(f"It fits on {room.node} once what is under way there has ended.")]
    if room.outcome is Outcome.NOTHING:
        return [
            Text(""),
            paragraph("No engine may give way for it: they are busy, kept, or of a higher priority."),
        ]
    rows = [(v.pool, f"pod {v.uid[:8]}", _TO[v.to], v.reason) for v in room.victims]
    head = f"It would fit on {room.node} once these give way"
    return [Text(""), title(head), table(("POOL", "ENGINE", "IT", "WHY"), rows, fold="WHY")]


def _caveat(prospect: Prospect) -> Shown:
    source = (
        "Seen by the scheduler"
        if prospect.by_scheduler
        else "Worked out from API objects, without what the scheduler promised in the last seconds"
    )
    return [
        Text(""),
        paragraph(
            f"{source}; nothing was written. CPU, host memory requests, affinity and quota are kube-scheduler's"
            " and the API server's to judge."
        ),
    ]
