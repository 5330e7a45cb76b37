"""Engines that do not sit where they should, as their node's agent says: told on their pool."""

from __future__ import annotations

from ingle_core.ledger import Ledger
from ingle_kit.names import INFERENCE_POOL
from ingle_kit.objects.reasons import Reason
from ingle_operator.holders import not_ours
from ingle_operator.parse import EnginePod, GpuNode
from ingle_operator.status import reason_of, tell
from ingle_operator.world import World


async def tell_misplaced(world: World, gpu_node: GpuNode) -> None:
    """An event on the pool of each engine named in the node's status; rate and repetition are bounded by `tell`."""
    for misplaced in gpu_node.status.misplaced:
        await _tell(world, gpu_node, misplaced.pod_uid, reason_of(misplaced.reason), misplaced.message)


async def tell_not_held(world: World, gpu_node: GpuNode, ledger: Ledger | None, managed: bool) -> None:
    """The same for engines on GPUs that are not ours any more. `managed`: the node has the label `ingle.dev/managed`."""
    why = not_ours(gpu_node.status.gpus, managed)
    for gpu in ledger.gpus if ledger else ():
        for claim in gpu.claims if gpu.uuid in why else ():
            await _tell(world, gpu_node, claim.pod_uid, Reason.GPU_NOT_HELD, f"{gpu.uuid}: {why[gpu.uuid]}")


async def _tell(world: World, gpu_node: GpuNode, uid: str, reason: Reason, text: str) -> None:
    pod = _pod(world, gpu_node.name, uid)
    pool = world.pools.store.get((pod.key[0], pod.pool.partition("/")[2])) if pod else None
    if pod is not None and pool is not None:
        text = f"engine {pod.key[1]} on {gpu_node.name}: {text}"
        await tell(world, INFERENCE_POOL, pool, reason, text, warn=True)


def _pod(world: World, node: str, uid: str) -> EnginePod | None:
    return next((p for p in world.pods.store.values() if p.uid == uid and p.node == node), None)
