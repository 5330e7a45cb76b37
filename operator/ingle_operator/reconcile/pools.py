"""A pool: its engines' goals, new engines, its status."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time

from ingle_core.warmpool import prewarm
from ingle_core.warmpool.facts import Demand, Engine, Failures, PoolWish, State
from ingle_core.warmpool.goback import LOST
from ingle_core.warmpool.past import NOTHING_YET
from ingle_core.warmpool.plan import plan
from ingle_core.warmpool.tiers import Level, level_of
from ingle_kit.kube import Conflict, Forbidden, Invalid
from ingle_kit.names import INFERENCE_POOL, POD
from ingle_kit.objects import InferencePoolSpec, Variant
from ingle_kit.objects.asks import fits_empty
from ingle_kit.objects.reasons import Reason
from ingle_operator import keepalives
from ingle_operator.lastgood import back_of, spec_before
from ingle_operator.parse import EnginePod, Pool, seconds_of
from ingle_operator.podsecurity import advice
from ingle_operator.reconcile.drained import blocks_wake, leaves
from ingle_operator.reconcile.poolstatus import View, lacks_launcher, pool_status
from ingle_operator.reconcile.scaled import announce
from ingle_operator.render import engine_pod, revision_of
from ingle_operator.scaling import scaled
from ingle_operator.status import count_failure, current, recall_failures, tell, write_status
from ingle_operator.world import World

TICK_S = 0.5
UNANSWERED_S = 5.0
UNHEARD_S = 20.0  # an agent that restarts is no reason to start engines elsewhere
STATUS_EVERY_S = 0.5
MINUTE_S = 60.0
SEEN_S = 1.0
SEEN_LOOKS = 100


async def reconcile_pool(world: World, name: str) -> float | None:
    """Reads, plans, sets goals, starts engines. Returns when to look again; the status is a key of its own."""
    namespace, _, short = name.partition("/")
    pool = world.pools.store.get((namespace, short))
    if pool is None:
        world.notes.forget_pool(name)
        return None
    if "deletionTimestamp" in pool.raw["metadata"]:
        return None  # its engines go with it; new ones would only hold it up
    spec = world.spec_of(pool)
    if spec is None:
        world.add("status", name)
        return world.settings.resync_s
    keepalives.note(world, pool.name, spec, time.time())
    recall_failures(world, pool, revision_of(spec, choose_variant(world, spec)))
    view = look(world, pool, spec, time.time())
    world.notes.pasts[pool.name] = view.plan.past
    world.notes.wanted_awake[pool.name] = view.plan.wanted_awake
    for pod in view.pods:
        goal = world.notes.goal(pod.uid, view.plan.goals.get(pod.uid), time.time())
        if world.notes.goals.get(pod.uid) != goal:
            _set_goal(world, pod.uid, goal)
            world.add("engine", "/".join(pod.key))
    world.add("status", name)  # after the engines: a wake comes first
    await _start(world, view)
    await announce(world, pool, spec)
    kept = len(view.engines) <= spec.replicas.min + spec.warm.asleep
    settled = kept and not view.demand.waiting and all(e.state is State.ASLEEP for e in view.engines)
    return _rest_s(world, view) if settled and not view.plan.retry_in_s else TICK_S


def _rest_s(world: World, view: View) -> float:
    """Until a settled pool is looked at again: sooner where the clock may wake it."""
    until_cron_s = MINUTE_S - time.time() % MINUTE_S if view.spec.warm.prewarm else math.inf
    return max(TICK_S, min(world.settings.resync_s, view.plan.again_in_s, until_cron_s))


async def reconcile_pool_status(world: World, name: str) -> float | None:
    """Writes the pool's status, at most every `STATUS_EVERY_S`."""
    namespace, _, short = name.partition("/")
    pool = world.pools.store.get((namespace, short))
    if pool is None:
        return None
    wait_s = world.notes.status_at_s.get(name, float("-inf")) + STATUS_EVERY_S - time.monotonic()
    if wait_s > 0:
        return wait_s
    pool = current(world, pool)
    spec = pool.spec
    if spec is not None:
        recall_failures(world, pool, revision_of(spec, choose_variant(world, spec)))
    view = None if spec is None else look(world, pool, spec, time.time())
    if await write_status(world, INFERENCE_POOL, pool, pool_status(world, pool, view)):
        world.notes.status_at_s[name] = time.monotonic()
    return None


