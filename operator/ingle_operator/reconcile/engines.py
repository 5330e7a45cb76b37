"""One engine: read the facts, take the next steps of its life until a fact must change first."""

from __future__ import annotations

import logging
import time

from ingle_core.placement.requeue import look
from ingle_core.warmpool.facts import State
from ingle_core.warmpool.lifecycle import Act, EngineFacts, Limits, Step, step
from ingle_core.warmpool.probing import ProbeLimits, Times
from ingle_core.warmpool.tiers import FIRST_SLEEP_S, Level
from ingle_kit.kube import Conflict, NotFound
from ingle_kit.names import ANNOTATION_REQUEUE, GATE_AWAKE, INFERENCE_POOL, POD
from ingle_kit.objects import InferencePoolSpec, timestamp
from ingle_kit.objects.reasons import Reason
from ingle_operator.adapters import Outcome
from ingle_operator.lastgood import spec_of_engine
from ingle_operator.parse import EnginePod, Pool
from ingle_operator.reconcile.drained import lacks_room
from ingle_operator.reconcile.facts import adapter_of, probe_again_in_s, product_of, read_facts
from ingle_operator.reconcile.lowered import give_back_request, lower
from ingle_operator.reconcile.measured import follow
from ingle_operator.reconcile.misses import count_misses
from ingle_operator.reconcile.moves import LOOK_AGAIN_S, clear_past_trouble, move_engine
from ingle_operator.reconcile.refused import refused_on
from ingle_operator.status import count_failure, forget_failures, reason_of, tell
from ingle_operator.world import ALL, World

STEPS_MAX = 8

log = logging.getLogger(__name__)


async def reconcile_engine(world: World, name: str) -> float | None:
    """Takes up to `STEPS_MAX` steps. Returns when to look again, None when only an event can change something."""
    namespace, _, short = name.partition("/")
    for _ in range(STEPS_MAX):
        pod: EnginePod | None = world.pods.store.get((namespace, short))
        if pod is None or pod.deleting:
            return None
        pool = world.pools.store.get((namespace, pod.pool.partition("/")[2]))
        spec = world.spec_of(pool) if pool else None
        spec = spec_of_engine(world.notes, pool, spec, pod.revision) if pool else None
        if pool is None or spec is None:
            return None
        goal = (world.notes.goals.get(pod.uid) or (None,))[0]
        await give_back_request(world, pod)
        facts = await read_facts(world, pod, spec, goal)
        follow(world, pod, facts, goal)
        await count_misses(world, pool, pod, facts.state)
        limits = _limits(world, spec, pod)
        now_s = time.time()
        taken = step(facts, goal, limits, now_s)
        if taken.act is Act.WAIT:
            if facts.state is State.PENDING:
                if not facts.bound and (lacks_room(pod.trouble) or refused_on(world, pod)):
                    world.add("room", ALL)
                return await _requeue_if_stuck(world, pod, facts)
            clear_past_trouble(world, pool, pod)
            pause_s = _pause_s(facts, goal, limits, now_s)
            hot = facts.state is State.AWAKE and pause_s is None
            return probe_again_in_s(world, pod) if hot else pause_s
        pause_s = await _take(world, pool, spec, pod, facts, taken)
        if pause_s is not None:
            return pause_s
    return LOOK_AGAIN_S


def _limits(world: World, spec: InferencePoolSpec, pod: EnginePod) -> Limits:
    settings, start_s = world.settings, float(spec.engine.start_seconds)
    return Limits(
        start_s=start_s,
        sleep_s=settings.sleep_limit_s,
        wake_s=start_s if pod.need.level is Level.SPARE else settings.wake_limit_s,
        drain_s=settings.drain_limit_s,
        slack_mib=settings.residue_slack_mib,
    )


