"""What is done for each kind of key, and how much of it at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ingle_operator.keys import Key, KeyQueue
from ingle_operator.leader import NotLeader
from ingle_operator.reconcile.budgets import reconcile_budgets
from ingle_operator.reconcile.engines import reconcile_engine
from ingle_operator.reconcile.forecasts import reconcile_forecasts
from ingle_operator.reconcile.holders import reconcile_holder
from ingle_operator.reconcile.nodes import reconcile_node
from ingle_operator.reconcile.pastuses import reconcile_past_uses
from ingle_operator.reconcile.policies import reconcile_policy
from ingle_operator.reconcile.pools import reconcile_pool, reconcile_pool_status
from ingle_operator.reconcile.prefetch import reconcile_fetches
from ingle_operator.reconcile.residues import reconcile_residues
from ingle_operator.reconcile.rooms import reconcile_rooms
from ingle_operator.reconcile.wakeslots import reconcile_wake_slots
from ingle_operator.world import World

TOPICS: dict[str, Callable[[World, str], Awaitable[float | None]]] = {
    "pool": reconcile_pool,
    "status": reconcile_pool_status,
    "engine": reconcile_engine,
    "node": reconcile_node,
    "holder": reconcile_holder,
    "room": reconcile_rooms,
    "residue": reconcile_residues,
    "wakeslot": reconcile_wake_slots,
    "fetch": reconcile_fetches,
    "forecast": reconcile_forecasts,
    "pastuse": reconcile_past_uses,
    "budget": reconcile_budgets,
    "policy": reconcile_policy,
}


def queue_of(world: World) -> KeyQueue:
    """The queue of a leader. Each topic has slots of its own: slow calls to engines hold up nothing else."""

    async def work(key: Key) -> float | None:
        topic, name = key
        try:
            world.leader.check(0.0)
            world.on_reconcile(topic)
            return await TOPICS[topic](world, name)
        except NotLeader:
            return world.settings.lease_renew_s / 2

    slots = {"engine": world.settings.engine_workers}
    return KeyQueue(work, workers=world.settings.workers, slots=slots)
