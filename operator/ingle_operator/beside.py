"""Who shares the GPUs of a sleeper that waits for room, and when each of them is idle."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ingle_operator.parse import EnginePod
from ingle_operator.roomfacts import RECENT_S, Loads

if TYPE_CHECKING:
    from ingle_operator.world import World


def idle_from_s(world: World, pod: EnginePod, loads: Loads) -> dict[str, float]:
    """By UID of an awake engine on the pod's GPUs: since when it is idle, or from when on it is; inf while its pool has load.

    A pod without a node has none beside it: it may go anywhere.
    """
    ledger = world.ledger(pod.node) if pod.node else None
    if ledger is None:
        return {}
    beside = {c.pod_uid for gpu in ledger.gpus if gpu.uuid in pod.gpus for c in gpu.claims} - {pod.uid}
    used_at_s = world.notes.busy_at_s
    return {
        one.uid: math.inf if loads.pools.get(one.pool, 0) else used_at_s.get(one.uid, -math.inf) + RECENT_S
        for one in ledger.pods
        if one.uid in beside and one.state == "Awake"
    }
