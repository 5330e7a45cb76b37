"""The facts of one engine: its ledger state, its pod, its own word, what routers and agent say of it."""

from __future__ import annotations

import time

from ingle_core.ledger import Ledger
from ingle_core.warmpool.facts import State
from ingle_core.warmpool.lifecycle import EngineFacts
from ingle_kit.objects import InferencePoolSpec
from ingle_operator.engines import SILENT, EngineWord
from ingle_operator.parse import EnginePod, seconds_of
from ingle_operator.world import World


async def read_facts(
    world: World, pod: EnginePod, spec: InferencePoolSpec, goal: State | None
) -> EngineFacts:
    """The facts of one engine now; the engine itself is asked only where its word decides the next step."""
    ledger = world.ledger(pod.node) if pod.node else None
    holder = ledger.holder(pod.uid) if ledger else None
    state = State(holder.state) if holder else State.PENDING
    word = await _word(world, pod, spec, state, goal)
    drained = _drained(world, pod, word)
    readings = [world.reading(pod.node, uuid) for uuid in pod.gpus]
    return EngineFacts(
        state=state,
        since_s=seconds_of(holder.at) if holder else pod.created_at_s,
        bound=bool(pod.node),
        running=pod.phase == "Running",
        ready=pod.ready,
        ended=pod.ended,
        gate=pod.gate,
        asleep=word.asleep,
        probed=pod.uid in world.notes.probed,
        drained=drained,
        measured_mib=measured_mib(world, pod),
        residue_mib=pod.need.asleep_mib,
        gpu_lost=any(r is not None and r.health == "Lost" for r in readings),
        quiet_at_s=_quiet_at_s(world, pod, state, drained),
        sleep_sent=world.notes.may_have_slept(pod.uid),
        claimed_mib=claimed_mib(ledger, pod),
    )


async def _word(
    world: World, pod: EnginePod, spec: InferencePoolSpec, state: State, goal: State | None
) -> EngineWord:
    """The engine's word; on the way to a wake the ledger's, until a call has gone out: a wake must not wait."""
    if not (pod.address and pod.phase == "Running" and pod.ready) or state is State.PENDING:
        return SILENT
    if state is State.ASLEEP and goal is State.AWAKE:
        return EngineWord(True)
    if state is State.WAKING:
        answered = world.notes.wake_calls.get(pod.uid)
        if answered is not False:
            return EngineWord(answered is None)
    can_sleep = spec.engine.kind != "Custom"
    return await world.engines.word(pod.address, can_sleep, state in (State.SLEEPING, State.STOPPING))


def _drained(world: World, pod: EnginePod, word: EngineWord) -> bool:
    """No router picks it or has a request there, every router that lives has been heard, and nothing runs in it."""
    if word.running or pod.gate:
        return False
    for name in world.routers.followed():
        demand = world.routers.fresh(name)
        if demand is None:
            return False
        if any(e.pod_uid == pod.uid and (e.pickable or e.in_flight) for e in demand.endpoints):
            return False
    return True


def _quiet_at_s(world: World, pod: EnginePod, state: State, drained: bool) -> float | None:
    if state is State.SLEEPING and drained:
        return world.notes.quiet_at_s.setdefault(pod.uid, time.time())
    world.notes.quiet_at_s.pop(pod.uid, None)
    return None


def claimed_mib(ledger: Ledger | None, pod: EnginePod) -> int | None:
    """The most that is claimed for the engine on one of its GPUs, None without a claim."""
    claims = [c for gpu in ledger.gpus for c in gpu.claims if gpu.uuid in pod.gpus] if ledger else []
    return max((c.memory_mib for c in claims if c.pod_uid == pod.uid), default=None)


def measured_mib(world: World, pod: EnginePod) -> int | None:
    """The most that the engine holds on one of its GPUs, None while the agent is silent."""
    measurement = world.measurement(pod.node)
    if measurement is None:
        return None
    held = [
        sum(p.memory_mib for p in gpu.processes if p.pod_uid == pod.uid)
        for gpu in measurement.gpus
        if gpu.uuid in pod.gpus
    ]
    return max(held, default=0)
