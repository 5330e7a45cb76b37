"""One pool's plan: pure, no clock. How engines get there is in test_lifecycle.py."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ingle_core.warmpool.facts import Demand, Engine, Failures, PoolWish, State
from ingle_core.warmpool.plan import plan, retry_delay_s, wanted_awake

WISH = PoolWish(min_awake=0, max_awake=3, asleep=1, idle_s=10, concurrency=4, revision="r1", variant="bf16")
NO_FAILURES = Failures()


def engine(uid: str, state: State, since_s: float = 0.0, **fields: object) -> Engine:
    return replace(Engine(uid, state, since_s, revision="r1"), **fields)  # type: ignore[arg-type]


def test_a_new_pool_starts_the_sleeper_it_keeps() -> None:
    assert plan(WISH, [], Demand(), NO_FAILURES, 0).start == 1


def test_a_new_pool_that_keeps_nothing_starts_nothing() -> None:
    assert plan(replace(WISH, asleep=0), [], Demand(), NO_FAILURES, 0).start == 0


def test_a_waiting_request_wakes_the_sleeper_and_starts_nothing() -> None:
    result = plan(WISH, [engine("a", State.ASLEEP)], Demand(waiting=1), NO_FAILURES, 100)
    assert result.start == 0
    assert result.goals["a"] == (State.AWAKE, "requests wait")


def test_many_waiting_requests_wake_one_engine_for_each_concurrency() -> None:
    sleepers = [engine(uid, State.ASLEEP) for uid in "abc"]
    result = plan(WISH, sleepers, Demand(waiting=9), NO_FAILURES, 5)
    assert [goal for goal, _ in result.goals.values()] == [State.AWAKE] * 3


def test_an_engine_that_is_waking_is_not_woken_twice() -> None:
    result = plan(
        WISH, [engine("a", State.WAKING), engine("b", State.ASLEEP)], Demand(waiting=2), NO_FAILURES, 5
    )
    assert "b" not in result.goals


def test_the_sleeper_used_last_is_woken_first() -> None:
    old, recent = engine("a", State.ASLEEP, busy_at_s=1), engine("b", State.ASLEEP, busy_at_s=2)
    assert list(plan(WISH, [old, recent], Demand(waiting=1), NO_FAILURES, 5).goals) == ["b"]


def test_an_idle_engine_sleeps_after_idle_seconds_and_not_before() -> None:
    engines = [engine("a", State.AWAKE, since_s=0)]
    assert plan(WISH, engines, Demand(), NO_FAILURES, 9.9).goals == {}
    assert plan(WISH, engines, Demand(), NO_FAILURES, 10).goals["a"][0] is State.ASLEEP


def test_recent_load_keeps_engines_awake() -> None:
    engines = [engine("a", State.AWAKE), engine("b", State.AWAKE)]
    assert plan(WISH, engines, Demand(peak=5), NO_FAILURES, 100).goals == {}
    assert len(plan(WISH, engines, Demand(peak=4), NO_FAILURES, 100).goals) == 1


def test_the_least_busy_engine_sleeps_first() -> None:
    engines = [engine("a", State.AWAKE, in_flight=1), engine("b", State.AWAKE)]
    assert list(plan(WISH, engines, Demand(in_flight=1), NO_FAILURES, 100).goals) == ["b"]


def test_an_idle_engine_of_a_pool_without_sleepers_ends() -> None:
    wish = replace(WISH, asleep=0)
    assert plan(wish, [engine("a", State.AWAKE)], Demand(), NO_FAILURES, 100).goals["a"][0] is State.ENDED


def test_min_replicas_never_sleep() -> None:
    assert (
        plan(replace(WISH, min_awake=1), [engine("a", State.AWAKE)], Demand(), NO_FAILURES, 1e6).goals == {}
    )


def test_a_fixed_count_replaces_demand() -> None:
    assert wanted_awake(replace(WISH, fixed=2), 0) == 2
    assert wanted_awake(replace(WISH, fixed=1), 100) == 1


def test_sleepers_beyond_the_kept_number_end_after_idle_seconds() -> None:
    engines = [engine("a", State.ASLEEP, busy_at_s=1), engine("b", State.ASLEEP, busy_at_s=2)]
    assert list(plan(WISH, engines, Demand(), NO_FAILURES, 100).goals) == ["a"]


def test_a_failed_pool_waits_before_it_starts_again() -> None:
    failed = Failures(3, at_s=100)
    assert plan(WISH, [], Demand(waiting=1), failed, 101).start == 0
    assert plan(WISH, [], Demand(waiting=1), failed, 100 + retry_delay_s(3)).start == 1


def test_a_sleeper_of_an_old_revision_ends_and_is_replaced() -> None:
    result = plan(WISH, [engine("a", State.ASLEEP, revision="r0")], Demand(), NO_FAILURES, 0)
    assert result.goals["a"][0] is State.ENDED
    assert result.start == 1


def test_a_busy_engine_of_an_old_revision_serves_until_a_new_one_is_awake() -> None:
    old, new = engine("a", State.AWAKE, revision="r0", in_flight=1), engine("b", State.AWAKE)
    surge = plan(WISH, [old], Demand(in_flight=1), NO_FAILURES, 1)
    assert "a" not in surge.goals
    assert surge.start == 1
    assert plan(WISH, [old, new], Demand(in_flight=1), NO_FAILURES, 1).goals["a"][0] is State.ENDED


STATES = st.sampled_from(list(State))
ENGINES = st.lists(st.tuples(STATES, st.integers(0, 5), st.floats(0, 100)), max_size=6)


@given(
    ENGINES, st.integers(0, 40), st.integers(0, 40), st.integers(0, 3), st.integers(0, 3), st.integers(0, 2)
)
def test_floors_are_kept_and_nothing_is_both_started_and_stopped(
    rows: list[tuple[State, int, float]], waiting: int, in_flight: int, low: int, extra: int, asleep: int
) -> None:
    wish = replace(WISH, min_awake=low, max_awake=low + extra, asleep=asleep)
    engines = [
        engine(f"e{n}", state, since_s=since, in_flight=load) for n, (state, load, since) in enumerate(rows)
    ]
    result = plan(wish, engines, Demand(waiting, in_flight, waiting + in_flight), NO_FAILURES, 1000)
    ended = [uid for uid, (goal, _) in result.goals.items() if goal is State.ENDED]
    awake_after = [
        e
        for e in engines
        if e.state in (State.PENDING, State.STARTING, State.AWAKE, State.WAKING)
        and result.goals.get(e.uid, (State.AWAKE,))[0] is State.AWAKE
    ]
    woken = [uid for uid, (goal, _) in result.goals.items() if goal is State.AWAKE]
    assert len(awake_after) + len(woken) + result.start >= low
    assert not (result.start and ended)
    assert result.wanted_awake <= wish.max_awake


def test_an_engine_that_does_not_answer_is_replaced_by_a_sleeper_or_a_new_one() -> None:
    hung = engine("a", State.AWAKE, answers=False)
    assert plan(WISH, [hung], Demand(waiting=1), NO_FAILURES, 1).start == 1
    woken = plan(WISH, [hung, engine("b", State.ASLEEP)], Demand(waiting=1), NO_FAILURES, 1)
    assert woken.goals["b"][0] is State.AWAKE


def test_where_the_sleeper_cannot_be_woken_another_is_started() -> None:
    held = engine("a", State.ASLEEP, wakeable=False)
    result = plan(WISH, [held], Demand(waiting=1), NO_FAILURES, 5)
    assert (result.goals, result.start) == ({}, 1)


def test_a_sleeper_is_woken_although_a_pod_waits_for_a_node() -> None:
    engines = [engine("a", State.ASLEEP), engine("b", State.PENDING)]
    result = plan(WISH, engines, Demand(waiting=1), NO_FAILURES, 5)
    assert (list(result.goals), result.start) == (["a"], 0)


def test_a_sleeper_on_a_node_that_drains_goes_only_once_another_has_started() -> None:
    old = engine("a", State.ASLEEP, wakeable=False, leaving=True)
    first = plan(WISH, [old], Demand(), NO_FAILURES, 5)
    assert (first.goals, first.start) == ({}, 1)
    for state in (State.PENDING, State.STARTING):
        waiting = plan(WISH, [old, engine("b", state)], Demand(), NO_FAILURES, 5)
        assert (waiting.goals, waiting.start) == ({}, 0)
    done = plan(WISH, [old, engine("b", State.AWAKE, since_s=5)], Demand(), NO_FAILURES, 5)
    assert (done.goals, done.start) == (
        {"a": (State.ENDED, "its node drains, or its GPU is not ours any more")},
        0,
    )


def test_sleepers_leave_a_node_that_drains_one_at_a_time() -> None:
    wish = replace(WISH, asleep=3)
    old = [engine(uid, State.ASLEEP, wakeable=False, leaving=True) for uid in "abc"]
    assert plan(wish, old, Demand(), NO_FAILURES, 5).start == 1
    result = plan(wish, [*old, engine("d", State.ASLEEP)], Demand(), NO_FAILURES, 5)
    assert (list(result.goals), result.start) == (["a"], 1)


def test_an_awake_engine_on_a_node_that_drains_is_left_alone() -> None:
    awake = engine("a", State.AWAKE, wakeable=False, leaving=True)
    result = plan(WISH, [awake], Demand(in_flight=1, peak=1), NO_FAILURES, 100)
    assert (result.goals, result.start) == ({}, 0)