def _set_goal(world: World, uid: str, goal: tuple[State, str] | None) -> None:
    if goal is None:
        world.notes.goals.pop(uid, None)
    else:
        world.notes.goals[uid] = goal


def look(world: World, pool: Pool, spec: InferencePoolSpec, now_s: float) -> View:
    """The view of a pool from the caches; writes nothing."""
    variant = choose_variant(world, spec)
    pods = tuple(p for p in world.pods.store.values() if p.pool == pool.name)
    engines = tuple(engine_of(world, pod) for pod in pods)
    demand = demand_of(world, pool.name, spec, now_s)
    ahead = prewarm.ahead(spec.warm.schedule, now_s)
    found = scaled(world, pool, spec, pods, demand, now_s)
    forecast = found.ahead > ahead.replicas
    wish = PoolWish(
        min_awake=spec.replicas.min,
        max_awake=spec.replicas.max,
        asleep=spec.warm.asleep,
        idle_s=float(spec.warm.idle_seconds),
        concurrency=spec.scaling.concurrency,
        revision=revision_of(spec, variant),
        variant=variant.name,
        fixed=spec.replicas.fixed,
        also=frozenset(revision_of(spec, v) for v in spec.variants),
        desired=found.desired,
        desired_lately=found.lately,
        ahead=found.ahead if forecast else ahead.replicas,
        ahead_reason=found.ahead_reason if forecast else ahead.reason,
        dwell_s=min(world.settings.dwell_s, spec.warm.idle_seconds / 4),
        surge_s=world.settings.surge_wait_s,
        spare=level_of(spec.warm.level) is Level.SPARE,
    )
    failures = world.notes.failures.get(pool.name, Failures())
    fits = fits_somewhere(world, spec, variant)
    keeps = keepalives.keeps(world, pool.name, spec, variant, [pod.uid for pod in pods], now_s)
    past = world.notes.pasts.get(pool.name, NOTHING_YET)
    before = spec_before(world.notes, pool, spec)
    planned = plan(wish, engines, demand, failures, now_s, keeps, past, back_of(world.notes, pool, before))
    return View(pool, spec, variant, pods, engines, demand, planned, fits, failures.of(wish), before)


def choose_variant(world: World, spec: InferencePoolSpec) -> Variant:
    """The first variant that some GPU of the cluster could hold when empty; the first where none can."""
    return next((v for v in spec.variants if fits_somewhere(world, spec, v)), spec.variants[0])


def fits_somewhere(world: World, spec: InferencePoolSpec, variant: Variant) -> bool:
    """Whether one node of the selected has enough healthy GPUs of a wanted product and size, whoever uses them now."""
    for key, gpu_node in world.gpu_nodes.store.items():
        node = world.nodes.store.get(key)
        if node is None or not spec.placement.node_selector.items() <= node.labels.items():
            continue
        if fits_empty(gpu_node.status.gpus, variant):
            return True
    return False


def engine_of(world: World, pod: EnginePod) -> Engine:
    """The engine of a pod: its state from the ledger, else from the pod."""
    holder = None
    if pod.node:
        ledger = world.ledger(pod.node)
        holder = ledger.holder(pod.uid) if ledger else None
    if pod.deleting:
        state, since_s = State.STOPPING, pod.created_at_s
    elif pod.ended:
        state, since_s = State.ENDED, pod.created_at_s
    elif holder is not None:
        state, since_s = State(holder.state), seconds_of(holder.at)
    else:
        state, since_s = State.PENDING, pod.created_at_s
    in_flight = sum(e.in_flight for d in world.demands() for e in d.endpoints if e.pod_uid == pod.uid)
    busy_at_s = max(world.notes.busy_at_s.get(pod.uid, 0.0), since_s)
    answers = state is not State.AWAKE or pod.ready or time.time() - pod.ready_changed_at_s < UNANSWERED_S
    return Engine(
        pod.uid,
        state,
        since_s,
        pod.revision,
        pod.variant,
        in_flight,
        busy_at_s,
        answers,
        wakeable=not pod.node or blocks_wake(world, pod, UNHEARD_S) is None,
        leaving=leaves(world, pod) is not None,
        short_since_s=world.notes.short_since_s.get(pod.uid, math.inf),
        surplus=world.notes.surplus.get(pod.uid, "") if state is State.ASLEEP else "",
        gate_open=pod.gate,
        gpus=pod.gpus,
        makes_room=world.notes.makes_room.get(pod.uid, "") if world.demand_known() else "",
    )


