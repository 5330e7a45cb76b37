"""What every strategy promises, whatever the requests: bounded, restorable state, an order of eviction, no look ahead."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingle_core.warmpool.keepalive import POOLS_MAX, STRATEGIES, ExpectedUse, Pool, Strategy, first_to_go

NAMES = ("a", "b", "c", "d", "e")
Uses = list[tuple[str, float]]
EACH = pytest.mark.parametrize("name", [*STRATEGIES, "priced"])


def made(name: str) -> Strategy:
    return ExpectedUse(price=0.2) if name == "priced" else STRATEGIES[name]()


def uses() -> st.SearchStrategy[Uses]:
    step = st.tuples(st.sampled_from(NAMES), st.floats(0, 20_000, allow_nan=False))
    return st.lists(step, max_size=40)


def told(strategy: Strategy, steps: Uses) -> float:
    """Tells it all, with an eviction now and then; the time after the last."""
    now_s = 0.0
    for number, (name, after_s) in enumerate(steps):
        now_s += after_s
        strategy.used(Pool(name), now_s)
        if number % 5 == 4:
            strategy.evicted(first_to_go(strategy, map(Pool, NAMES), now_s)[0], now_s)
    return now_s


@EACH
@settings(max_examples=40, deadline=None)
@given(steps=uses(), later_s=st.floats(0, 1e6))
def test_one_restored_from_json_answers_alike(name: str, steps: Uses, later_s: float) -> None:
    first, second = made(name), made(name)
    now_s = told(first, steps)
    second.load(json.loads(json.dumps(first.state())))
    more = [("a", 1.0), ("b", 70.0)]
    for strategy in (first, second):
        for pool, after_s in more:
            strategy.used(Pool(pool), now_s + after_s)
    for pool in map(Pool, NAMES):
        at_s = now_s + 70.0 + later_s
        assert first.keep(pool, at_s) == second.keep(pool, at_s)
        assert first.worth(pool, at_s) == pytest.approx(second.worth(pool, at_s))


@EACH
@settings(max_examples=40, deadline=None)
@given(steps=uses(), later_s=st.floats(0, 1e6))
def test_answers_are_in_range_and_asking_changes_nothing(name: str, steps: Uses, later_s: float) -> None:
    strategy = made(name)
    at_s = told(strategy, steps) + later_s
    before = strategy.state()
    for pool in map(Pool, NAMES):
        keep, worth = strategy.keep(pool, at_s), strategy.worth(pool, at_s)
        assert keep.from_s < keep.until_s or keep.from_s == keep.until_s == math.inf
        assert math.isfinite(worth)
        assert worth >= 0.0
        assert keep == strategy.keep(pool, at_s)
    assert strategy.state() == before


@EACH
@settings(max_examples=40, deadline=None)
@given(steps=uses(), order=st.permutations(NAMES))
def test_who_goes_first_does_not_depend_on_the_order_of_asking(
    name: str, steps: Uses, order: list[str]
) -> None:
    strategy = made(name)
    now_s = told(strategy, steps)
    found = first_to_go(strategy, map(Pool, order), now_s)
    assert found == first_to_go(strategy, map(Pool, NAMES), now_s)
    worths = [strategy.worth(pool, now_s) for pool in found]
    assert worths == sorted(worths)


@pytest.mark.parametrize("name", ["GreedyDual", "ExpectedUse"])
@settings(max_examples=40, deadline=None)
@given(steps=uses(), cost=st.floats(1.0, 300.0), size=st.floats(1.0, 80.0))
def test_dear_to_start_stays_longer_and_large_goes_sooner(
    name: str, steps: Uses, cost: float, size: float
) -> None:
    strategy = made(name)
    now_s = told(strategy, steps)
    plain, dear, large = Pool("a"), Pool("a", cost=cost), Pool("a", size=size)
    assert strategy.worth(dear, now_s) >= strategy.worth(plain, now_s) >= strategy.worth(large, now_s)


@EACH
def test_state_is_bounded_by_the_number_of_pools_however_long_it_runs(name: str) -> None:
    """The longest unused is forgotten; what is known of one pool does not grow with its uses."""
    strategy = made(name)
    for number in range(1000):
        strategy.used(Pool("busy"), number * (number % 331) * 60.0)
    one = len(json.dumps(strategy.state()))
    assert one < 16_000
    for number in range(POOLS_MAX + 10):
        strategy.used(Pool(f"p{number}"), 1e9 + number)
    assert strategy.keep(Pool("busy"), 2e9).from_s == math.inf
    assert strategy.keep(Pool("p9"), 2e9).reason == "never used"
    assert strategy.keep(Pool(f"p{POOLS_MAX + 9}"), 1e9 + POOLS_MAX + 9).reason != "never used"
