"""Each strategy against values worked out by hand. What holds for all of them is in test_promises.py."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ingle_core.warmpool.keepalive import (
    ExpectedUse,
    Fixed,
    GreedyDual,
    Histogram,
    Keep,
    Pool,
    first_to_go,
    next_price,
)
from ingle_core.warmpool.keepalive.chances import chance_within, chances, chances_of_all
from ingle_core.warmpool.keepalive.idletimes import BINS, MINUTES, IdleTimes, bin_of

MIN_S = 60.0
A, B, C = Pool("a"), Pool("b"), Pool("c")


def times(*idle_min: float) -> IdleTimes:
    found = IdleTimes()
    for minutes in idle_min:
        found.note(minutes * MIN_S)
    return found


def test_fixed_keeps_for_its_time_after_the_last_use_and_gives_up_the_longest_unused() -> None:
    strategy = Fixed(600.0)
    strategy.used(A, 0.0)
    strategy.used(B, 100.0)
    strategy.used(A, 200.0)
    keep = strategy.keep(A, 300.0)
    assert (keep.from_s, keep.until_s) == (200.0, 800.0)
    assert (keep.at(799.9), keep.at(800.0)) == (True, False)
    assert first_to_go(strategy, [A, B, C], 300.0) == [C, B, A]


def test_greedy_dual_follows_its_published_formula() -> None:
    """Uses 3 × 1 / 1 against 1 × 10 / 2; the clock takes the priority of who went, and the next use adds to it."""
    strategy, large = GreedyDual(), Pool("large", cost=10.0, size=2.0)
    for _ in range(3):
        strategy.used(A, 0.0)
    strategy.used(large, 0.0)
    assert [strategy.worth(pool, 1.0) for pool in (A, large, B)] == [3.0, 5.0, 0.0]
    strategy.evicted(A, 1.0)
    strategy.used(B, 2.0)
    assert strategy.worth(B, 2.0) == 3.0 + 1.0
    strategy.used(A, 3.0)
    assert strategy.worth(A, 3.0) == 3.0 + 4.0
    assert strategy.keep(A, 9.0).until_s == math.inf


def test_greedy_dual_that_forgets_counts_an_evicted_pool_from_nothing() -> None:
    strategy = GreedyDual(forgets=True)
    for _ in range(3):
        strategy.used(A, 0.0)
    strategy.evicted(A, 1.0)
    strategy.used(A, 2.0)
    assert strategy.worth(A, 2.0) == 3.0 + 1.0


def test_histogram_prewarms_before_the_fifth_percentile_and_keeps_past_the_ninety_ninth() -> None:
    """All idle times 30 min: floor(30 × 0.9) − 1 and ceil(31 × 1.1)."""
    strategy = Histogram()
    for number in range(11):
        strategy.used(A, number * 30 * MIN_S)
    last_s = 300 * MIN_S
    assert strategy.keep(A, last_s + 1) == Keep(
        last_s + 26 * MIN_S, last_s + 35 * MIN_S, "comes back after 26 to 35 min"
    )


@pytest.mark.parametrize(
    ("idle_min", "why"),
    [
        ([30] * 4, "four idle times are too few"),
        ([30] * 4 + [300] * 5, "more than half are longer than four hours"),
        (list(range(1, 240)), "flat: the bins' counts hardly vary"),
    ],
)
def test_histogram_falls_back_where_it_does_not_represent_the_pool(idle_min: list[int], why: str) -> None:
    strategy, at_s = Histogram(fallback_s=600.0), 0.0
    strategy.used(A, at_s)
    for minutes in idle_min:
        at_s += minutes * MIN_S
        strategy.used(A, at_s)
    keep = strategy.keep(A, at_s)
    assert (keep.from_s, keep.until_s) == (at_s, at_s + 600.0), why


def test_chances_are_those_of_all_pools_until_the_own_idle_times_say_more() -> None:
    """One idle time of 5 min. Of all: 1.02 / 2. Group of 4 and 5 min: (1 + 1) / (0.51 + 0.01 + 1). Then 10 : 1."""
    one = times(5)
    of_all = chances_of_all(one)
    assert of_all[[4, 5, 6]] == pytest.approx([0.02 / 2, 1.02 / 2, 0.02 / 1])
    assert chances(times(), of_all)[5] == pytest.approx(0.51)
    own = 0.51 * 2 / 1.52
    assert chances(one, of_all)[5] == pytest.approx((1 + 10 * own) / 11)


def test_the_chance_within_a_horizon_joins_parts_of_bins() -> None:
    by_bin = np.full(BINS, 0.2)
    assert chance_within(by_bin, 0.0, 120.0) == pytest.approx(1 - 0.8**2)
    assert chance_within(by_bin, 30.0, 60.0) == pytest.approx(1 - 0.8)
    assert chance_within(by_bin, 1e9, 900.0) == pytest.approx(0.0)


def test_bins_are_minutes_for_four_hours_and_then_widen() -> None:
    assert [bin_of(s) for s in (-1.0, 0.0, 59.9, 60.0, 14_399.0)] == [0, 0, 0, 1, MINUTES - 1]
    assert [bin_of(14_400.0), bin_of(14_400 * 1.36), bin_of(1e9)] == [MINUTES, MINUTES + 1, BINS - 1]


def test_expected_use_lets_a_pool_with_a_period_go_and_makes_it_ready_in_time() -> None:
    strategy = ExpectedUse(price=0.3)
    for number in range(30):
        strategy.used(A, number * 30 * MIN_S)
    last_s = 29 * 30 * MIN_S
    keep = strategy.keep(A, last_s + MIN_S)
    assert not keep.at(last_s + 10 * MIN_S)
    assert keep.at(last_s + 30 * MIN_S)
    assert 25 * MIN_S <= keep.from_s - last_s <= 30 * MIN_S < keep.until_s - last_s <= 35 * MIN_S
    assert strategy.keep(A, last_s + 36 * MIN_S) == Keep(
        math.inf, math.inf, "no use is likely enough to be worth its room"
    )


def test_a_dearer_price_a_larger_size_and_a_cheaper_start_all_keep_for_fewer_minutes() -> None:
    def minutes(price: float, cost: float, size: float) -> int:
        strategy, pool, at_s = ExpectedUse(price), Pool("a", cost, size), 0.0
        for idle_min in (1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 5, 8, 13, 40) * 8:
            at_s += idle_min * MIN_S
            strategy.used(pool, at_s)
        later = [at_s + minute * MIN_S for minute in range(240)]
        return sum(strategy.keep(pool, now_s).at(now_s) for now_s in later)

    assert minutes(0.01, 1.0, 1.0) > minutes(0.3, 1.0, 1.0) > minutes(0.6, 1.0, 1.0)
    assert minutes(0.6, 2.0, 1.0) == minutes(0.3, 1.0, 1.0)
    assert minutes(0.3, 1.0, 2.0) == minutes(0.6, 1.0, 1.0)


def test_a_hole_shorter_than_asked_does_not_let_a_pool_go() -> None:
    def kept(hole_s: float) -> bool:
        strategy = ExpectedUse(0.3, hole_s)
        for number in range(40):
            strategy.used(A, number * 6 * MIN_S)
        last_s = 39 * 6 * MIN_S
        return strategy.keep(A, last_s + 180.0).at(last_s + 180.0)

    assert (kept(60.0), kept(600.0)) == (False, True)


def test_worth_is_rate_by_the_root_of_the_chance_by_cost_over_size() -> None:
    strategy = ExpectedUse()
    strategy.used(A, 0.0)
    strategy.used(A, 5 * MIN_S)
    of_all = chances_of_all(times(5))
    chance = chance_within(chances(times(5), of_all), 2 * MIN_S, 900.0)
    rate = sum((math.exp(-2 / span) + math.exp(-1 / span)) / span for span in (8, 64, 512, 4096, 32768))
    assert strategy.worth(Pool("a", cost=30.0, size=4.0), 7 * MIN_S) == pytest.approx(
        rate * math.sqrt(chance) * 30 / 4
    )
    assert strategy.worth(B, 7 * MIN_S) == 0.0


def test_once_popular_gives_way_to_popular_now_though_it_was_used_more() -> None:
    strategy = ExpectedUse()
    for number in range(40):
        strategy.used(A, float(number))
    for number in range(30):
        strategy.used(B, 3600.0 + number)
    assert first_to_go(strategy, [A, B], 3700.0) == [A, B]


@pytest.mark.parametrize(
    ("used", "step"), [(100.0, 1.0), (200.0, math.exp(0.02)), (0.0, math.exp(-0.02)), (1e6, math.exp(0.1))]
)
def test_the_price_rises_over_budget_and_falls_under_it_a_little_at_a_time(used: float, step: float) -> None:
    assert next_price(0.5, used, 100.0) == pytest.approx(0.5 * step)