def _pause_s(facts: EngineFacts, goal: State | None, limits: Limits, now_s: float) -> float | None:
    """Settled engines are left alone until something happens; the others are looked at again."""
    if facts.state is State.ASLEEP or (facts.state is State.AWAKE and facts.gate and goal is None):
        return None
    if facts.state is State.STARTING and not facts.ready:
        return max(LOOK_AGAIN_S, facts.since_s + limits.start_s - now_s + 0.1)
    return LOOK_AGAIN_S


async def _take(
    world: World, pool: Pool, spec: InferencePoolSpec, pod: EnginePod, facts: EngineFacts, taken: Step
) -> float | None:
    """Does one step. None: go on at once; else the pause after which to look again."""
    if taken.act is Act.MOVE and taken.to is not None:
        return await move_engine(world, pool, pod, facts, taken.to)
    if taken.act is Act.PROBE:
        return await _probe(world, pool, spec, pod, facts.state is State.AWAKE)
    if taken.act in (Act.OPEN_GATE, Act.CLOSE_GATE):
        await _set_gate(world, pool, pod, taken.act is Act.OPEN_GATE, taken.reason)
        return LOOK_AGAIN_S
    if taken.act is Act.LOWER:
        return await lower(world, pod)
    if taken.act is Act.CALL_SLEEP:
        return await _sleep(world, spec, pod)
    if taken.act in (Act.CALL_WAKE, Act.CALL_REFRESH):
        return await _wake(world, spec, pod, taken.act is Act.CALL_REFRESH)
    return await _delete(world, pool, pod, taken)


async def _probe(
    world: World, pool: Pool, spec: InferencePoolSpec, pod: EnginePod, hot: bool
) -> float | None:
    """One round of probes. `hot`: it serves, and is only looked at again."""
    notes, now_s = world.notes, time.time()
    variant = next((v for v in spec.variants if v.name == pod.variant), None)
    tokens = variant.context_tokens if variant is not None else None
    number = int(now_s * 1000)
    times = await world.engines.probe(adapter_of(pod, spec), pod.address, spec.model, number, tokens)
    if times is None:
        return LOOK_AGAIN_S
    limits, product = _probe_limits(world), product_of(world, pod)
    if hot:
        if notes.probes.look_again(pod.uid, pod.revision, product, times, limits, now_s):
            text = f"engine {pod.key[1]} has become slow and is probed again: {_shown(times)}"
            await tell(world, INFERENCE_POOL, pool, Reason.SLOW_AGAIN, text)
        return None
    verdict = notes.probes.note(pod.uid, pod.revision, product, times, limits, now_s)
    if not verdict.hot:
        return None
    if verdict.reason == Reason.SLOWER_THAN_STEADY:
        text = f"engine {pod.key[1]} serves although it is slower than others were: {_shown(times)}"
        await tell(world, INFERENCE_POOL, pool, Reason.SLOWER_THAN_STEADY, text)
    notes.probed.add(pod.uid)
    if pod.uid not in notes.start_ms and pod.need.level is not Level.SPARE:  # its load is a wake
        notes.start_ms[pod.uid] = int(1000 * (time.time() - pod.created_at_s))
        notes.meter.started(pool.name, time.time() - pod.created_at_s)
    forget_failures(world, pool, pod.revision)
    return None


def _probe_limits(world: World) -> ProbeLimits:
    settings = world.settings
    return ProbeLimits(settings.probe_steady_percent / 100, settings.probe_slack_s, settings.probe_rounds_max)


def _shown(times: Times) -> str:
    return f"short {times.short_s:.2f} s, long {times.long_s:.2f} s, batched {times.batched_s:.2f} s"


