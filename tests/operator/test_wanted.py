"""When a pool is wanted stands in its status, and survives the operator."""

from __future__ import annotations

import time
from typing import Any

from ingle_core.warmpool.demandprofile import HOUR_S, DemandProfile
from ingle_kit import names
from ingle_kit.kube import Kube
from ingle_operator import loads
from ingle_operator.reconcile.pools import reconcile_pool_status


async def test_a_profile_is_published_once_an_hour_was_seen_and_taken_up_by_the_next_leader(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    site.places = False
    hour_began_s = time.time() // HOUR_S * HOUR_S
    hour = int(hour_began_s // HOUR_S) % 24
    async with operators.running(work=False) as world:
        await kube.create(names.INFERENCE_POOL, bodies.pool("known"))
        await site.until(lambda: world.pools.store, "the pool is known")
        world.notes.profiles["default/known"] = DemandProfile((40,) * 24, hour_began_s - HOUR_S)
        loads.note(world, "default/known", 0, hour_began_s)
        await reconcile_pool_status(world, "default/known")
        status = (await kube.get(names.INFERENCE_POOL, "known", "default"))["status"]
        expected = [30 if h == (hour - 1) % 24 else 40 for h in range(24)]
        assert status["demandPercentByHour"] == expected
    async with operators.running(work=False) as world:
        await site.until(lambda: world.pools.store, "the pool is known")
        assert list(loads.wanted_percent(world, "default/known", time.time())) == expected


async def test_of_a_pool_that_is_not_there_and_of_a_new_one_nothing_is_told(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    site.places = False
    async with operators.running(work=False) as world:
        loads.note(world, "default/absent", 3, time.time())
        assert loads.wanted_percent(world, "default/absent", time.time()) == ()
        await kube.create(names.INFERENCE_POOL, bodies.pool("new"))
        await site.until(lambda: world.pools.store, "the pool is known")
        loads.note(world, "default/new", 1, time.time())
        await reconcile_pool_status(world, "default/new")
        status = (await kube.get(names.INFERENCE_POOL, "new", "default"))["status"]
        assert "demandPercentByHour" not in status or status["demandPercentByHour"] == []
