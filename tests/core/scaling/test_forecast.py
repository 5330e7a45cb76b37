"""Expected load: what a forecast may say, and that it only ever adds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ingle_core.scaling.forecast import HORIZON_STEPS, Forecast, Loads, ahead, expected, floor
from ingle_core.scaling.history import DAY_STEPS, STEP_S

DAY_S = DAY_STEPS * STEP_S


def daily(days: int, noise: float = 0.0, missing: float = 0.0) -> Loads:
    """Load in the first quarter of each day's second half, 20 at once, from a seeded generator."""
    luck = np.random.default_rng(7)
    steps = np.arange(days * DAY_STEPS)
    values = np.where((steps % DAY_STEPS >= 48) & (steps % DAY_STEPS < 72), 20.0, 0.0)
    values = np.maximum(0, np.round(values + noise * luck.standard_normal(len(steps))))
    values[luck.random(len(steps)) < missing] = np.nan
    return values


def upto(values: Loads, steps: int) -> Loads:
    """What was known `steps` steps into the last day."""
    return values[: len(values) - DAY_STEPS + steps]


@pytest.mark.parametrize(("noise", "missing"), [(0.0, 0.0), (2.0, 0.0), (2.0, 0.2)])
def test_a_load_that_comes_each_day_is_expected_before_it_comes(noise: float, missing: float) -> None:
    found = expected(upto(daily(6, noise, missing), 46))
    assert found is not None
    assert found[2:].min() >= 12
    assert found[0] <= 8


def test_a_quiet_night_after_a_busy_day_expects_little() -> None:
    found = expected(upto(daily(6, 1.0), 80))
    assert found is not None
    assert found.max() <= 8


def test_with_two_weeks_a_day_of_rest_is_known() -> None:
    days = daily(20, 1.0).reshape(20, DAY_STEPS)
    days[5::7] = 0
    days[6::7] = 0
    found = expected(upto(days[4:].ravel(), 46))  # the 20th is the first of two days of rest
    assert found is not None
    assert found.max() <= 8


def test_a_constant_load_is_expected_to_stay() -> None:
    assert np.array_equal(np.asarray(expected(np.full(300, 3.0))), [3.0] * HORIZON_STEPS)


def test_one_spike_is_not_expected_again() -> None:
    values = np.zeros(4 * DAY_STEPS)
    values[-DAY_STEPS + 3] = 50
    found = expected(values)
    assert found is not None
    assert found.max() < 25
    assert floor(values) is not None
    assert np.max(floor(values)) == 0


@pytest.mark.parametrize(
    "peaks",
    [
        np.array([]),
        np.full(500, np.nan),
        np.ones(2 * DAY_STEPS - 1),
        np.concatenate([np.ones(300), np.full(150, np.nan)]),
    ],
    ids=["nothing", "never seen", "less than two days", "not lately"],
)
def test_of_too_little_history_there_is_no_forecast(peaks: Loads) -> None:
    assert floor(peaks) is None
    assert expected(peaks) is None


@given(
    arrays(np.float64, st.integers(0, 260), elements=st.one_of(st.just(np.nan), st.floats(0, 1e4, width=32)))
)
def test_the_floor_is_never_below_nothing_nor_above_what_was_seen(peaks: Loads) -> None:
    found = floor(peaks)
    if found is not None:
        assert len(found) == HORIZON_STEPS
        assert (found >= 0).all()
        assert (found <= np.nanmax(peaks)).all()


@pytest.mark.parametrize("seed", range(4))
def test_the_model_is_never_below_the_floor_nor_above_what_was_seen(seed: int) -> None:
    luck = np.random.default_rng(seed)
    values = luck.poisson(luck.uniform(0.05, 30), 3 * DAY_STEPS).astype(float) * luck.integers(0, 2)
    values += np.linspace(0, luck.uniform(0, 50), len(values))
    values[luck.random(len(values)) < 0.1] = np.nan
    found, least = expected(values), floor(values)
    assert found is not None
    assert least is not None
    assert (found >= least).all()
    assert (found <= np.nanmax(values)).all()


def test_ahead_counts_what_comes_within_the_time_a_replica_needs() -> None:
    forecast = Forecast(1000 * STEP_S, (0.0, 0.0, 33.0, 5.0), "Seasonal")
    now_s = 1000 * STEP_S
    assert ahead(forecast, now_s, 60, 16) == (0, "")
    count, why = ahead(forecast, now_s + 2 * STEP_S - 60, 60, 16)
    assert count == 3
    assert "33.0 requests" in why
    assert ahead(forecast, now_s + 3 * STEP_S, 60, 16)[0] == 1


def test_a_forecast_that_is_over_or_absent_adds_nothing() -> None:
    forecast = Forecast(0.0, (9.0,) * HORIZON_STEPS)
    assert ahead(forecast, DAY_S, 300, 1) == (0, "")
    assert ahead(None, 0.0, 300, 1) == (0, "")
    assert ahead(Forecast(0.0, (0.9,)), 0.0, 300, 1) == (0, "")


@given(
    load=st.lists(st.floats(0, 1e5), max_size=HORIZON_STEPS),
    now_s=st.floats(-DAY_S, 2 * DAY_S),
    lead_s=st.floats(0, DAY_S),
    concurrency=st.integers(1, 1000),
)
def test_ahead_never_takes_away(load: list[float], now_s: float, lead_s: float, concurrency: int) -> None:
    count, why = ahead(Forecast(0.0, tuple(load)), now_s, lead_s, concurrency)
    assert count >= 0
    assert bool(count) == bool(why)
