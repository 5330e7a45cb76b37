"""Room that was reserved where kube-scheduler does not put the pod, for reasons of its own: CPU, volumes, affinity.

It is given back soon, and for a while no room is made for that pod there.
"""

from __future__ import annotations

import time
from functools import partial

from ingle_core.ledger import Holder, release
from ingle_core.placement import RESERVED_ELSEWHERE
from ingle_operator.parse import EnginePod, seconds_of
from ingle_operator.reconcile.drained import lacks_room
from ingle_operator.world import World

REFUSED_AFTER_S = 5.0  # kube-scheduler has looked again since: its longest backoff is 3 s
SHUNNED_S = 120.0


def refused_on(world: World, pod: EnginePod) -> tuple[str, Holder] | None:
    """The node where an unbound pod has its GPUs reserved by us, and the claim, if what kube-scheduler said last of the
    pod is no lack of room. What the extender has claimed (without an epoch) may have its Binding under way.
    """
    own = RESERVED_ELSEWHERE in pod.trouble or not lacks_room(pod.trouble)
    if pod.node or not pod.trouble or not own:
        return None
    for _, name in world.gpu_nodes.store:
        ledger = world.ledger(name)
        holder = ledger.holder(pod.uid) if ledger is not None else None
        if holder is not None:
            return (name, holder) if holder.state == "Starting" and holder.epoch else None
    return None


async def give_back_refused(world: World, now_s: float) -> bool:
    """Releases such claims once they are old enough; True while some are not yet.

    One that is about to be bound has been made the extender's own: it bears another time, and stays.
    """
    waits = False
    for pod in list(world.pods.store.values()):
        found = None if pod.deleting or pod.ended else refused_on(world, pod)
        if found is None:
            continue
        node, holder = found
        if now_s - seconds_of(holder.at) < REFUSED_AFTER_S:
            waits = True
        else:
            world.notes.shunned_until_s.setdefault(pod.uid, {})[node] = now_s + SHUNNED_S
            await world.write_ledger(node, partial(release, pod_uid=pod.uid, judged_at=holder.at))
    return waits


def shunned(world: World, uid: str) -> set[str]:
    """Nodes where no room is made for this pod now."""
    now_s, until_s = time.time(), world.notes.shunned_until_s.get(uid, {})
    return {node for node, end_s in until_s.items() if now_s < end_s}
