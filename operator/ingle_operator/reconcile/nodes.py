"""A node's GPUNode: created when its agent is heard, filled from its status, orphaned claims released."""

from __future__ import annotations

import time
from functools import partial

from ingle_core.ledger import Ledger, release
from ingle_kit.kube import Conflict, Object
from ingle_kit.names import GPU_NODE, LABEL_MANAGED, LABEL_POOL, NODE, POD, SCHEDULER_NAME
from ingle_operator.parse import EnginePod, engine_pod_or_none, seconds_of
from ingle_operator.reconcile.attached import tell_misplaced, tell_not_held
from ingle_operator.reconcile.nodepower import FIRST_REVISION, covered, enforced_watts
from ingle_operator.reconcile.rebuild import rebuilt, taken_over
from ingle_operator.world import World

ORPHAN_MIN_S = 1.0
AGAIN_S = 1.0


async def reconcile_node(world: World, name: str) -> float | None:
    node = world.nodes.store.get(("", name))
    if node is None:
        return None
    gpu_node = world.gpu_nodes.store.get(("", name))
    if gpu_node is None:
        if world.measurement(name) is not None:
            await _create(world, name, node.uid)
        return None
    ledger = world.ledger(name)
    status, managed = gpu_node.status, LABEL_MANAGED in node.labels
    if ledger is not None and status.gpus:
        if not ledger.gpus or await _has_lost_claims(world, ledger, name):
            bound = await _bound_pods(world, name)
            facts = partial(rebuilt, status=status, managed=managed, pods=bound)
            await world.write_ledger(name, partial(facts, epoch=world.leader.epoch, now_s=time.time()))
        elif taken_over(ledger, status, managed):
            await world.write_ledger(name, partial(taken_over, status=status, managed=managed))
    await tell_misplaced(world, gpu_node)
    await tell_not_held(world, gpu_node, ledger, managed)
    return await _release_orphans(world, name)


async def _has_lost_claims(world: World, ledger: Ledger, name: str) -> bool:
    """Whether an engine runs here without a claim: the ledger was restored from a backup, or written by hand."""
    running = [p for p in world.pods.store.values() if p.node == name and p.gpus and not p.ended]
    if all(ledger.holder(pod.uid) for pod in running):
        return False
    live = Ledger.from_dict((await world.kube.get(GPU_NODE, name))["spec"])  # ours may lag behind the pods
    return not all(live.holder(pod.uid) for pod in running)


async def _bound_pods(world: World, name: str) -> list[EnginePod]:
    """Engines that the API server says run on the node now."""
    pods, _ = await world.kube.list(
        POD,
        label_selector=LABEL_POOL,
        field_selector=f"spec.nodeName={name},spec.schedulerName={SCHEDULER_NAME}",
    )
    return [pod for pod in map(engine_pod_or_none, pods) if pod is not None and pod.gpus and not pod.ended]


async def _create(world: World, name: str, node_uid: str) -> None:
    """A new ledger. Under a budget it starts with the limits in force, which is what the node is charged for."""
    owner = {"apiVersion": NODE.api_version, "kind": NODE.kind, "name": name, "uid": node_uid}
    spec: Object = {"revision": FIRST_REVISION, "gpus": [], "zones": [], "pods": []}
    enforced_w = enforced_watts(world, name)
    if enforced_w is not None and covered(world, name):
        spec |= {"wattsAllotted": enforced_w, "wattsSafe": enforced_w}
    body = {
        "apiVersion": GPU_NODE.api_version,
        "kind": GPU_NODE.kind,
        "metadata": {"name": name, "ownerReferences": [owner]},
        "spec": spec,
    }
    try:
        await world.kube.create(GPU_NODE, body)
    except Conflict:
        return


async def _release_orphans(world: World, name: str) -> float | None:
    """Claims of pods that are gone, unbound or elsewhere; judged by a live read, never by the cache alone."""
    ledger = world.ledger(name)
    if ledger is None:
        return None
    known = {pod.uid: pod for pod in world.pods.store.values()}
    again_s: float | None = None
    for holder in ledger.pods:
        pod = known.get(holder.uid)
        if pod is not None and pod.node == name:
            continue
        age_s = time.time() - seconds_of(holder.at)
        orphan = (pod is None and age_s >= ORPHAN_MIN_S) or age_s >= world.settings.orphan_s
        if orphan and not _holds_memory(world, name, holder.uid):
            live = await _live_pod(world, holder.uid, holder.pool.partition("/")[0])
            if live is None or _elsewhere(live, name, age_s, world.settings.orphan_s):
                await world.write_ledger(name, partial(release, pod_uid=holder.uid, judged_at=holder.at))
                continue
        again_s = AGAIN_S
    return again_s


def _holds_memory(world: World, node: str, uid: str) -> bool:
    """Whether the agent still sees a process of that pod: a charge falls only when the measurement has."""
    measurement = world.measurement(node)
    return measurement is not None and any(p.pod_uid == uid for g in measurement.gpus for p in g.processes)


async def _live_pod(world: World, uid: str, namespace: str) -> Object | None:
    """The pod as the API server has it now."""
    pods, _ = await world.kube.list(POD, namespace, field_selector=f"spec.schedulerName={SCHEDULER_NAME}")
    return next((pod for pod in pods if pod["metadata"]["uid"] == uid), None)


def _elsewhere(live: Object, node: str, age_s: float, orphan_s: float) -> bool:
    """Bound to another node, or not bound although its claim is old enough: the Binding never came."""
    bound = live["spec"].get("nodeName", "")
    return bool(bound != node) if bound else age_s >= orphan_s
