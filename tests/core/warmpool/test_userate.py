"""How often a pool is used: bursts are one use, what is long ago counts less, and long silence says that the rate has changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle_core.warmpool.userate import GAP_S, HALF_LIFE_S, UseRate


def used(*at_s: float, busy_s: float = 1.0, since_s: float = 0.0) -> UseRate:
    rate = UseRate(since_s)
    for start_s in at_s:
        rate.note(1, start_s)
        rate.note(0, start_s + busy_s)
    return rate


def test_one_use_more_than_were_seen_is_expected_in_the_time_seen() -> None:
    assert used(10, 40, 70).per_s(100, idle_s=1) == pytest.approx(4 / 100, rel=0.05)
    assert used().per_s(100, idle_s=1) == pytest.approx(1 / 100, rel=0.05)


def test_load_that_comes_back_at_once_is_the_same_use() -> None:
    burst = used(10, 11 + GAP_S / 2, 12 + GAP_S, busy_s=1)
    assert burst.per_s(100, idle_s=1) == used(10).per_s(100, idle_s=1)


def test_load_that_lasts_is_one_use_however_often_it_is_told() -> None:
    rate = UseRate(0)
    for at_s in (10, 30, 50):
        rate.note(at_s, at_s)
    assert rate.per_s(100, idle_s=0) == used(10).per_s(100, idle_s=0)


def test_what_is_long_ago_counts_less() -> None:
    now_s = 10 * HALF_LIFE_S
    assert used(now_s - 60).per_s(now_s, 0) > 1.4 * used(60).per_s(now_s, 0)


def test_after_three_mean_times_of_silence_the_rate_is_taken_as_lower() -> None:
    often = used(*range(10, 300, 10))
    assert often.per_s(310, idle_s=10) > 3 / 40
    assert often.per_s(400, idle_s=100) == 3 / 100


@given(st.lists(st.floats(0, 1e6), max_size=20), st.floats(0, 1e6), st.floats(0, 1e6))
def test_it_is_above_zero_and_finite_whatever_the_clock_does(
    at_s: list[float], now_s: float, idle_s: float
) -> None:
    assert 0 < used(*at_s, since_s=100.0).per_s(now_s, idle_s) <= len(at_s) + 1
