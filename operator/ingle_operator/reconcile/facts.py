"""The facts of one engine: its ledger state, its pod, its own word, what routers and agent say of it."""

from __future__ import annotations

import time

from ingle_core.ledger import Ledger
from ingle_core.warmpool.facts import State
from ingle_core.warmpool.lifecycle import EngineFacts
from ingle_core.warmpool.silent import Told, asleep
from ingle_core.warmpool.tiers import Level
from ingle_kit.objects import InferencePoolSpec
from ingle_operator.adapters import ADAPTERS, SILENT, SPARES, Adapter, EngineWord
from ingle_operator.parse import EnginePod, seconds_of
from ingle_operator.world import World

SLOW_AGAIN_S = 5.0  # until a slow probe of an engine that is awake is made sure of


async def read_facts(
    world: World, pod: EnginePod, spec: InferencePoolSpec, goal: State | None
) -> EngineFacts:
    """The facts of one engine now; the engine itself is asked only where its word decides the next step."""
    ledger = world.ledger(pod.node) if pod.node else None
    holder = ledger.holder(pod.uid) if ledger else None
    state = State(holder.state) if holder else State.PENDING
    measured = measured_mib(world, pod)
    adapter = adapter_of(pod, spec)
    word = await _word(world, pod, adapter, state, goal)
    drained = _drained(world, pod, word)
    quiet_at_s = _quiet_at_s(world, pod, state, drained)
    if word.asleep is not None and adapter.can_sleep and not adapter.tells_sleep:
        quiet_s = time.time() - quiet_at_s if quiet_at_s is not None else 0.0
        word = EngineWord(asleep(state, _told(world, pod, state, quiet_s, measured)))
    waking = state is State.WAKING
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
        measured_mib=measured,
        residue_mib=pod.need.asleep_mib,
        gpu_lost=any(r is not None and r.health == "Lost" for r in readings),
        quiet_at_s=quiet_at_s,
        sleep_sent=world.notes.may_have_slept(pod.uid),
        claimed_mib=claimed_mib(ledger, pod),
        wake_refused=pod.uid in world.notes.wake_refused,
        fresh=not waking or not adapter.can_sleep or bool(world.notes.wake_calls.get(pod.uid)),
        probe_due=state is State.AWAKE and pod.gate and probe_again_in_s(world, pod) == 0.0,
        slow=state is State.AWAKE and world.notes.probes.slow(pod.uid),
        drop=drops(world, pod, time.time()),
        spare=pod.need.level is Level.SPARE,
    )


def drops(world: World, pod: EnginePod, now_s: float) -> bool:
    """Whether it is to give its host memory to another engine, and has not."""
    way = world.notes.gives_way.get(pod.uid)
    return way is not None and way.drops and way.holds(now_s) and pod.need.level is Level.L1


def adapter_of(pod: EnginePod, spec: InferencePoolSpec) -> Adapter:
    """Of the kind that the pod was made as; the pool may have another by now."""
    kind = pod.need.engine if pod.need.engine in ADAPTERS else spec.engine.kind
    return SPARES[kind] if pod.need.level is Level.SPARE else ADAPTERS[kind]


def product_of(world: World, pod: EnginePod) -> str:
    """The product of its GPUs, empty while the agent is silent."""
    reading = world.reading(pod.node, pod.gpus[0]) if pod.gpus else None
    return reading.product if reading is not None else ""


def probe_again_in_s(world: World, pod: EnginePod) -> float | None:
    """Seconds until an engine that is awake is probed again, 0 now; None while it has requests, or never."""
    every_s = world.settings.probe_again_s
    if not every_s or not world.demand_known():
        return None
    endpoints = (e for demand in world.demands() for e in demand.endpoints)
    if any(e.pod_uid == pod.uid and e.in_flight for e in endpoints):
        return None
    now_s = time.time()
    return max(0.0, world.notes.probes.due_at_s(pod.uid, every_s, min(every_s, SLOW_AGAIN_S), now_s) - now_s)


def _told(world: World, pod: EnginePod, state: State, quiet_s: float, measured: int | None) -> Told:
    notes, uid = world.notes, pod.uid
    waking = state is State.WAKING
    return Told(
        ours=uid in (notes.wake_entered if waking else notes.sleep_entered),
        sent=uid in notes.wake_calls if waking else uid in notes.sleep_sent,
        done=bool(notes.wake_calls.get(uid)) if waking else uid in notes.sleep_done,
        quiet_s=quiet_s,
        measured_mib=measured,
        residue_mib=pod.need.asleep_mib,
        slack_mib=world.settings.residue_slack_mib,
    )


async def _word(
    world: World, pod: EnginePod, adapter: Adapter, state: State, goal: State | None
) -> EngineWord:
    """The engine's word; on the way to a wake the ledger's, until a call has gone out: a wake must not wait."""
    if not (pod.address and pod.phase == "Running" and pod.ready) or state is State.PENDING:
        return SILENT
    if state is State.ASLEEP and goal is State.AWAKE:
        return EngineWord(True)
    if state is State.WAKING:
        answered = world.notes.wake_calls.get(pod.uid)
        if answered or (answered is None and pod.uid in world.notes.wake_entered):
            return EngineWord(not answered)
    return await world.engines.word(adapter, pod.address, state in (State.SLEEPING, State.STOPPING))


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
