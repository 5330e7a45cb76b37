"""Requests that wait hold what would serve them: no scale-down takes the engine that they wait for."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ingle_core.warmpool.facts import SERVING_SOON, Demand, Engine, Failures, PoolWish, State
from ingle_core.warmpool.plan import plan, wanted_awake

WISH = PoolWish(min_awake=0, max_awake=3, asleep=1, idle_s=10, concurrency=4, revision="r1", variant="bf16")
LONG_AFTER_S = 100_000.0
STATES = st.sampled_from((*sorted(SERVING_SOON), State.SLEEPING, State.ASLEEP))


@given(
    states=st.lists(STATES, min_size=1, max_size=5),
    waiting=st.integers(1, 20),
    in_flight=st.integers(0, 4),
    fixed=st.none() | st.integers(0, 3),
    idle_s=st.sampled_from((0, 10)),
)
def test_with_waiting_requests_no_engine_that_they_need_sleeps_or_ends(
    states: list[State], waiting: int, in_flight: int, fixed: int | None, idle_s: int
) -> None:
    """However long it was idle: as many as are wanted stay, or are woken or started."""
    wish = replace(WISH, fixed=fixed, idle_s=idle_s)
    engines = [Engine(f"e{n}", state, 0.0, revision="r1") for n, state in enumerate(states)]
    demand = Demand(waiting=waiting, in_flight=in_flight, peak=waiting + in_flight)
    goals = plan(wish, engines, demand, Failures(), LONG_AFTER_S).goals
    serving = [e for e in engines if e.state in SERVING_SOON]
    kept = [e for e in serving if goals.get(e.uid, (State.AWAKE,))[0] is State.AWAKE]
    wanted = wanted_awake(wish, waiting + in_flight)
    assert len(kept) >= min(len(serving), wanted)
    if wanted and not kept:
        result = plan(wish, engines, demand, Failures(), LONG_AFTER_S)
        assert result.start or any(goal is State.AWAKE for goal, _ in result.goals.values())


def test_the_one_engine_that_just_woke_for_waiting_requests_stays() -> None:
    awake = Engine("e", State.AWAKE, 0.0, revision="r1")
    for idle_s in (0, 10):
        goals = plan(replace(WISH, idle_s=idle_s), [awake], Demand(waiting=1), Failures(), LONG_AFTER_S).goals
        assert goals == {}
    goals = plan(WISH, [awake], Demand(), Failures(), LONG_AFTER_S).goals
    assert goals["e"][0] is State.ASLEEP
