"""A node's GPUNode: created when its agent is heard, filled from its status, orphaned claims released."""

from __future__ import annotations

import time
from functools import partial

from ingle_core.ledger import Gpu, Ledger, Op, Zone, release, set_gpus
from ingle_kit.kube import Conflict, NotFound
from ingle_kit.names import GPU_NODE, NODE, POD
from ingle_kit.objects import GPUNodeStatus
from ingle_operator.parse import seconds_of
from ingle_operator.world import World

HOST_SHARE_FOR_SLEEPERS_PERCENT = 90


async def reconcile_node(world: World, name: str) -> float | None:
    node = world.nodes.store.get(("", name))
    if node is None:
        return None
    gpu_node = world.gpu_nodes.store.get(("", name))
    if gpu_node is None:
        if world.measurement(name) is not None:
            await _create(world, name, node.uid)
        return None
    known = world.ledger(name)
    if gpu_node.status.gpus and known is not None and _taken_over(known, gpu_node.status):
        await world.write_ledger(name, partial(_taken_over, status=gpu_node.status))
    return await _release_orphans(world, name)


async def _create(world: World, name: str, node_uid: str) -> None:
    world.leader.check(world.settings.lease_renew_s)
    owner = {"apiVersion": NODE.api_version, "kind": NODE.kind, "name": name, "uid": node_uid}
    body = {
        "apiVersion": GPU_NODE.api_version,
        "kind": GPU_NODE.kind,
        "metadata": {"name": name, "ownerReferences": [owner]},
        "spec": {"revision": 1, "gpus": [], "zones": [], "pods": []},
    }
    try:
        await world.kube.create(GPU_NODE, body)
    except Conflict:
        return


def _taken_over(ledger: Ledger, status: GPUNodeStatus) -> list[Op]:
    """The ledger's GPUs and zones as the agent reads them; foreign memory is not ours to give."""
    gpus = [
        Gpu(
            uuid=g.uuid,
            allocatable_mib=0
            if g.health != "Healthy" or g.mig
            else max(0, g.memory_mib.total - g.memory_mib.reserved - g.memory_mib.foreign),
            floor_watts=g.watts.max or 0 if g.health == "Lost" else g.watts.min or 0,
        )
        for g in status.gpus
    ]
    zones = [
        Zone(zone=z.zone, allocatable_mib=z.memory_mib.total * HOST_SHARE_FOR_SLEEPERS_PERCENT // 100)
        for z in status.numa
    ]
    return set_gpus(ledger, gpus, zones)


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
        waits_for_bind = pod is not None and not pod.node
        if (pod is None and age_s < 1.0) or (waits_for_bind and age_s < world.settings.orphan_s):
            again_s = min(again_s or 5.0, 1.0)
        elif await _is_orphan(world, holder.uid, holder.pool, name):
            await world.write_ledger(name, partial(release, pod_uid=holder.uid))
    return again_s


async def _is_orphan(world: World, uid: str, pool: str, node: str) -> bool:
    """True only when the API server itself has no such pod on this node now."""
    namespace = pool.partition("/")[0]
    pods, _ = await world.kube.list(POD, namespace, field_selector=f"spec.nodeName={node}")
    if any(p["metadata"]["uid"] == uid for p in pods):
        return False
    cached = next((p for p in world.pods.store.values() if p.uid == uid), None)
    if cached is None:
        return True
    try:
        live = await world.kube.get(POD, cached.key[1], cached.key[0])
    except NotFound:
        return True
    return bool(live["metadata"]["uid"] != uid or live["spec"].get("nodeName") != node)
