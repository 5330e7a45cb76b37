"""Forecasts of all pools that want one: what their load was is noted, and now and then a few forecasts are made anew."""

from __future__ import annotations

import time

from ingle_operator.forecasts import forecasts_of
from ingle_operator.world import World

LOOK_S = 60.0
REFRESH_S = 3600.0
RETRY_S = 300.0
BATCH = 16


async def reconcile_forecasts(world: World, _: str) -> float:
    """Every minute while leading: notes loads, makes what is due (a batch at most), wakes pools that are wanted ahead."""
    now_s = time.time()
    names = {pool.name for pool in world.pools.store.values()}
    wanted = {
        pool.name
        for pool in world.pools.store.values()
        if pool.spec is not None and pool.spec.scaling.forecast != "None"
    }
    notes = world.scaling
    notes.keep(names, wanted)
    loads = _loads(world) if world.routers.followed() and world.demand_known() else None
    for pool in wanted:
        notes.history.note(pool, None if loads is None else loads.get(pool, 0), now_s)
    due = sorted(
        (pool for pool in wanted if now_s - notes.tried_at_s.get(pool, 0.0) >= REFRESH_S),
        key=lambda pool: (notes.tried_at_s.get(pool, 0.0), pool),
    )[:BATCH]
    if due:
        await _make(world, due, now_s)
    _wake(world, wanted)
    return 0.0 if len(due) == BATCH else LOOK_S


async def _make(world: World, due: list[str], now_s: float) -> None:
    notes = world.scaling
    peaks = {pool: await notes.history.peaks(pool, now_s) for pool in due}
    for pool, made in (await forecasts_of(peaks, now_s)).items():
        notes.tried_at_s[pool] = now_s - (REFRESH_S - RETRY_S if _blind(world) else 0.0)
        if made is not None:  # the one before ends by itself
            notes.forecasts[pool] = made


def _blind(world: World) -> bool:
    prometheus = world.scaling.history.prometheus
    return prometheus is not None and bool(prometheus.trouble)


def _loads(world: World) -> dict[str, int]:
    """Requests that wait or run, by pool, over all routers."""
    loads: dict[str, int] = {}
    for demand in world.demands():
        for pool in demand.pools:
            loads[pool.pool] = loads.get(pool.pool, 0) + pool.waiting + pool.in_flight
    return loads


def _wake(world: World, wanted: set[str]) -> None:
    """A pool that sleeps is looked at only when somebody says so."""
    for pool in world.pools.store.values():
        if pool.name in wanted and pool.name in world.scaling.forecasts:
            world.add("pool", pool.name)
