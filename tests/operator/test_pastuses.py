"""What keep-alive knows after a restart: from a real Prometheus, and in the order in which it happened."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ingle_kit import names
from ingle_kit.kube import Kube
from ingle_lab.prometheus import Prometheus as Server
from ingle_lab.prometheus import backfill
from ingle_operator.demandhistory import MINUTES, Peaks
from ingle_operator.keepalives import KeepAlives
from ingle_operator.pastuses import USES_MAX, Ask, learnt, uses_of
from ingle_operator.reconcile.pastuses import reconcile_past_uses

NOW_S = 1_800_000_000.0
GREEDY = Ask("GreedyDual", 3, 4)


def peaks(**minutes_ago: float) -> Peaks:
    """`m5=9`: 9 requests at once in the minute that ended five minutes ago, the last whole one being `m0`."""
    found = np.full(MINUTES.steps, np.nan, np.float32)
    found[-100:] = 0
    for name, load in minutes_ago.items():
        found[-1 - int(name[1:])] = load
    return found


def test_a_minute_with_load_is_a_use_of_as_many_replicas_as_it_needed() -> None:
    found = uses_of("d/p", GREEDY, NOW_S + 7, peaks(m5=9, m2=1, m0=400))
    assert [(use.at_s - NOW_S, use.replicas) for use in found] == [(-330, 3), (-150, 1), (-30, 3)]


def test_a_pool_that_is_always_used_is_told_no_more_than_the_bound() -> None:
    assert len(uses_of("d/p", GREEDY, NOW_S, np.ones(MINUTES.steps, np.float32))) == USES_MAX


def test_what_is_learnt_is_what_a_process_that_was_there_knows() -> None:
    there, hourly = KeepAlives(0.002), Ask("ExpectedUse", 1, 1)
    past = np.zeros(MINUTES.steps, np.float32)
    past[::60] = 1
    for use in uses_of("d/p", hourly, NOW_S, past):
        there.used("ExpectedUse", "d/p", 1, use.at_s)
    found = learnt(0.002, {"d/p": hourly, "d/new": hourly}, {"d/p": (NOW_S, past)})
    asked = ("ExpectedUse", "d/p", 1, 3.0, 40.0, NOW_S)
    assert found.keeps(*asked) == there.keeps(*asked) != []
    assert found.keeps("ExpectedUse", "d/new", 1, 3.0, 40.0, NOW_S) == []


def test_uses_of_this_process_count_beside_what_was_learnt_and_none_twice() -> None:
    live = KeepAlives(0.0)
    live.used("GreedyDual", "d/p", 1, NOW_S + 50)
    live.used("GreedyDual", "d/q", 1, NOW_S - 150)
    found = learnt(
        0.0, {"d/p": GREEDY, "d/q": GREEDY}, {name: (NOW_S, peaks(m2=1)) for name in ("d/p", "d/q")}
    )
    found.caught_up(live)
    assert found.worth("GreedyDual", "d/p", 0, NOW_S + 60) == 2
    assert found.worth("GreedyDual", "d/q", 0, NOW_S + 60) == 1


def samples(now_s: float) -> Iterator[str]:
    """One request a while in three minutes of an hour ago, for one pool."""
    first_s = int(now_s // 60 * 60 - 3600)
    for name in ("in_flight", "waiting"):
        yield f"# TYPE ingle_router_{name} gauge"
        for at_s in range(first_s, first_s + 600, 15):
            busy = name == "in_flight" and (at_s - first_s) // 60 in (1, 2, 6)
            yield f'ingle_router_{name}{{pool="default/p",pod="a"}} {int(busy)} {at_s}'


async def test_an_operator_that_begins_learns_the_uses_that_prometheus_has(
    kube: Kube, site: Any, operators: Any, bodies: Any, tmp_path: Path
) -> None:
    server = Server(tmp_path)
    backfill(server.data, samples(time.time()))
    with server:
        async with operators.running(work=False, prometheus_url=server.url) as world:
            await kube.create(
                names.INFERENCE_POOL, bodies.pool(warm={"keepAlive": "GreedyDual", "idleSeconds": 9})
            )
            await kube.create(names.INFERENCE_POOL, bodies.pool("fixed"))
            await site.until(lambda: len(world.pools.store) == 2, "the pools are known")
            while await reconcile_past_uses(world, "all") == 0.0:
                pass
            assert world.past_uses.done
            assert world.scaling.history.prometheus.asked == 1
            assert world.keepalives.worth("GreedyDual", "default/p", 0, time.time()) == 3
            assert await reconcile_past_uses(world, "all") is None
            world.scaling.close()


async def test_without_prometheus_nobody_is_asked_and_without_an_answer_it_is_tried_again(
    operators: Any, kube: Kube, site: Any, bodies: Any
) -> None:
    async with operators.running(work=False) as world:
        assert await reconcile_past_uses(world, "all") is None
    async with operators.running(work=False, prometheus_url="http://127.0.0.1:9") as world:
        await kube.create(names.INFERENCE_POOL, bodies.pool(warm={"keepAlive": "GreedyDual"}))
        await site.until(lambda: world.pools.store, "the pool is known")
        known = world.keepalives
        assert await reconcile_past_uses(world, "all") > 0
        assert (world.past_uses.done, world.keepalives) == (False, known)
        world.scaling.close()
