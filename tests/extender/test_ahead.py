"""What pools and profiles say of every GPU is worked out before a pod asks. Needs no server."""

from __future__ import annotations

import asyncio
import contextlib

from ingle_core.facts import GpuFacts, GpuNodeFacts, Resident
from ingle_core.placement import Assumed
from ingle_core.placement.pools import PoolFacts, Pools, VariantFacts
from ingle_extender.ahead import BEHIND_MOST, ROWS_A_STEP, Ahead
from ingle_extender.nodes import Nodes

from .conftest import until

NODES = BEHIND_MOST + 20
DAY = (50,) * 12 + (0,) * 12


def parts(*assumed: Assumed) -> tuple[Nodes, Pools, Ahead]:
    nodes, pools = Nodes(on_claimed=lambda _: None), Pools()
    for n in range(NODES):
        gpu = GpuFacts(f"g{n}", "H100", 80_000, 70_000, residents=(Resident("d/day", 10_000),))
        nodes.columns.update(f"n{n}", GpuNodeFacts((gpu,)))
    return nodes, pools, Ahead(nodes, pools, assumed=lambda: assumed, every_s=0.001, clock=lambda: 0.0)


def steps(ahead: Ahead) -> int:
    count = 0
    while ahead.step():
        count += 1
    return count


def pool(*awake_mib: int) -> PoolFacts:
    return PoolFacts(tuple(VariantFacts(mib, 1_000) for mib in awake_mib), 1, DAY)


def test_without_pools_only_rows_are_taken_over() -> None:
    nodes, pools, ahead = parts()
    assert steps(ahead) == -(-NODES // ROWS_A_STEP) - 1
    assert pools.conflicts.take_over(nodes.columns, 1) == 0


def test_every_shape_of_engine_has_its_scores_and_none_is_computed_twice() -> None:
    nodes, pools, ahead = parts(Assumed("u", "n1", ("g1",), 5_000, 0))
    pools.learn("d/day", pool(30_000, 60_000))
    assert steps(ahead) >= 2
    fragmentation = pools.context(0.0).fragmentation
    assert fragmentation is not None
    assert [(fragmentation.behind(ask), pools.conflicts.behind(ask)) for ask in pools.asks()] == [(0, 0)] * 2
    assert steps(ahead) == 0
    pools.learn("d/day", pool(30_000))
    assert pools.conflicts.take_over(nodes.columns, 0) == NODES
    assert steps(ahead) >= NODES // ROWS_A_STEP


async def test_it_is_done_at_once_where_there_is_nothing_and_goes_on() -> None:
    nodes, pools, ahead = parts()
    running = asyncio.create_task(ahead.run())
    await asyncio.wait_for(ahead.done.wait(), 5.0)
    pools.learn("d/day", pool(30_000))

    async def taken_over() -> bool:
        return pools.conflicts.take_over(nodes.columns, 0) == 0

    await until(taken_over, "the new profile taken over")
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
