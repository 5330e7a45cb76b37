"""Copies of weights on nodes' disks: reads what there is and where engines may start, does what the plan says."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence

import msgspec

from ingle_core.facts import Columns
from ingle_core.placement import Ask, Context, rank
from ingle_core.warmpool.prefetch import Job, Limits, NodeDisk, Want, plan_fetches
from ingle_kit.kube import Conflict, Forbidden, Invalid, NotFound
from ingle_kit.names import INFERENCE_POOL, POD
from ingle_kit.objects import InferencePoolSpec, Variant
from ingle_kit.objects.asks import fits_empty, placement_ask
from ingle_kit.objects.reasons import Reason
from ingle_kit.whatif import Question, Tolerates
from ingle_operator.caches import NodeCache
from ingle_operator.parse import Pool
from ingle_operator.prefetch import PENDING_MAX_S, Copier, copier_pod, pause_after_s
from ingle_operator.reconcile.misses import disk_of
from ingle_operator.reconcile.pools import choose_variant
from ingle_operator.roomfacts import Loads, loads_of
from ingle_operator.status import tell
from ingle_operator.world import World

AGAIN_S = 15.0
EVERY_S = 1.0
UNSEEN_S = 180.0  # an agent looks each half minute


async def reconcile_fetches(world: World, name: str) -> float | None:
    """One pass over all weights and nodes. Where copying is off, what still runs is stopped."""
    cache, notes, now_s = world.settings.cache, world.notes, time.time()
    copying = cache is not None and bool(cache.image) and world.settings.fetch_copies > 0
    copiers: list[Copier] = list(world.copiers.store.values())
    if not copying and not copiers:
        return None
    wait_s = notes.fetch_at_s + EVERY_S - time.monotonic()
    if wait_s > 0:
        return wait_s
    notes.fetch_at_s = time.monotonic()
    disks = _disks(world)
    for copier in copiers:
        await _judge(world, copier, disks, now_s)
    pools = _pools(world) if copying else {}
    loads = loads_of(world)
    wants = [await _want(world, pool, spec, loads) for pool, spec in pools.values()]
    running = {copier.job for copier in copiers}
    _forget_failures(world, disks, {want.weights for want in wants})
    failed = {job for job, (_, until_s) in notes.fetch_failures.items() if until_s > now_s}
    plan = plan_fetches(wants, disks, running, failed, _limits(world))
    notes.fetch_waits = dict(plan.waits)
    for copier in copiers:
        if copier.job in plan.stop:
            await _delete(world, copier)
    if cache is not None:
        for job in plan.start:
            await _start(world, *pools[job.weights], job, cache, now_s)
    return AGAIN_S


def _limits(world: World) -> Limits:
    settings = world.settings
    return Limits(settings.fetch_per_node, settings.fetch_total, settings.fetch_reserve_mib)


def _disks(world: World) -> dict[str, NodeDisk]:
    found: dict[str, NodeDisk] = {}
    for gpu_node in world.gpu_nodes.store.values():
        node, ledger = world.nodes.store.get(("", gpu_node.name)), world.ledger(gpu_node.name)
        disk, room = disk_of(gpu_node.status), gpu_node.status.disk_mib
        heard = world.measurement(gpu_node.name) is not None
        found[gpu_node.name] = NodeDisk(
            free_mib=room.free if room is not None else 0,
            whole=disk.whole,
            partial=disk.partial,
            loads=ledger is not None and any(pod.state == "Starting" for pod in ledger.pods),
            fit=heard and node is not None and node.ready and not node.cordoned,
        )
    return found


def _pools(world: World) -> dict[str, tuple[Pool, InferencePoolSpec]]:
    """Pools with weights in a claim, by the name of those; of several the one of more replicas, then by name."""
    found: dict[str, tuple[Pool, InferencePoolSpec]] = {}
    named = sorted(world.pools.store.values(), key=lambda pool: str(pool.name))
    for pool in named:
        spec = world.spec_of(pool)
        if spec is None or "deletionTimestamp" in pool.raw["metadata"]:
            continue
        if spec.engine.weights is None or spec.engine.node_cache is False:
            continue
        name = str(placement_ask(pool.name, spec, spec.variants[0])["weights"])
        before = found.get(name)
        if before is None or spec.replicas.max > before[1].replicas.max:
            found[name] = (pool, spec)
    return found


async def _want(world: World, pool: Pool, spec: InferencePoolSpec, loads: Loads) -> Want:
    """Placement is asked only while copies are missing."""
    await asyncio.sleep(0)  # between two pools others have their turn: a ranking takes some milliseconds
    assert spec.engine.weights is not None
    variant = choose_variant(world, spec)
    ask = msgspec.convert(placement_ask(pool.name, spec, variant), Ask)
    columns = world.fetch_columns.current(world)
    nodes = _candidates(world, spec, variant, ask, columns)
    copies = min(world.settings.fetch_copies, max(1, spec.replicas.max))
    if sum(columns.facts[node].weights >= {ask.stored} for node in nodes) < copies:
        nodes = _likeliest(ask, columns, nodes, copies, world.fetch_context.current(world, time.monotonic()))
    worth = float(loads.pools.get(pool.name, 0) + spec.replicas.min + spec.warm.asleep)
    return Want(ask.stored, spec.engine.weights.size_mib, nodes, copies, worth)


def _candidates(
    world: World, spec: InferencePoolSpec, variant: Variant, ask: Ask, columns: Columns
) -> list[str]:
    """Nodes that could hold an engine when empty; those with the weights first, others as if drawn, always the same."""
    tolerations = tuple(
        Tolerates(t.key or "", t.operator or "Equal", t.value or "", t.effect or "")
        for t in spec.template.tolerations
    )
    question = Question(ask, node_selector=dict(spec.placement.node_selector), tolerations=tolerations)
    found = []
    for gpu_node in world.gpu_nodes.store.values():
        node = world.nodes.store.get(("", gpu_node.name))
        if node is None or gpu_node.name not in columns.facts:
            continue
        if question.offers(node.labels, node.taints) and fits_empty(gpu_node.status.gpus, variant):
            found.append(gpu_node.name)

    def order(name: str) -> tuple[bool, str]:
        drawn = hashlib.sha256(f"{ask.stored} {name}".encode()).hexdigest()
        return ask.stored not in columns.facts[name].weights, drawn

    return sorted(found, key=order)


def _likeliest(ask: Ask, columns: Columns, nodes: Sequence[str], copies: int, context: Context) -> list[str]:
    """The nodes where placement would put the next engines now, then the others."""
    first: list[str] = []
    for _ in range(copies):
        left = [node for node in nodes if node not in first]
        chosen = rank(ask, columns, left, now_s=0.0, context=context).node if left else None
        if chosen is None:
            break
        first.append(chosen)
    return first + [node for node in nodes if node not in first]


async def _judge(world: World, copier: Copier, disks: Mapping[str, NodeDisk], now_s: float) -> None:
    """What has ended: a failure is told and pauses the copy; a success goes once its node's agent has seen it."""
    if copier.deleting:
        return
    disk = disks.get(copier.job.node)
    seen = disk is not None and copier.job.weights in disk.whole
    text = copier.trouble if copier.failed else ""
    if copier.stuck(now_s):
        text = copier.trouble or f"it has not begun within {PENDING_MAX_S:.0f} s: look at the pod's events"
    if copier.succeeded and not seen and now_s - copier.ended_at_s > UNSEEN_S:
        text = "it is done, but the node's agent does not see it: INGLE_CACHE_ROOT there and INGLE_CACHE_HOST_PATH differ"
    if text:
        await _failed(world, copier.job, copier.pool, text, now_s)
        await _delete(world, copier)


