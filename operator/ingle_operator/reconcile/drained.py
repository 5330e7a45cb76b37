"""Nodes that take no wakes, and pods that no node has room for."""

from __future__ import annotations

import time

from ingle_core.placement import TEXTS
from ingle_core.placement import Reason as NodeReason
from ingle_kit.drains import LABEL_DRIVER_UPGRADE
from ingle_kit.objects.reasons import Reason
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
