"""Models that share GPUs, replayed: small worlds worked out by hand. Sleep 2 s, wake 0.8 s, room for one awake on a GPU."""

from __future__ import annotations

import pytest
from bench.warming.ahead import Case, both, mean_ms

from ingle_core.warmpool.keepalive import GreedyDual
from ingle_simulator.sharedfacts import RECENT_S, Model
from ingle_simulator.sharedgpus import Ask, Site, Waits, replay

A, B = Model("a", "n0", "g0"), Model("b", "n0", "g0")


def played(*asks: Ask, ahead: bool = False, gpu_mib: int = 80_000) -> Waits:
    return replay(GreedyDual(), asks, Site({"g0": gpu_mib}, [A, B], ahead=ahead))


def test_a_sleeper_wakes_and_those_that_come_meanwhile_join_and_later_ones_find_it_awake() -> None:
    out = played(Ask(10, "a", 1), Ask(10.5, "a", 1), Ask(11, "a", 1))
    assert out.waits_s == pytest.approx([0.8, 0.3, 0])
    assert out.wakes == 1


def test_where_both_fit_nobody_gives_way() -> None:
    assert played(Ask(10, "a", 1), Ask(30, "b", 1), gpu_mib=100_000).waits_s == pytest.approx([0.8, 0.8])


def test_an_idle_neighbour_sleeps_first() -> None:
    assert played(Ask(10, "a", 1), Ask(30, "b", 1)).waits_s == pytest.approx([0.8, 2.8])


def test_a_busy_neighbour_is_waited_for_until_it_is_idle() -> None:
    """a is awake at 10.8, busy to 15.8; b asks at 12 and again every 2 s until a is done: at 15.8."""
    out = played(Ask(10, "a", 5), Ask(12, "b", 1))
    assert out.waits_s == pytest.approx([0.8, 3.8 + 2.8])
    out = played(Ask(10, "a", 0.2), Ask(11, "b", 1))  # idle from 10.8 + 2 s
    assert out.waits_s == pytest.approx([0.8, 10.8 + RECENT_S - 11 + 2.8])


def test_one_that_slept_ahead_left_room_to_wake_at_once() -> None:
    """a's dwell is 7.5 s; b was never used, so a sleeps once b's 1 use in the time seen outweighs its own two."""
    asks = Ask(10, "a", 1), Ask(60, "b", 1)
    out, base = played(*asks, ahead=True), played(*asks)
    assert out.waits_s == pytest.approx([0.8, 0.8])
    assert (out.ahead, base.ahead) == (1, 0)
    assert base.waits_s == pytest.approx([0.8, 2.8])


def test_sleeping_ahead_makes_waits_shorter_where_room_is_short() -> None:
    with_, without = both(Case(models=60, length_s=120, every_s=3, idle_s=30, seeds=4))
    assert sum(map(mean_ms, with_)) < sum(map(mean_ms, without))
    assert sum(one.ahead for one in with_) > 0 == sum(one.ahead for one in without)
