"""One engine: read the facts, take the next steps of its life until a fact must change first."""

from __future__ import annotations

import logging
import time
from typing import cast

from ingle_core.ledger import TRANSITIONS, Ledger, Op, move
from ingle_core.ledger import State as LedgerState
from ingle_core.warmpool.facts import Failures, State
from ingle_core.warmpool.lifecycle import Act, EngineFacts, Limits, Step, step
from ingle_kit.kube import Conflict, NotFound
from ingle_kit.names import ANNOTATION_REQUEUE, GATE_AWAKE, INFERENCE_POOL, POD
from ingle_kit.objects import InferencePoolSpec, Variant, timestamp
from ingle_kit.objects.reasons import Reason
from ingle_operator.engines import SILENT, EngineWord
from ingle_operator.parse import EnginePod, Pool
from ingle_operator.reconcile.pools import engine_of
from ingle_operator.render import busy_w_per_gpu
from ingle_operator.status import reason_of, tell
from ingle_operator.world import World

STEPS_MAX = 8
LOOK_AGAIN_S = 0.5
REFUSED_AGAIN_S = 2.0

log = logging.getLogger(__name__)


async def reconcile_engine(world: World, name: str) -> float | None:
    """Takes up to `STEPS_MAX` steps. Returns when to look again, None when only an event can change something."""
    for _ in range(STEPS_MAX):
        namespace, _, short = name.partition("/")
        pod: EnginePod | None = world.pods.store.get((namespace, short))
        if pod is None or pod.deleting:
            return None
        pool = world.pools.store.get((namespace, pod.pool.partition("/")[2]))
        spec = pool.spec if pool else None
        if pool is None or spec is None:
            return None
        variant = next((v for v in spec.variants if v.name == pod.variant), spec.variants[0])
        goal = world.notes.goals.get(pod.uid)
        facts = await read_facts(world, pod, variant, spec)
        limits = _limits(world, spec)
        taken = step(facts, goal[0] if goal else None, limits, time.time())
        if taken.act is Act.WAIT:
            await _requeue_if_stuck(world, pod, facts)
            return _pause_s(facts, goal[0] if goal else None)
        pause_s = await _take(world, pool, spec, variant, pod, taken)
        if pause_s is not None:
            return pause_s
    return LOOK_AGAIN_S


def _limits(world: World, spec: InferencePoolSpec) -> Limits:
    settings = world.settings
    return Limits(
        start_s=float(spec.engine.start_seconds),
        sleep_s=settings.sleep_limit_s,
        wake_s=settings.wake_limit_s,
        drain_s=settings.drain_limit_s,
        slack_mib=settings.residue_slack_mib,
    )


def _pause_s(facts: EngineFacts, goal: State | None) -> float | None:
    """Settled engines are left alone until something happens; the others are looked at again."""
    if facts.state is State.ASLEEP or (facts.state is State.AWAKE and facts.gate and goal is None):
        return None if facts.state is State.ASLEEP else 10.0
    return LOOK_AGAIN_S


async def read_facts(world: World, pod: EnginePod, variant: Variant, spec: InferencePoolSpec) -> EngineFacts:
    """The facts of one engine now; the engine itself is asked only where its word matters."""
    engine = engine_of(world, pod)
    ask = pod.address and pod.phase == "Running" and engine.state not in (State.PENDING, State.ENDED)
    can_sleep = spec.engine.kind != "Custom"
    word = await world.engines.word(pod.address, can_sleep) if ask and pod.ready else SILENT
    readings = [world.reading(pod.node, uuid) for uuid in pod.gpus]
    return EngineFacts(
        state=engine.state,
        since_s=engine.since_s,
        bound=bool(pod.node),
        running=pod.phase == "Running",
        ready=pod.ready,
        ended=pod.ended,
        gate=pod.gate,
        asleep=word.asleep,
        probed=pod.uid in world.notes.probed,
        drained=_drained(world, pod, word),
        measured_mib=_measured_mib(world, pod),
        residue_mib=variant.memory_mib.asleep,
        gpu_lost=any(r is not None and r.health == "Lost" for r in readings),
    )


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


def _measured_mib(world: World, pod: EnginePod) -> int | None:
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


async def _take(
    world: World, pool: Pool, spec: InferencePoolSpec, variant: Variant, pod: EnginePod, taken: Step
) -> float | None:
    """Does one step. None: go on at once; else the pause after which to look again."""
    if taken.act is Act.MOVE and taken.to is not None:
        return await _move(world, pool, variant, pod, taken.to)
    if taken.act is Act.PROBE:
        if await world.engines.probe(pod.address, spec.model):
            world.notes.probed.add(pod.uid)
            world.notes.start_ms[pod.uid] = int(1000 * (time.time() - pod.created_at_s))
            world.notes.failures.pop(pool.name, None)
            world.notes.troubles.pop(pool.name, None)
            return None
        return LOOK_AGAIN_S
    if taken.act in (Act.OPEN_GATE, Act.CLOSE_GATE):
        await _set_gate(world, pod, taken.act is Act.OPEN_GATE, taken.reason)
        return 0.0 if taken.act is Act.OPEN_GATE else LOOK_AGAIN_S / 5
    if taken.act is Act.CALL_SLEEP:
        return None if await world.engines.sleep(pod.address) else LOOK_AGAIN_S
    if taken.act is Act.CALL_WAKE:
        return await _wake(world, pod)
    return await _delete(world, pool, pod, taken)


