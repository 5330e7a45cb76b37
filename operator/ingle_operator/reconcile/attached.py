"""Engines that do not sit where the ledger has them, as their node's agent says: told on their pool."""

from __future__ import annotations

from ingle_kit.names import INFERENCE_POOL
from ingle_operator.parse import GpuNode
from ingle_operator.status import reason_of, tell
from ingle_operator.world import World


async def tell_misplaced(world: World, gpu_node: GpuNode) -> None:
    """An event on the pool of each engine named in the node's status; rate and repetition are bounded by `tell`."""
    pods = {pod.uid: pod for pod in world.pods.store.values() if pod.node == gpu_node.name}
    for misplaced in gpu_node.status.misplaced:
        pod = pods.get(misplaced.pod_uid)
        pool = world.pools.store.get((pod.key[0], pod.pool.partition("/")[2])) if pod else None
        if pod is None or pool is None:
            continue
        text = f"engine {pod.key[1]} on {gpu_node.name}: {misplaced.message}"
        await tell(world, INFERENCE_POOL, pool, reason_of(misplaced.reason), text, warn=True)
