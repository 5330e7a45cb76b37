"""An engine that sleeps without its weights from now on: noted on its pod, and its host memory given back to Kubernetes."""

from __future__ import annotations

import logging

from ingle_core.warmpool.tiers import Level
from ingle_kit.kube import KubeError
from ingle_kit.names import ANNOTATION_LEVEL, POD
from ingle_operator.parse import EnginePod
from ingle_operator.render import BASE_MEMORY_MIB
from ingle_operator.world import World

SEEN_AGAIN_S = 0.05
REFUSED_AGAIN_S = 2.0

log = logging.getLogger(__name__)


async def lower(world: World, pod: EnginePod) -> float:
    """Before it sleeps: who finds it asleep has to know that a wake reads the weights again."""
    namespace, name = pod.key
    patch = {"metadata": {"uid": pod.uid, "annotations": {ANNOTATION_LEVEL: Level.L2.value}}}
    try:
        await world.kube.merge_patch(POD, name, patch, namespace, "status")
    except KubeError as error:
        log.info("pod %s/%s keeps its level: %s", namespace, name, error)
        return REFUSED_AGAIN_S
    world.notes.wake_ms.pop(pod.uid, None)  # of the other level
    return SEEN_AGAIN_S


async def give_back_request(world: World, pod: EnginePod) -> None:
    """Asks Kubernetes for less, so that its scheduler has the memory too; tried once, since an old API server has no resize."""
    asked_mib = pod.need.requested_mib
    if not pod.need.lowered or asked_mib is None or asked_mib <= BASE_MEMORY_MIB:
        return
    if pod.uid in world.notes.resized:
        return
    world.notes.resized.add(pod.uid)
    namespace, name = pod.key
    requests = {"memory": f"{BASE_MEMORY_MIB}Mi"}
    patch = {"spec": {"containers": [{"name": "engine", "resources": {"requests": requests}}]}}
    try:
        await world.kube.strategic_patch(POD, name, patch, namespace, "resize")
    except KubeError as error:
        log.warning("pod %s/%s still asks for %d MiB of host memory: %s", namespace, name, asked_mib, error)
