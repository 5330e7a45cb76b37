"""A pool: its engines' goals, new engines, its status."""

from __future__ import annotations

import time

from ingle_core.warmpool.facts import Demand, Engine, Failures, PoolWish, State
from ingle_core.warmpool.plan import plan
from ingle_kit.kube import Conflict, Invalid
from ingle_kit.names import INFERENCE_POOL, POD
from ingle_kit.objects import InferencePoolSpec, Variant
from ingle_kit.objects.reasons import Reason
from ingle_operator.parse import EnginePod, Pool, seconds_of
from ingle_operator.reconcile.poolstatus import View, pool_status
from ingle_operator.render import engine_pod, revision_of
from ingle_operator.status import tell, write_status
from ingle_operator.world import World

TICK_S = 0.5


async def reconcile_pool(world: World, name: str) -> float | None:
    """Reads, plans, sets goals, starts engines, writes the status. Returns when to look again."""
    namespace, _, short = name.partition("/")
    pool = world.pools.store.get((namespace, short))
    if pool is None:
        world.notes.loads.pop(name, None)
        world.notes.failures.pop(name, None)
        return None
    if pool.spec is None:
        await write_status(world, INFERENCE_POOL, pool, pool_status(world, pool, None))
        return world.settings.resync_s
    view = look(world, pool, pool.spec, time.time())
    for engine in view.engines:
        goal = view.plan.goals.get(engine.uid)
        if world.notes.goals.get(engine.uid) != goal:
            _set_goal(world, engine.uid, goal)
            pod = next(p for p in view.pods if p.uid == engine.uid)
            world.add("engine", "/".join(pod.key))
    await _start(world, view)
    await write_status(world, INFERENCE_POOL, pool, pool_status(world, pool, view))
    settled = not view.demand.waiting and all(e.state is State.ASLEEP for e in view.engines)
    return world.settings.resync_s if settled and not view.plan.retry_in_s else TICK_S


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
    demand = demand_of(world, pool.name, float(spec.warm.idle_seconds), now_s)
    wish = PoolWish(
        min_awake=spec.replicas.min,
        max_awake=spec.replicas.max,
        asleep=spec.warm.asleep,
        idle_s=float(spec.warm.idle_seconds),
        concurrency=spec.scaling.concurrency,
        revision=revision_of(spec, variant),
        variant=variant.name,
        fixed=spec.replicas.fixed,
    )
    failures = world.notes.failures.get(pool.name, Failures())
    fits = fits_somewhere(world, variant)
    return View(
        pool, spec, variant, pods, engines, demand, plan(wish, engines, demand, failures, now_s), fits
    )


def choose_variant(world: World, spec: InferencePoolSpec) -> Variant:
    """The first variant that some GPU of the cluster could hold when empty; the first where none can."""
    return next((v for v in spec.variants if fits_somewhere(world, v)), spec.variants[0])


def fits_somewhere(world: World, variant: Variant) -> bool:
    """Whether one node has enough GPUs of a wanted product and size, whoever uses them now."""
    for node in world.gpu_nodes.store.values():
        fitting = [
            g
            for g in node.status.gpus
            if (not variant.gpu_products or g.product in variant.gpu_products)
            and g.memory_mib.total - g.memory_mib.reserved >= variant.memory_mib.awake
        ]
        if len(fitting) >= variant.gpus:
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
    return Engine(pod.uid, state, since_s, pod.revision, pod.variant, in_flight, busy_at_s)


def demand_of(world: World, pool: str, idle_s: float, now_s: float) -> Demand:
    """Sum over the routers, and the most load of the last `idle_s`."""
    mine = [p for d in world.demands() for p in d.pools if p.pool == pool]
    waiting, in_flight = sum(p.waiting for p in mine), sum(p.in_flight for p in mine)
    peak = waiting + in_flight
    before = 0
    for at_s, load in world.notes.loads.get(pool, ()):
        if at_s >= now_s - idle_s:
            peak = max(peak, load, before)
        before = load
    peak = max(peak, before if peak else 0)
    if any(now_s - p.last_arrival_at_s < idle_s for p in mine if p.last_arrival_at_s):
        peak = max(peak, 1)
    return Demand(waiting, in_flight, peak)


async def _start(world: World, view: View) -> None:
    """Creates the missing pods. Names are numbered, so that a repeated creation finds the first one."""
    if not view.plan.start or any(p.deleting for p in view.pods):
        return
    if world.gpu_nodes.store and not view.fits_somewhere:
        return
    taken = {p.key[1] for p in view.pods}
    revision = revision_of(view.spec, view.variant)
    names = (f"{view.pool.key[1][:45]}-{revision[:5]}-{n}" for n in range(len(taken) + view.plan.start))
    for name in [n for n in names if n not in taken][: view.plan.start]:
        world.leader.check(world.settings.lease_renew_s)
        try:
            await world.kube.create(POD, engine_pod(view.pool, view.spec, view.variant, name))
        except Conflict:
            continue
        except Invalid as error:
            await tell(world, INFERENCE_POOL, view.pool, Reason.INVALID_SPEC, error.message, warn=True)
            return
        await tell(
            world, INFERENCE_POOL, view.pool, Reason.STARTED, f"engine {name}: {view.plan.start_reason}"
        )