async def _failed(world: World, job: Job, pool_name: str, text: str, now_s: float) -> None:
    count = world.notes.fetch_failures.get(job, (0, 0.0))[0] + 1
    world.notes.fetch_failures[job] = (count, now_s + pause_after_s(count))
    namespace, _, name = pool_name.partition("/")
    pool = world.pools.store.get((namespace, name))
    if pool is not None:
        message = f"copy of weights {job.weights} to node {job.node}: {text}"
        await tell(world, INFERENCE_POOL, pool, Reason.FETCH_FAILED, message, warn=True)


def _forget_failures(world: World, disks: Mapping[str, NodeDisk], wanted: set[str]) -> None:
    for job in list(world.notes.fetch_failures):
        disk = disks.get(job.node)
        if disk is None or job.weights not in wanted or job.weights in disk.whole:
            del world.notes.fetch_failures[job]


async def _start(
    world: World, pool: Pool, spec: InferencePoolSpec, job: Job, cache: NodeCache, now_s: float
) -> None:
    assert spec.engine.weights is not None
    pod = copier_pod(pool, spec.engine.weights, job, cache, world.settings.fetch_reserve_mib)
    try:
        await world.kube.create(POD, pod)
    except Conflict:
        return
    except (Invalid, Forbidden, NotFound) as error:
        await _failed(world, job, pool.name, f"the API server refuses the pod: {error.message}", now_s)
        return
    text = f"weights {job.weights} are copied to node {job.node}"
    await tell(world, INFERENCE_POOL, pool, Reason.FETCHING, text)


async def _delete(world: World, copier: Copier) -> None:
    if copier.deleting:
        return
    try:
        await world.kube.delete(POD, copier.key[1], copier.key[0], uid=copier.uid)
    except (Conflict, NotFound):
        return
