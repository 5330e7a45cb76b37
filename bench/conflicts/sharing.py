"""Places models on GPUs with `rank`, and counts on a virtual clock the wakes that must first put another to sleep."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.conflicts.servegen import Span
from ingle_core.facts import Columns, GpuFacts, GpuNodeFacts, Resident
from ingle_core.placement import Ask, AskMemory, Context, rank
from ingle_core.placement.conflict import Conflicts
from ingle_core.placement.loads import Profile
from ingle_core.warmpool.demandprofile import HOUR_S, HOURS, DemandProfile

GPU_MIB = 80_000
GPUS_A_NODE = 8
LOOK_S = 300.0


@dataclass(frozen=True, slots=True)
class Model:
    """MiB on its one GPU."""

    pool: str
    awake_mib: int
    asleep_mib: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """`wakes` in all, and those of them that found too little room."""

    wakes: int
    conflicts: int


def profile_of(model: Model, spans: Sequence[Span], days: int) -> Profile:
    """What the operator would have published after `days` days of these spans, by its own accumulator."""
    learnt = DemandProfile()
    marks = [(at_s, 0) for at_s in _times(days)]
    marks += [mark for span in spans for mark in ((span.start_s, 1), (span.end_s, -1))]
    load = 0
    for at_s, change in sorted(marks):
        load += change
        if at_s <= days * HOURS * HOUR_S:
            learnt.note(load, at_s, hold_s=0.0)  # spans end when an idle replica would sleep
    percent = learnt.percent(days * HOURS * HOUR_S)
    return Profile(model.awake_mib, model.asleep_mib, percent or (0,) * HOURS)


def _times(days: int) -> list[float]:
    return [n * LOOK_S for n in range(int(days * HOURS * HOUR_S / LOOK_S) + 1)]


def place(
    models: Sequence[Model],
    gpus: int,
    strategy: Literal["Pack", "Spread"],
    profiles: Mapping[str, Profile] | None,
) -> dict[str, str]:
    """One model after the other, each asleep before the next comes. Gives pool -> GPU."""
    held: dict[str, list[Model]] = {f"GPU-{n:02}": [] for n in range(gpus)}
    columns, context = Columns(nodes=gpus // GPUS_A_NODE + 1), Context()
    if profiles is not None:
        known = Conflicts()
        for pool, profile in profiles.items():
            known.learn(pool, profile)
        context = Context(conflicts=known)
    placed: dict[str, str] = {}
    for number in range(-(-gpus // GPUS_A_NODE)):
        _update(columns, number, held)
    for model in models:
        ask = Ask(AskMemory(model.awake_mib, model.asleep_mib), pool=model.pool, strategy=strategy)
        ranking = rank(ask, columns, now_s=0.0, context=context)
        if ranking.node is None:
            raise SystemExit(f"{model} fits nowhere")
        placed[model.pool] = ranking.gpus[0]
        held[ranking.gpus[0]].append(model)
        _update(columns, int(ranking.node), held)
    return placed


def _update(columns: Columns, number: int, held: Mapping[str, Sequence[Model]]) -> None:
    here = list(held)[number * GPUS_A_NODE : (number + 1) * GPUS_A_NODE]
    facts = [
        GpuFacts(
            uuid,
            "H100",
            GPU_MIB,
            GPU_MIB - sum(model.asleep_mib for model in held[uuid]),
            residents=tuple(Resident(model.pool, model.asleep_mib, True) for model in held[uuid]),
        )
        for uuid in here
    ]
    columns.update(str(number), GpuNodeFacts(tuple(facts)))


def replay(
    models: Sequence[Model], placed: Mapping[str, str], wanted: Mapping[str, Sequence[Span]]
) -> Outcome:
    """Each span begins with a wake. Without room the others that were woken longest ago go to sleep first, one by one.

    A model that had to give way is not woken again before its next span: fewer conflicts are counted than would come.
    """
    by_gpu: dict[str, list[Model]] = defaultdict(list)
    for model in models:
        by_gpu[placed[model.pool]].append(model)
    found = [_one_gpu(here, wanted) for here in by_gpu.values()]
    return Outcome(sum(one.wakes for one in found), sum(one.conflicts for one in found))


def _one_gpu(models: Sequence[Model], wanted: Mapping[str, Sequence[Span]]) -> Outcome:
    marks = [(span.end_s, 0, n, span) for n, model in enumerate(models) for span in wanted[model.pool]]
    marks += [(span.start_s, 1, n, span) for n, model in enumerate(models) for span in wanted[model.pool]]
    residues_mib = sum(model.asleep_mib for model in models)
    awake: dict[int, Span] = {}  # in the order of waking
    wakes = conflicts = 0
    for _, begins, n, span in sorted(marks, key=lambda mark: mark[:3]):
        if not begins:
            if awake.get(n) is span:
                del awake[n]
            continue
        wakes += 1
        awake[n] = span
        more = {m: models[m].awake_mib - models[m].asleep_mib for m in awake}
        if residues_mib + sum(more.values()) <= GPU_MIB:
            continue
        conflicts += 1
        for m in list(awake):
            if m != n and residues_mib + sum(more[k] for k in awake) > GPU_MIB:
                del awake[m]
    return Outcome(wakes, conflicts)
