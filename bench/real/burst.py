"""40 pods at once for the GPUs of one node, each too large to share a GPU."""

from __future__ import annotations

import time

from bench.real.audit import shared_gpus
from bench.real.bulk import say
from bench.real.objects import Shape, engine_pod
from bench.real.podwatch import PodWatch
from bench.real.rows import Row, at_most
from bench.real.site import Site

PODS = 40
LIMIT_S = 10.0
PRODUCT = "Burst"


async def rows(site: Site, *, rounds: int) -> list[Row]:
    """Seconds from the first pod made until each is bound or told why not (the slowest round); double bookings."""
    node = Shape("burst", product=PRODUCT)
    await site.bulk.make_nodes([node])
    worst_s, double = 0.0, 0
    try:
        for number in range(rounds):
            taken_s, found = await _burst(site, node)
            say(f"burst of {PODS}, round {number + 1} of {rounds}: {taken_s:.2f} s")
            worst_s, double = max(worst_s, taken_s), double + found
    finally:
        await site.reset()
        await site.bulk.remove_nodes([node])
    return [
        at_most("burst_40_s", worst_s, "s", LIMIT_S),
        at_most("burst_40_double_bookings", double, "pods", 0),
    ]


async def _burst(site: Site, node: Shape) -> tuple[float, int]:
    await site.reset()
    await site.start_extender()
    await site.start_scheduler()
    names = [f"b{i:02d}" for i in range(PODS)]
    async with PodWatch(site.kube) as watch:
        await ready(site, watch)

        def settled() -> bool:
            bound = len(watch.bound(names))
            return bound == node.gpus and bound + len(watch.refused(names)) == PODS

        started_s = time.monotonic()
        await site.bulk.make_pods(engine_pod(n, products=[PRODUCT]) for n in names)
        await watch.until(settled, f"{node.gpus} bound and the others refused", 60)
        taken_s = time.monotonic() - started_s
    found = await site.bulk.audit()
    return taken_s, found.double_bookings + found.leaked + shared_gpus(await site.bulk.pods())


async def ready(site: Site, watch: PodWatch) -> None:
    """Returns when scheduler and extender have bound a first pod, which is removed again."""
    name = "ready"
    await site.bulk.make_pods([engine_pod(name)])
    await watch.until_bound([name], 90)
    await site.bulk.clear_pods()
    await watch.until(lambda: name not in watch.pods, "first pod removed", 30)
