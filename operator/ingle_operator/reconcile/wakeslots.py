"""Idle engines in the way of a sleeper that would wake: found from all ledgers every few seconds, and left to their pools'
plans to put to sleep."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence

from ingle_core.placement.tenants import Tenant
from ingle_core.warmpool.wakeslot import WHY, Neighbour, sleeps_ahead
from ingle_operator import keepalives, loads
from ingle_operator.parse import EnginePod
from ingle_operator.roomfacts import loads_of, replica_numbers, spare_of, tenants_of
from ingle_operator.world import World

EVERY_S = 3.0


async def reconcile_wake_slots(world: World, name: str) -> float | None:
    """Notes who sleeps ahead of need, at most one on each node. None: nobody is to."""
    if not world.settings.sleep_ahead:
        return None
    now_s = time.time()
    known = world.demand_known() and any(pod.node for pod in world.pods.store.values())
    load = loads_of(world)
    tenants = tenants_of(world, load, now_s) if known else []
    spare = {pool: one.awake for pool, one in spare_of(world, tenants, load).items()}
    by_node: defaultdict[str, list[Tenant]] = defaultdict(list)
    for tenant in tenants:
        by_node[tenant.node].append(tenant)
    pods = {pod.uid: pod for pod in world.pods.store.values()}
    chosen = []
    for node, here in by_node.items():
        ledger = world.ledger(node)
        if ledger is None or not {"Awake", "Asleep"} <= {t.state for t in here}:
            continue
        gpus_mib = {gpu.uuid: gpu.allocatable_mib for gpu in ledger.gpus}
        neighbours = [_neighbour(world, tenant, pods.get(tenant.uid), now_s) for tenant in here]
        found = await asyncio.to_thread(sleeps_ahead, gpus_mib, neighbours, dict(spare))
        if found is not None:
            spare[found.pool] -= 1  # its pool may have others on other nodes
            chosen.append(found.uid)
    _note(world, tenants, chosen, now_s)
    return EVERY_S


def _note(world: World, tenants: Sequence[Tenant], chosen: Sequence[str], now_s: float) -> None:
    """Told to their pools' plans and, once, to their strategies as giving way."""
    before, world.notes.makes_room = world.notes.makes_room, dict.fromkeys(chosen, WHY)
    numbers = replica_numbers(world, tenants)
    for tenant in tenants:
        if tenant.uid in world.notes.makes_room and tenant.uid not in before:
            keepalives.evicted(world, tenant.pool, numbers[tenant.uid], now_s)
            world.add("pool", tenant.pool)


def _neighbour(world: World, tenant: Tenant, pod: EnginePod | None, now_s: float) -> Neighbour:
    used_at_s = max(world.notes.busy_at_s.get(tenant.uid, 0.0), world.started_at_s)
    namespace, _, name = tenant.pool.partition("/")
    pool = world.pools.store.get((namespace, name))
    spec = world.spec_of(pool) if pool is not None else None
    # Fixed: it stays for idleSeconds, no longer and no shorter.
    holds = spec is not None and spec.warm.keep_alive != "Fixed"
    least_s = min(world.settings.dwell_s, spec.warm.idle_seconds / 4) if spec is not None else 0.0
    return Neighbour(
        uid=tenant.uid,
        pool=tenant.pool,
        gpus=tenant.gpus,
        state=tenant.state,
        memory_mib=tenant.memory_mib,
        asleep_mib=tenant.asleep_mib,
        awake_mib=pod.need.awake_mib if pod is not None else tenant.memory_mib,
        moves=holds
        and tenant.state == "Awake"
        and tenant.can_sleep
        and not tenant.busy
        and now_s - used_at_s >= least_s,
        rate=loads.use_rate(world, tenant.pool).per_s(now_s, now_s - used_at_s),
        sleep_s=tenant.sleep_s,
        wake_s=tenant.wake_s,
    )
