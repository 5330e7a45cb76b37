"""Pools become the mix of typical asks and the profiles that placement looks at."""

from __future__ import annotations

from itertools import permutations

import pytest

from ingle_core.facts import Columns, GpuFacts, GpuNodeFacts
from ingle_core.placement import Ask, AskMemory, rank
from ingle_core.placement.chance import chance_of_use
from ingle_core.placement.mix import AskClass, Mix
from ingle_core.placement.pools import MIX_S_A_NODE, PoolFacts, Pools, VariantFacts, pools_of

SMALL = PoolFacts((VariantFacts(300),), engines=1)
LARGE = PoolFacts((VariantFacts(700),), engines=9)


def mix(pools: Pools, now_s: float = 0.0) -> Mix | None:
    fragmentation = pools.context(now_s).fragmentation
    return None if fragmentation is None else fragmentation.mix


def columns(*idle_mib: int) -> Columns:
    made = Columns(nodes=2, gpus=1)
    for n, mib in enumerate(idle_mib):
        made.update(f"n{n}", GpuNodeFacts((GpuFacts(f"g{n}", "H100", 1000, mib),)))
    return made


def test_a_variant_weighs_the_engines_its_pool_may_have_shared_by_its_variants() -> None:
    pair = PoolFacts((VariantFacts(500, gpus=2, products=("B", "A")), VariantFacts(900)), engines=3)
    found = mix(pools_of([("a/pair", pair), ("a/small", SMALL)]))
    assert found is not None
    shares = dict(zip(found.classes, found.shares, strict=True))
    assert shares == {AskClass(500, 2, ("A", "B")): 0.375, AskClass(900): 0.375, AskClass(300): 0.25}


def test_the_order_in_which_pools_are_learnt_makes_no_difference() -> None:
    pools = [
        ("a/x", SMALL),
        ("a/y", PoolFacts((VariantFacts(500),), 1)),
        ("b/x", PoolFacts((VariantFacts(400),), 1)),
    ]
    assert len({mix(pools_of(order)) for order in permutations(pools)}) == 1


def test_the_mix_of_pools_changes_a_choice_and_without_pools_all_is_as_ever() -> None:
    pools, made, ask = Pools(), columns(700, 1000), Ask(AskMemory(300))
    assert pools.context(0.0).fragmentation is None
    assert rank(ask, made, now_s=0.0, context=pools.context(0.0)).node == "n0"
    pools.learn("a/small", SMALL)
    pools.learn("a/large", LARGE)
    assert rank(ask, made, now_s=0.0, context=pools.context(0.0)).node == "n1"
    pools.learn("a/small", None)
    pools.learn("a/large", PoolFacts((VariantFacts(700),), engines=0))
    assert mix(pools, 1.0) is None


def test_many_changes_make_one_new_mix_and_the_first_after_a_pause_counts_at_once() -> None:
    pools, made = pools_of([("a/small", SMALL)]), columns(700, 1000)
    first = pools.context(10.0)
    rank(Ask(AskMemory(300)), made, now_s=0.0, context=first)
    for n in range(100):
        pools.learn(f"a/{n}", LARGE)
        assert pools.context(10.0 + MIX_S_A_NODE).fragmentation is first.fragmentation
    assert mix(pools, 10.0 + 2.1 * MIX_S_A_NODE) == Mix((AskClass(700),), (1.0,))


def test_a_new_status_is_no_new_mix() -> None:
    pools = pools_of([("a/small", SMALL)])
    before = pools.context(0.0).fragmentation
    pools.learn("a/small", PoolFacts(SMALL.variants, SMALL.engines, (5,) * 24))
    assert pools.context(100.0).fragmentation is before
    assert pools.conflicts.knows("a/small")


def test_as_if_a_pool_were_there_is_as_it_is_later_and_changes_nothing() -> None:
    pools = pools_of([("a/small", SMALL)])
    before = pools.context(0.0).fragmentation
    foretold = pools.context_if("a/large", LARGE, 0.0).fragmentation
    assert pools.context(5.0).fragmentation is before
    pools.learn("a/large", LARGE)
    assert pools.context(10.0).fragmentation is foretold  # with all that it knows already
    assert pools.context_if("a/large", LARGE, 10.0).fragmentation is foretold
    gone = pools.context_if("a/small", PoolFacts(), 10.0).fragmentation
    assert gone is not None
    assert gone.mix == Mix((AskClass(700),), (1.0,))


def test_of_several_variants_the_largest_is_the_profile() -> None:
    variants = (VariantFacts(300, 20), VariantFacts(700, 900))
    profile = PoolFacts(variants, 1, (5,) * 24).profile()
    assert profile is not None
    assert (profile.awake_mib, profile.asleep_mib) == (700, 700)
    assert PoolFacts(variants, 1).profile() is None


@pytest.mark.parametrize(
    ("awake_mib", "gpus", "wrong"), [(0, 1, "awakeMiB"), (1, 0, "gpus"), (1, 200, "gpus")]
)
def test_a_variant_that_cannot_be_is_refused(awake_mib: int, gpus: int, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        VariantFacts(awake_mib, 0, gpus)


@pytest.mark.parametrize(
    ("hour", "idle_s", "expected"),
    [(8.0, 0.0, 0.0), (8.75, 0.0, 0.6), (9.0, 0.0, 0.8), (33.5, 9e9, 0.4), (23.5, 0.0, 0.1)],
)
def test_a_profile_says_how_likely_an_engine_is_wanted_in_the_coming_hour(
    hour: float, idle_s: float, expected: float
) -> None:
    percent = [20] + [0] * 8 + [80] + [0] * 14
    assert chance_of_use(percent, now_s=hour * 3600, idle_s=idle_s) == pytest.approx(expected)


def test_without_a_profile_ten_minutes_halve_the_chance() -> None:
    assert [chance_of_use((), now_s=0.0, idle_s=s) for s in (0.0, 600.0, 1200.0)] == [1.0, 0.5, 0.25]
