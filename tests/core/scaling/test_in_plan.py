"""What the plan makes of a desired count: up at once, down slowly, and ahead only adds."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ingle_core.warmpool.facts import Demand, Engine, Failures, PoolWish, State
from ingle_core.warmpool.plan import plan

WISH = PoolWish(min_awake=0, max_awake=8, asleep=4, idle_s=10, concurrency=4, revision="r1", variant="v")
AWAKE = [Engine(f"a{n}", State.AWAKE, 0.0, "r1", "v") for n in range(3)]
ASLEEP = [Engine(f"s{n}", State.ASLEEP, 0.0, "r1", "v") for n in range(4)]
LATER_S = 100_000.0


def goals(wish: PoolWish, demand: Demand, state: State) -> set[str]:
    made = plan(wish, AWAKE + ASLEEP, demand, Failures(), LATER_S)
    return {uid for uid, (goal, _) in made.goals.items() if goal is state}


def test_a_desired_count_wakes_at_once_whatever_requests_alone_would_need() -> None:
    made = plan(
        replace(WISH, desired=5, desired_lately=5), AWAKE + ASLEEP, Demand(0, 1, 1), Failures(), LATER_S
    )
    assert made.wanted_awake == 5
    assert len([goal for goal, _ in made.goals.values() if goal is State.AWAKE]) == 2


def test_nothing_sleeps_that_was_desired_lately() -> None:
    quiet = Demand(0, 1, 1)
    assert goals(replace(WISH, desired=1, desired_lately=3), quiet, State.ASLEEP) == set()
    assert len(goals(replace(WISH, desired=1, desired_lately=1), quiet, State.ASLEEP)) == 2


def test_nothing_sleeps_that_requests_lately_needed_though_no_count_is_desired() -> None:
    assert goals(WISH, Demand(0, 1, 12), State.ASLEEP) == set()
    assert len(goals(WISH, Demand(0, 1, 1), State.ASLEEP)) == 2


@given(
    load=st.integers(0, 40),
    desired=st.none() | st.integers(0, 9),
    more=st.integers(0, 9),
    fixed=st.none() | st.integers(0, 8),
)
def test_ahead_never_makes_it_fewer_and_does_nothing_to_a_fixed_count(
    load: int, desired: int | None, more: int, fixed: int | None
) -> None:
    wish = replace(WISH, desired=desired, desired_lately=desired, fixed=fixed)
    demand = Demand(0, load, load)
    without = plan(wish, AWAKE + ASLEEP, demand, Failures(), LATER_S)
    ahead = replace(wish, ahead=more, ahead_reason="forecast")
    with_it = plan(ahead, AWAKE + ASLEEP, demand, Failures(), LATER_S)
    assert with_it.wanted_awake >= without.wanted_awake
    assert with_it.wanted_awake <= wish.max_awake
    if fixed is not None:
        states = [{uid: goal for uid, (goal, _) in made.goals.items()} for made in (with_it, without)]
        assert states[0] == states[1]
