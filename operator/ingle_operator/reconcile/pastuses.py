"""What pools did before this process began: asked of Prometheus once, pool by pool, and learnt when all is there."""

from __future__ import annotations

import asyncio
import time

from ingle_operator.demandhistory import MINUTES
from ingle_operator.pastuses import Ask, learnt
from ingle_operator.world import World

AGAIN_S = 300.0  # a question that is too much for it pauses those of forecasts too
BATCH = 8


async def reconcile_past_uses(world: World, _: str) -> float | None:
    """A few questions at a time; None once the strategies know, or where nobody can be asked."""
    prometheus, past = world.scaling.history.prometheus, world.past_uses
    if prometheus is None or past.done:
        return None
    asks = asks_of(world)
    for pool in sorted(asks.keys() - past.found.keys())[:BATCH]:
        now_s = time.time()
        peaks = await prometheus.peaks(pool, now_s, MINUTES)
        if peaks is None:
            return AGAIN_S
        past.found[pool] = (now_s, peaks)
    if asks.keys() - past.found.keys():
        return 0.0
    fresh = await asyncio.to_thread(learnt, world.keepalives.price_s, asks, past.found)
    world.keepalives = fresh.caught_up(world.keepalives)
    past.done = True
    past.found.clear()
    for pool in world.pools.store.values():
        world.add("pool", pool.name)
    return None


def asks_of(world: World) -> dict[str, Ask]:
    """Pools whose keep-alive remembers."""
    found = {}
    for pool in world.pools.store.values():
        spec = world.spec_of(pool)
        if spec is not None and spec.warm.keep_alive != "Fixed":
            concurrency = max(1, spec.scaling.concurrency)
            found[pool.name] = Ask(spec.warm.keep_alive, spec.replicas.max, concurrency)
    return found
