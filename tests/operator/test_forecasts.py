"""Forecasts made in their own process, and from what the routers of a pool have told."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ingle_core.scaling.history import DAY_STEPS, STEP_S, STEPS
from ingle_kit import names
from ingle_kit.kube import Kube
from ingle_operator.demandhistory import Peaks
from ingle_operator.forecasts import forecasts_of
from ingle_operator.reconcile.forecasts import reconcile_forecasts

NOW_S = 1_800_000_000.0


def daily() -> Peaks:
    """Five days with 9 requests at once in the quarter hours to come, of which the last is now."""
    peaks = np.full(STEPS, np.nan, np.float32)
    steps = np.arange(5 * DAY_STEPS)
    peaks[-len(steps) :] = np.where(steps % DAY_STEPS < 8, 9.0, 0.0)
    return peaks


async def test_each_history_has_its_forecast_and_too_short_a_one_none() -> None:
    short = np.full(STEPS, np.nan, np.float32)
    short[-10:] = 5
    found = await forecasts_of({"a/daily": daily(), "a/short": short}, NOW_S, limit_s=100.0)
    assert found["a/short"] is None
    made = found["a/daily"]
    assert made is not None
    assert made.method == "Seasonal"
    assert made.first_s == NOW_S // STEP_S * STEP_S
    assert min(made.load) >= 8


async def test_what_is_not_made_in_time_has_the_floor() -> None:
    found = await forecasts_of({"a/daily": daily()}, NOW_S, limit_s=0.0)
    made = found["a/daily"]
    assert made is not None
    assert (made.method, made.load) == ("SeasonalNaive", (9.0,) * 8)


async def test_only_pools_that_want_a_forecast_are_noted_and_get_one(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    site.places = False
    await site.node("n1")
    await site.router("n1")
    async with operators.running(work=False) as world:
        await kube.create(names.INFERENCE_POOL, bodies.pool("plain"))
        await kube.create(names.INFERENCE_POOL, bodies.pool("seen", scaling={"forecast": "Seasonal"}))
        site.ask("default/seen", 3)
        await site.until(lambda: len(world.pools.store) == 2, "the pools are known")
        await site.until(lambda: world.routers.followed() and world.demand_known(), "the router is heard")
        now_s = time.time()
        notes = world.scaling
        for step in range(3 * DAY_STEPS):
            notes.history.note("default/seen", 3, now_s - (3 * DAY_STEPS - step) * STEP_S)
        await reconcile_forecasts(world, "all")
        assert set(notes.forecasts) == {"default/seen"}
        assert notes.forecasts["default/seen"].most(now_s, now_s + 600) == 3
        assert not notes.history.noted("default/plain")
        await kube.delete(names.INFERENCE_POOL, "seen", "default")
        await site.until(lambda: len(world.pools.store) == 1, "one pool is gone")
        await reconcile_forecasts(world, "all")
        assert not notes.forecasts
