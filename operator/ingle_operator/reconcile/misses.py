"""Engines that start where their weights or compile cache are not: counted, and told where another node had them."""

from __future__ import annotations

import msgspec

from ingle_core.placement import Ask, ask_from_annotation
from ingle_core.warmpool.cachekey import hardware_of
from ingle_core.warmpool.cachemiss import Disk, Miss, compile_miss, weights_miss
from ingle_core.warmpool.facts import State
from ingle_kit.names import INFERENCE_POOL
from ingle_kit.objects import GPUNodeStatus
from ingle_kit.objects.reasons import Reason
from ingle_operator.parse import EnginePod, Pool
from ingle_operator.status import tell
from ingle_operator.world import World

WEIGHTS, COMPILE = "weights", "compile"


async def count_misses(world: World, pool: Pool, pod: EnginePod, state: State) -> None:
    """Judges each engine once, by what its node has told when it is first seen to start."""
    notes = world.notes
    if world.settings.cache is None or state is not State.STARTING or pod.uid in notes.cache_judged:
        return
    gpu_node = world.gpu_nodes.store.get(("", pod.node))
    if gpu_node is None:
        return
    notes.cache_judged.add(pod.uid)
    try:
        ask = ask_from_annotation(pod.placement)
    except (ValueError, msgspec.DecodeError):
        return
    for kind, miss in _misses(world, ask, pod, gpu_node.status).items():
        if miss is None:
            continue
        notes.cache_misses[kind, miss.reason] += 1
        if miss.elsewhere:
            text = f"engine {pod.key[1]}: {miss.text}"
            await tell(world, INFERENCE_POOL, pool, Reason.CACHE_MISS, text)


def disks_of(world: World) -> dict[str, Disk]:
    """What every node has, by its agent's last word."""
    return {node.name: disk_of(node.status) for node in world.gpu_nodes.store.values()}


def disk_of(status: GPUNodeStatus) -> Disk:
    weights = [(item.model, bool(item.partial)) for item in status.warm if item.kind == "Weights"]
    return Disk(
        whole=frozenset(name for name, partial in weights if name and not partial),
        partial=frozenset(name for name, partial in weights if name and partial),
        compiled=frozenset(item.key for item in status.warm if item.key),
    )


def _misses(world: World, ask: Ask, pod: EnginePod, status: GPUNodeStatus) -> dict[str, Miss | None]:
    disks = disks_of(world)
    found: dict[str, Miss | None] = {}
    if ask.weights and world.settings.cache_image:
        found[WEIGHTS] = weights_miss(ask.weights, pod.node, disks)
    if ask.compile_key:
        products = sorted({gpu.product for gpu in status.gpus if gpu.uuid in pod.gpus})
        hardware = hardware_of("+".join(products), status.driver_version or "")
        found[COMPILE] = compile_miss(ask.compile_key, hardware, pod.node, disks)
    return found