async def _wake(world: World, pod: EnginePod) -> float | None:
    started_s = time.monotonic()
    world.notes.wake_count += 1
    if not await world.engines.wake(pod.address):
        return LOOK_AGAIN_S
    world.notes.wake_ms[pod.uid] = int(1000 * (time.monotonic() - started_s))
    return None


async def _move(world: World, pool: Pool, variant: Variant, pod: EnginePod, to: State) -> float | None:
    """Writes the ledger first; what it refuses becomes the reason on the pool."""
    asleep = to is State.ASLEEP
    memory_mib = variant.memory_mib.asleep if asleep else variant.memory_mib.awake
    watts = 0 if asleep else busy_w_per_gpu(variant)

    def change(ledger: Ledger) -> list[Op]:
        if ledger.holder(pod.uid) is None:
            return []
        return move(
            ledger,
            pod.uid,
            cast(LedgerState, to.value),
            memory_mib=memory_mib,
            watts=watts,
            epoch=world.leader.epoch,
            at=timestamp(time.time()),
        )

    if to in (State.WAKING, State.SLEEPING) and _busy(world, pod):
        world.notes.troubles[pod.uid] = (
            Reason.TRANSITION_BUSY.value,
            "another engine on its GPU is in transition",
        )
        return LOOK_AGAIN_S
    refused = await world.write_ledger(pod.node, change)
    if refused is None:
        world.notes.troubles.pop(pod.uid, None)
        world.notes.wanted_w.pop(pod.uid, None)
        world.add("pool", pool.name)
        return None
    world.notes.troubles[pod.uid] = (
        reason_of(refused.reason).value,
        f"{pod.key[1]} on {pod.node}: {refused.message}",
    )
    world.notes.wanted_w[pod.uid] = (pod.node, watts * len(pod.gpus))
    for budget in world.budgets.store.values():
        world.add("budget", budget.name)
    world.add("pool", pool.name)
    await tell(world, INFERENCE_POOL, pool, reason_of(refused.reason), refused.message, warn=True)
    return REFUSED_AGAIN_S


def _busy(world: World, pod: EnginePod) -> bool:
    """Whether another pod on one of its GPUs is in transition: one at a time."""
    ledger = world.ledger(pod.node)
    if ledger is None:
        return True
    moving = {holder.uid for holder in ledger.pods if holder.state in TRANSITIONS} - {pod.uid}
    return any(c.pod_uid in moving for gpu in ledger.gpus if gpu.uuid in pod.gpus for c in gpu.claims)


async def _set_gate(world: World, pod: EnginePod, open_: bool, reason: str) -> None:
    world.leader.check(world.settings.lease_renew_s)
    condition = {
        "type": GATE_AWAKE,
        "status": "True" if open_ else "False",
        "reason": reason,
        "lastTransitionTime": timestamp(time.time()),
    }
    namespace, name = pod.key
    body = {"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}}
    try:
        await world.kube.strategic_patch(POD, name, body, namespace, "status")
    except (NotFound, Conflict):
        log.info("pod %s/%s is gone", namespace, name)


async def _delete(world: World, pool: Pool, pod: EnginePod, taken: Step) -> float | None:
    """Removes the engine; a failure is remembered for the pool's pause and its status."""
    world.leader.check(world.settings.lease_renew_s)
    message = pod.trouble or f"engine {pod.key[1]} on {pod.node or 'no node'}"
    if taken.failed:
        old = world.notes.failures.get(pool.name, Failures())
        world.notes.failures[pool.name] = Failures(old.count + 1, time.time())
        world.notes.troubles[pool.name] = (reason_of(taken.reason).value, message)
        await tell(world, INFERENCE_POOL, pool, reason_of(taken.reason), message, warn=True)
    namespace, name = pod.key
    try:
        await world.kube.delete(POD, name, namespace, uid=pod.uid)
    except Conflict:
        log.info("pod %s/%s has been replaced", namespace, name)
    return LOOK_AGAIN_S


async def _requeue_if_stuck(world: World, pod: EnginePod, facts: EngineFacts) -> None:
    """Wakes a waiting pod of ours when a node's ledger changed, by changing an annotation of its own.

    kube-scheduler never looks at a pod again because of a custom resource.
    """
    if facts.bound or facts.state is not State.PENDING or not pod.trouble:
        return
    stamp = str(sum(node.raw["spec"].get("revision", 0) for node in world.gpu_nodes.store.values()))
    if world.notes.requeued.get(pod.uid) == stamp:
        return
    world.leader.check(world.settings.lease_renew_s)
    world.notes.requeued[pod.uid] = stamp
    namespace, name = pod.key
    patch = {"metadata": {"uid": pod.uid, "annotations": {ANNOTATION_REQUEUE: stamp}}}
    try:
        await world.kube.merge_patch(POD, name, patch, namespace, "status")
    except (NotFound, Conflict):
        log.info("pod %s/%s is gone", namespace, name)