async def _sleep(world: World, spec: InferencePoolSpec, pod: EnginePod) -> float | None:
    notes, started_s = world.notes, time.monotonic()
    notes.sleep_sent.add(pod.uid)
    known_ms = notes.sleep_ms.get(pod.uid)
    expected_s = FIRST_SLEEP_S if known_ms is None else known_ms / 1000
    outcome = await world.engines.sleep(adapter_of(pod, spec), pod.address, pod.need.level, expected_s)
    if outcome is Outcome.BUSY:
        notes.sleep_sent.discard(pod.uid)
    if outcome is not Outcome.DONE:
        return LOOK_AGAIN_S
    notes.sleep_done.add(pod.uid)
    notes.sleep_ms[pod.uid] = int(1000 * (time.monotonic() - started_s))
    return None


async def _wake(world: World, spec: InferencePoolSpec, pod: EnginePod, refresh: bool) -> float | None:
    """Calls the engine awake; `refresh`: it is, and only has to drop what it may believe of lost memory."""
    notes, engines, adapter = world.notes, world.engines, adapter_of(pod, spec)
    started_s = time.monotonic()
    notes.wake_calls[pod.uid] = False
    if refresh:
        outcome = await engines.refresh(adapter, pod.address)
    else:
        outcome = await engines.wake(adapter, pod.address, pod.need.level, world.count_wake)
        notes.meter.woke(pod.pool, time.monotonic() - started_s, outcome is Outcome.DONE)
    if pod.uid not in notes.wake_calls:
        return LOOK_AGAIN_S
    if outcome is Outcome.REFUSED:
        notes.wake_refused.add(pod.uid)
        return None
    if outcome is not Outcome.DONE:
        return LOOK_AGAIN_S
    notes.wake_calls[pod.uid] = True
    if not refresh:
        notes.wake_ms[pod.uid] = int(1000 * (time.monotonic() - started_s))
    return None


async def _set_gate(world: World, pool: Pool, pod: EnginePod, open_: bool, reason: str) -> None:
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
        return
    if open_:
        world.notes.meter.opened(pod.uid, pod.pool, time.time())
    if open_ and pod.uid in world.notes.wake_ms:
        text = f"engine {name} woke in {world.notes.wake_ms[pod.uid]} ms"
        await tell(world, INFERENCE_POOL, pool, Reason.WOKEN, text)


async def _delete(world: World, pool: Pool, pod: EnginePod, taken: Step) -> float | None:
    """Removes the engine; a failure is remembered for the pool's pause and its status."""
    namespace, name = pod.key
    where = f"engine {name} on {pod.node or 'no node'}"
    message = f"{where}: {pod.trouble}" if pod.trouble else where
    reason = reason_of(taken.reason)
    if (
        taken.failed and pod.uid not in world.notes.counted
    ):  # first: the pool must not start another without a pause
        world.notes.counted.add(pod.uid)
        count_failure(world, pool, reason, message, pod.revision)
    try:
        await world.kube.delete(POD, name, namespace, uid=pod.uid)
    except Conflict:
        log.info("pod %s/%s has been replaced", namespace, name)
        return None
    await tell(world, INFERENCE_POOL, pool, reason, message, warn=taken.failed)
    world.add("pool", pool.name)
    return LOOK_AGAIN_S


async def _requeue_if_stuck(world: World, pod: EnginePod, facts: EngineFacts) -> float | None:
    """Wakes a waiting pod of ours when a node's ledger changed, by changing an annotation of its own.

    kube-scheduler never looks at a pod again because of a custom resource.
    """
    if facts.bound or not pod.trouble:
        return None
    change = str(sum(node.raw["spec"].get("revision", 0) for node in world.gpu_nodes.store.values()))
    stamp, world.notes.requeued[pod.uid], again_s = look(
        change, world.notes.requeued.get(pod.uid), time.monotonic()
    )
    if stamp is None:
        return again_s
    namespace, name = pod.key
    patch = {"metadata": {"uid": pod.uid, "annotations": {ANNOTATION_REQUEUE: stamp}}}
    try:
        await world.kube.merge_patch(POD, name, patch, namespace, "status")
    except (NotFound, Conflict):
        log.info("pod %s/%s is gone", namespace, name)
    return again_s
