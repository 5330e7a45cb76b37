"""Which keep-alive strategy hears what of a pool, and what its plan and its room get to know. No cluster."""

from __future__ import annotations

import math

import pytest

from ingle_operator.keepalives import PACE_S, REPLICAS_MAX, TELL_WORTH, KeepAlives

MEMORY = ("Histogram", "GreedyDual", "ExpectedUse")


def worth(known: KeepAlives, pool: str, now_s: float, kind: str = "GreedyDual", number: int = 0) -> float:
    found = known.worth(kind, pool, number, now_s)
    assert found is not None
    return found


def test_load_that_lasts_is_a_use_a_minute_however_often_it_is_told() -> None:
    known = KeepAlives(0.0)
    for second in range(0, 300, 2):
        known.used("GreedyDual", "d/p", 1, second)
    assert worth(known, "d/p", 300) == 300 / PACE_S


def test_replicas_are_known_apart_up_to_a_bound() -> None:
    known = KeepAlives(0.0)
    known.used("GreedyDual", "d/p", 2, 0)
    known.used("GreedyDual", "d/p", 1, 100)
    assert [worth(known, "d/p", 100, number=n) for n in range(3)] == [2, 1, 0]
    known.used("GreedyDual", "d/q", 256, 0)
    assert len(known.keeps("GreedyDual", "d/q", 256, 3, 40, 1)) == REPLICAS_MAX


@pytest.mark.parametrize("kind", ["Fixed", *MEMORY])
def test_of_a_pool_without_uses_nothing_is_known(kind: str) -> None:
    known = KeepAlives(0.002)
    known.used("ExpectedUse", "d/other", 1, 0)
    assert known.keeps(kind, "d/p", 3, 3, 40, 100) == []


def test_fixed_needs_no_memory() -> None:
    known = KeepAlives(0.0)
    known.used("Fixed", "d/p", 1, 0)
    known.evicted("Fixed", "d/p", 0, 1)
    assert known.keeps("Fixed", "d/p", 1, 3, 40, 1) == []


@pytest.mark.parametrize("kind", ["Fixed", *MEMORY])
def test_only_strategies_that_weigh_pools_tell_a_worth(kind: str) -> None:
    assert (KeepAlives(0.0).worth(kind, "d/p", 0, 0) is not None) == (kind in TELL_WORTH)


def test_a_histogram_without_a_pattern_leaves_it_to_idle_seconds() -> None:
    known = KeepAlives(0.0)
    known.used("Histogram", "d/p", 1, 100)
    (kept,) = known.keeps("Histogram", "d/p", 1, 3, 40, 101)
    assert not kept.keep.at(101)
    assert not kept.prewarm(101)


def test_a_use_by_the_clock_is_let_go_and_made_ready_in_time() -> None:
    known = KeepAlives(0.002)
    for hour in range(40):
        known.used("ExpectedUse", "d/p", 1, hour * 3600)
    used_at_s = 39 * 3600
    (kept,) = known.keeps("ExpectedUse", "d/p", 1, 3, 40, used_at_s + 1200)
    assert not kept.at(used_at_s + 1200)
    assert not kept.prewarm(used_at_s + 3590)
    assert kept.prewarm(used_at_s + 3597)  # so that its wake of 3 s has ended


def test_a_use_replaces_what_was_said_before_it() -> None:
    known = KeepAlives(0.0)
    known.used("GreedyDual", "d/p", 1, 0)
    assert known.keeps("GreedyDual", "d/p", 1, 3, 40, 1)[0].keep.from_s == 0
    known.used("GreedyDual", "d/p", 1, 100)
    (kept,) = known.keeps("GreedyDual", "d/p", 1, 3, 40, 101)
    assert (kept.used_at_s, kept.keep.from_s, kept.keep.until_s) == (100, 100, math.inf)
