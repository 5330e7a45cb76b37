"""One holder pod a managed node (see holders.py); more only where the label asks for more than is held."""

from __future__ import annotations

import logging
from typing import Any

from ingle_kit.holders import holder_name
from ingle_kit.kube import Conflict, Forbidden, Invalid, NotFound
from ingle_kit.names import LABEL_MANAGED, NODE, POD, SERVICE_ACCOUNT
from ingle_kit.objects.reasons import Reason
from ingle_operator.holders import Holder, HolderPlan, holder_pod, plan_holders, wanted_gpus
from ingle_operator.parse import Custom, NodeRecord
from ingle_operator.status import tell
from ingle_operator.world import World

REFUSED_AGAIN_S = 60.0
NUMBERS_MAX = 16

log = logging.getLogger(__name__)


async def reconcile_holder(world: World, name: str) -> float | None:
    """Holder pods of one node: makes what is missing, ends what is too much. Nothing where the node offers no GPUs."""
    node = world.nodes.store.get(("", name))
    holders = [h for h in world.holders.store.values() if h.node == name]
    if node is None:
        await _delete(world, holders)
        return None
    label = node.labels.get(LABEL_MANAGED)
    try:
        wanted = wanted_gpus(label, node.gpus)
    except ValueError as error:
        await _tell(world, node, Reason.BAD_MANAGED_LABEL, str(error))
        return None
    if label is not None and not node.gpus:
        return None  # its device plugin restarts, or it is a node of another kind: what is held stays
    plan = plan_holders(label, wanted, node.ready and not node.cordoned, holders)
    await _delete(world, plan.delete)
    for holder in holders:
        if holder.pending:
            await _tell(world, node, Reason.HOLDER_PENDING, f"holder pod {holder.key[1]}: {holder.pending}")
    return await _create(world, node, holders, plan)


async def _delete(world: World, holders: list[Holder] | tuple[Holder, ...]) -> None:
    for holder in holders:
        if holder.deleting:
            continue
        try:
            await world.kube.delete(POD, holder.key[1], holder.key[0], uid=holder.uid)
        except (Conflict, NotFound):
            log.info("holder pod %s is gone", holder.key[1])


async def _create(world: World, node: NodeRecord, holders: list[Holder], plan: HolderPlan) -> float | None:
    """A name that is taken means that an earlier try arrived: the watch will tell."""
    if not plan.create_gpus:
        return None
    settings = world.settings
    taken = {h.key[1] for h in holders}
    number = next((n for n in range(NUMBERS_MAX) if holder_name(node.name, n) not in taken), None)
    if number is None:
        return None
    try:
        owner = await world.kube.get(SERVICE_ACCOUNT, "ingle-operator", settings.namespace)
        pod = holder_pod(
            node.name,
            number,
            plan.create_gpus,
            settings.namespace,
            settings.holder_image,
            owner["metadata"]["uid"],
        )
        await world.kube.create(POD, pod)
    except Conflict:
        return None
    except (Invalid, Forbidden, NotFound) as error:
        await _tell(world, node, Reason.HOLDER_REFUSED, error.message)
        return REFUSED_AGAIN_S
    return None


async def _tell(world: World, node: NodeRecord, reason: Reason, message: str) -> None:
    shown: Custom[Any] = Custom(("", node.name), node.uid, 0, "", None, "", {}, {})
    await tell(world, NODE, shown, reason, message, warn=True)