def demand_of(world: World, pool: str, spec: InferencePoolSpec, now_s: float) -> Demand:
    """Sum over the routers, and the most load of the last `idle_seconds`.

    What is not known counts as much load, so that nothing sleeps for it: a router that is not heard, or the time
    before this process heard them.
    """
    idle_s = float(spec.warm.idle_seconds)
    mine = [p for d in world.demands() for p in d.pools if p.pool == pool]
    waiting, in_flight = sum(p.waiting for p in mine), sum(p.in_flight for p in mine)
    if not world.demand_known() or (world.routers.followed() and now_s - world.started_at_s < idle_s):
        return Demand(waiting, in_flight, spec.replicas.max * spec.scaling.concurrency)
    peaks = world.notes.peaks.get(pool)
    peak = max(waiting + in_flight, peaks.over(idle_s, now_s) if peaks else 0)
    if any(now_s - p.last_arrival_at_s < idle_s for p in mine if p.last_arrival_at_s):
        peak = max(peak, 1)
    return Demand(waiting, in_flight, peak)


async def _start(world: World, view: View) -> None:
    """Creates the missing pods: of the revision before, if it stands in, then of the one of now."""
    if any(pod.ended and not pod.deleting for pod in view.pods):
        return  # its end is counted first, or the next would start without a pause
    if view.plan.start_back and view.before is not None:
        variant = choose_variant(world, view.before)
        if not world.gpu_nodes.store or fits_somewhere(world, view.before, variant):
            await _create(world, view, view.before, variant, view.plan.start_back, LOST)
    if view.plan.start and (view.fits_somewhere or not world.gpu_nodes.store):
        planned, made = view.plan, (view.spec, view.variant)
        await _create(world, view, *made, planned.start - planned.start_spare, planned.start_reason)
        await _create(world, view, *made, planned.start_spare, planned.start_reason, spare=True)


async def _create(
    world: World,
    view: View,
    spec: InferencePoolSpec,
    variant: Variant,
    count: int,
    why: str,
    *,
    spare: bool = False,
) -> None:
    """So many pods. Names are numbered, so that a repeated creation finds the first one. `spare`: without their model yet."""
    if lacks_launcher(world, spec):
        return  # the status says what to set
    taken = {pod.key[1] for pod in world.pods.store.values() if pod.pool == view.pool.name}
    names = (pod_name(view.pool, spec, variant, number) for number in range(len(taken) + count))
    for name in [n for n in names if n not in taken][:count]:
        try:
            settings = world.settings
            how = (settings.attachment, settings.launcher, settings.cache)
            pod = engine_pod(view.pool, spec, variant, name, *how, spare=spare)
            created = await world.kube.create(POD, pod)
        except Conflict:
            continue
        except (Invalid, Forbidden) as error:
            reason, message = _refusal(error.message)
            count_failure(world, view.pool, reason, message, revision_of(spec, variant))
            await tell(world, INFERENCE_POOL, view.pool, reason, message, warn=True)
            return
        await _seen(world, (view.pool.key[0], name), created["metadata"]["uid"])
        await tell(world, INFERENCE_POOL, view.pool, Reason.STARTED, f"engine {name}: {why}")


def _refusal(said: str) -> tuple[Reason, str]:
    """What can be changed comes before what the API server said: both may be long."""
    if todo := advice(said):
        return Reason.POD_SECURITY, f"{todo}. The API server says: {said}"
    return Reason.POD_REFUSED, f"the API server refuses the pod: {said}"


async def _seen(world: World, key: tuple[str, str], uid: str) -> None:
    """Returns when the cache shows the new pod: else the next plan could start it again, after a failure without pause."""
    for _ in range(SEEN_LOOKS):
        pod = world.pods.store.get(key)
        if pod is not None and pod.uid == uid:
            return
        await asyncio.sleep(SEEN_S / SEEN_LOOKS)


def pod_name(pool: Pool, spec: InferencePoolSpec, variant: Variant, number: int) -> str:
    """Two pools never share a name, nor do a pool and its namesake from before."""
    of = f"{pool.uid} {revision_of(spec, variant)}"
    return f"{pool.key[1][:45]}-{hashlib.sha256(of.encode()).hexdigest()[:6]}-{number}"
