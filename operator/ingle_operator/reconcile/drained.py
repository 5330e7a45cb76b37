"""Nodes and GPUs that take no wakes, and pods that no node has room for."""

from __future__ import annotations

import time

from ingle_core.placement import TEXTS
from ingle_core.placement import Reason as NodeReason
from ingle_kit.drains import LABEL_DRIVER_UPGRADE
from ingle_kit.names import LABEL_MANAGED
from ingle_kit.objects.reasons import Reason
from ingle_operator.holders import not_ours
from ingle_operator.parse import EnginePod
from ingle_operator.subscriptions import SILENCE_S
from ingle_operator.world import World

_ROOM_TEXTS = tuple(
    TEXTS[reason]
    for reason in (
        NodeReason.INSUFFICIENT_MEMORY,
        NodeReason.INSUFFICIENT_WATTS,
        NodeReason.INSUFFICIENT_HOST_MEMORY,
        NodeReason.NUMA_SPLIT,
        NodeReason.NVLINK_SPLIT,
    )
)


def lacks_room(trouble: str) -> bool:
    """Whether kube-scheduler's words on a pod (with our filter's fixed texts) name something that others hold."""
    return any(text in trouble for text in _ROOM_TEXTS)


def takes_wakes(world: World, name: str, unheard_s: float = SILENCE_S) -> tuple[Reason, str] | None:
    """None where the node takes wakes, else why not. `unheard_s`: how long its agent may be silent."""
    node = world.nodes.store.get(("", name))
    if node is None or not node.ready:
        return Reason.NODE_NOT_READY, "its node is not ready"
    if node.cordoned:
        state = node.labels.get(LABEL_DRIVER_UPGRADE, "")
        upgrade = f" (driver upgrade: {state})" if state not in ("", "upgrade-done") else ""
        return Reason.NODE_CORDONED, f"its node is cordoned{upgrade} and takes no wakes"
    early = time.time() - world.started_at_s < unheard_s and unheard_s > SILENCE_S
    if not early and world.agents.fresh(name, unheard_s) is None:
        return Reason.AGENT_SILENT, "the agent of its node is silent"
    return None


def leaves(world: World, pod: EnginePod) -> tuple[Reason, str] | None:
    """Why a sleeper has to move: its node is cordoned or one of its GPUs is not ours any more. None: it may stay."""
    node = world.nodes.store.get(("", pod.node))
    gpu_node = world.gpu_nodes.store.get(("", pod.node))
    if node is not None and node.cordoned:
        return Reason.NODE_CORDONED, "its node is cordoned"
    if node is None or gpu_node is None:
        return None
    why = not_ours(gpu_node.status.gpus, LABEL_MANAGED in node.labels)
    gone = [f"{uuid}: {why[uuid]}" for uuid in pod.gpus if uuid in why]
    return (Reason.GPU_NOT_HELD, "; ".join(gone)) if gone else None


def blocks_wake(world: World, pod: EnginePod, unheard_s: float = SILENCE_S) -> tuple[Reason, str] | None:
    """None where the pod may wake, else why not. `unheard_s`: how long its node's agent may be silent."""
    return takes_wakes(world, pod.node, unheard_s) or leaves(world, pod)
