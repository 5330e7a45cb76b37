"""Sleepers that crowd a node: found from all ledgers now and then, and left to their pools' plans to stop."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict

from ingle_core.placement.tenants import Tenant
from ingle_core.warmpool.residue import Occupant, surplus
from ingle_operator.roomfacts import loads_of, spare_of, tenants_of
from ingle_operator.world import World

EVERY_S = 10.0
FOUND_TIMES = 3  # in a row: a moment in which all are busy is no reason to stop a sleeper


async def reconcile_residues(world: World, name: str) -> float | None:
    """Notes which sleepers are surplus, node by node; their pools stop them as far as floors allow."""
    now_s = time.time()
    if not any(pod.node for pod in world.pods.store.values()) or not world.demand_known():
        return EVERY_S
    loads = loads_of(world)
    tenants = tenants_of(world, loads, now_s)
    spare = {pool: one.kept for pool, one in spare_of(world, tenants, loads).items()}
    by_node: defaultdict[str, list[Tenant]] = defaultdict(list)
    for tenant in tenants:
        by_node[tenant.node].append(tenant)
    awake_mib = {pod.uid: pod.need.awake_mib for pod in world.pods.store.values()}
    found: dict[str, str] = {}
    for node, here in by_node.items():
        ledger = world.ledger(node)
        if ledger is None or not any(t.state == "Asleep" for t in here):
            continue
        gpus_mib = {gpu.uuid: gpu.allocatable_mib for gpu in ledger.gpus}
        occupants = [_occupant(tenant, awake_mib.get(tenant.uid, tenant.memory_mib)) for tenant in here]
        cap_fraction = world.settings.residue_percent / 100
        more = await asyncio.to_thread(surplus, gpus_mib, occupants, dict(spare), cap_fraction)
        for one in more:
            pool = next(t.pool for t in here if t.uid == one)
            spare[pool] -= 1  # its pool may have others on other nodes
        found |= more
    _note(world, found)
    return EVERY_S


def _note(world: World, found: dict[str, str]) -> None:
    notes = world.notes
    notes.surplus_times = {uid: notes.surplus_times.get(uid, 0) + 1 for uid in found}
    lasting = {uid: why for uid, why in found.items() if notes.surplus_times[uid] >= FOUND_TIMES}
    changed = lasting.keys() ^ notes.surplus.keys()
    notes.surplus = lasting
    for pod in world.pods.store.values():
        if pod.uid in changed:
            world.add("pool", pod.pool)


def _occupant(tenant: Tenant, awake_mib: int) -> Occupant:
    return Occupant(
        tenant.uid,
        tenant.pool,
        tenant.gpus,
        tenant.state,
        tenant.memory_mib,
        tenant.asleep_mib,
        awake_mib,
        moves=tenant.state == "Awake" and not tenant.busy and tenant.can_sleep,
        worth=tenant.cost_s("Ended"),
    )
