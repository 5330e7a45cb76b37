"""Placement on a real control plane: rates, bursts, waits, faults and races; nodes are objects only.

`BENCH_SMALL=1` makes everything small, to try the benchmark itself. `BENCH_PARTS=burst,verdict` runs only those.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench.parts import wanted
from bench.real import burst, faults, packing, races, requeue, throughput, verdict, warm
from bench.real.bulk import say
from bench.real.objects import shapes
from bench.real.rows import Row
from bench.real.site import Site, open_site


@dataclass(frozen=True)
class Sizes:
    nodes: int = 1000
    pods: int = 800
    rounds: int = 3
    wakes: int = 50
    fault_pods: int = 40
    verdict_nodes: int = 5000
    race_pods: int = 10_000
    race_in_flight: int = 200
    race_nodes: int = 24
    trace_every: int = 8
    warm_nodes: int = 1000
    warm_models: int = 60
    warm_pods: int = 500


SMALL = Sizes(
    nodes=40,
    pods=80,
    rounds=1,
    wakes=5,
    fault_pods=12,
    verdict_nodes=200,
    race_pods=300,
    race_nodes=6,
    trace_every=100,
    warm_nodes=40,
    warm_models=6,
    warm_pods=30,
)
Part = Callable[[Site, Sizes], Awaitable[list[Row]]]
ON_EQUAL_NODES: dict[str, Part] = {
    "throughput": lambda site, sizes: throughput.rows(site, pods=sizes.pods, rounds=sizes.rounds),
    "burst": lambda site, sizes: burst.rows(site, rounds=sizes.rounds),
    "requeue": lambda site, sizes: requeue.rows(site, rounds=sizes.wakes),
    "faults": lambda site, sizes: faults.rows(site, pods=sizes.fault_pods),
}
ON_OWN_NODES: dict[str, Part] = {
    "races": lambda site, sizes: races.rows(
        site, pods=sizes.race_pods, in_flight=sizes.race_in_flight, nodes=sizes.race_nodes
    ),
    "verdict": lambda site, sizes: verdict.rows(site, nodes=sizes.verdict_nodes, rounds=5),
    "packing": lambda site, sizes: packing.rows(site, every=sizes.trace_every),
    "warm": lambda site, sizes: warm.rows(
        site, nodes=sizes.warm_nodes, models=sizes.warm_models, pods=sizes.warm_pods
    ),
}


def measure() -> list[Row]:
    """All parts, in the order of the tables above."""
    sizes = SMALL if os.environ.get("BENCH_SMALL") else Sizes()
    return asyncio.run(_measure(sizes, wanted([*ON_EQUAL_NODES, *ON_OWN_NODES])))


async def _measure(sizes: Sizes, names: list[str]) -> list[Row]:
    found: list[Row] = []
    shared = {name: part for name, part in ON_EQUAL_NODES.items() if name in names}
    if shared:
        async with open_site() as site:
            await site.bulk.make_nodes(shapes(sizes.nodes))
            for name, part in shared.items():
                found += await _timed(name, part, site, sizes)
    for name, part in ON_OWN_NODES.items():
        if name in names:
            async with open_site() as site:
                found += await _timed(name, part, site, sizes)
    return found


async def _timed(name: str, part: Part, site: Site, sizes: Sizes) -> list[Row]:
    started_s = time.monotonic()
    found = await part(site, sizes)
    say(f"{name}: done in {time.monotonic() - started_s:.0f} s")
    for row in found:
        say(f"  {row['name']}: {row['value']} {row['unit']} (target {row['target']}, met {row['met']})")
    return found
