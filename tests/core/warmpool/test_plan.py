"""One pool's plan: pure, no clock. How engines get there: test_lifecycle.py; from one revision to the next: test_rollout.py."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ingle_core.warmpool.facts import Demand, Engine, Failures, PoolWish, State
from ingle_core.warmpool.keepalive import Keep
from ingle_core.warmpool.kept import Kept
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


def test_a_callers_count_replaces_the_one_by_load_but_load_wants_one() -> None:
    assert wanted_awake(replace(WISH, desired=3), 0) == 3
    assert wanted_awake(replace(WISH, desired=0), 100) == 1


def test_what_is_wanted_ahead_of_load_only_adds_and_yields_to_a_fixed_count() -> None:
    assert wanted_awake(replace(WISH, ahead=2), 0) == 2
    assert wanted_awake(replace(WISH, ahead=2), 12) == 3
    assert wanted_awake(replace(WISH, ahead=9), 0) == WISH.max_awake
    assert wanted_awake(replace(WISH, ahead=2, fixed=1), 0) == 1


def test_a_sleeper_is_woken_ahead_of_load_and_the_reason_says_so() -> None:
    wish = replace(WISH, ahead=1, ahead_reason="prewarm")
    result = plan(wish, [engine("a", State.ASLEEP)], Demand(), NO_FAILURES, 5)
    assert result.goals == {"a": (State.AWAKE, "prewarm")}


def kept(used_at_s: float, from_s: float, until_s: float) -> Kept:
    return Kept(used_at_s, Keep(from_s, until_s, "as learnt"))


def test_keep_alive_holds_an_engine_longer_than_idle_seconds_and_never_shorter() -> None:
    awake = [engine("a", State.AWAKE)]
    held = kept(0, 0, 500)
    assert plan(WISH, awake, Demand(), NO_FAILURES, 499, [held]).goals == {}
    assert plan(WISH, awake, Demand(), NO_FAILURES, 500, [held]).goals["a"][0] is State.ASLEEP
    let_go = kept(0, 300, 400)
    assert plan(WISH, awake, Demand(), NO_FAILURES, 9, [let_go]).goals == {}
    assert plan(WISH, awake, Demand(), NO_FAILURES, 10, [let_go]).goals["a"][0] is State.ASLEEP


def test_one_that_makes_room_sleeps_though_keep_alive_holds_it_but_not_while_load_or_the_floor_needs_it() -> (
    None
):
    maker = engine("a", State.AWAKE, makes_room="a sleeper is to have room")
    keeps = [kept(0, 0, math.inf)]

    def goals(wish: PoolWish = WISH, **demand: int) -> object:
        return plan(wish, [maker], Demand(**demand), NO_FAILURES, 100, keeps).goals

    assert goals() == {"a": (State.ASLEEP, "a sleeper is to have room")}
    assert plan(WISH, [replace(maker, makes_room="")], Demand(), NO_FAILURES, 100, keeps).goals == {}
    assert goals(waiting=1) == goals(in_flight=1) == {}
    assert goals(peak=1) == goals()  # the load of before does not hold it
    assert goals(wish=replace(WISH, min_awake=1)) == {}
    assert goals(wish=replace(WISH, asleep=0)) == {}  # it would end
    assert goals(wish=replace(WISH, dwell_s=101)) == {}


def test_keep_alive_holds_as_many_engines_as_it_knows_replicas_for() -> None:
    engines = [engine(uid, State.AWAKE) for uid in "abc"]
    keeps = [kept(0, 0, math.inf), kept(0, 0, math.inf), kept(0, 0, 50)]
    assert len(plan(WISH, engines, Demand(), NO_FAILURES, 100, keeps).goals) == 1


def test_keep_alive_wakes_what_it_let_go_but_not_what_gave_way() -> None:
    asleep = [engine("a", State.ASLEEP)]
    prewarmed = plan(WISH, asleep, Demand(), NO_FAILURES, 300, [kept(0, 300, 400)])
    assert prewarmed.goals["a"] == (State.AWAKE, "prewarm: as learnt")
    assert plan(WISH, asleep, Demand(), NO_FAILURES, 300, [kept(0, 0, math.inf)]).goals == {}


def test_a_prewarm_begins_so_early_that_it_is_ready_in_time() -> None:
    asleep, slow = [engine("a", State.ASLEEP)], replace(kept(0, 300, 400), lead_s=60)
    assert plan(WISH, asleep, Demand(), NO_FAILURES, 239, [slow]).goals == {}
    assert plan(WISH, asleep, Demand(), NO_FAILURES, 240, [slow]).goals["a"][0] is State.AWAKE
    awake = [engine("a", State.AWAKE, since_s=240)]
    assert plan(WISH, awake, Demand(), NO_FAILURES, 260, [slow]).goals == {}


def test_the_plan_says_when_keep_alive_wants_something_anew() -> None:
    result = plan(WISH, [engine("a", State.ASLEEP)], Demand(), NO_FAILURES, 100, [kept(0, 300, 400)])
    assert result.again_in_s == 200
    assert plan(WISH, [], Demand(), NO_FAILURES, 100).again_in_s == math.inf


def test_a_fixed_count_is_exact_whatever_keep_alive_says() -> None:
    engines = [engine("a", State.AWAKE), engine("b", State.AWAKE)]
    keeps = [kept(0, 0, math.inf)] * 2
    assert len(plan(replace(WISH, fixed=1), engines, Demand(), NO_FAILURES, 100, keeps).goals) == 1


def test_a_sleeper_above_the_floor_stays_while_keep_alive_holds_it() -> None:
    engines = [engine("a", State.ASLEEP), engine("b", State.ASLEEP)]
    assert plan(WISH, engines, Demand(), NO_FAILURES, 100, [kept(0, 0, math.inf)] * 2).goals == {}


def test_a_sleeper_that_crowds_its_node_stops_at_once_but_not_below_the_floor() -> None:
    crowding = engine("a", State.ASLEEP, since_s=100, busy_at_s=100, surplus="crowded")
    other = engine("b", State.ASLEEP, since_s=100, busy_at_s=50)
    assert plan(WISH, [crowding, other], Demand(), NO_FAILURES, 100).goals == {"a": (State.ENDED, "crowded")}
    assert plan(WISH, [crowding], Demand(), NO_FAILURES, 100).goals == {}


def test_failures_of_an_earlier_revision_make_no_new_engine_wait() -> None:
    assert plan(WISH, [], Demand(waiting=1), Failures(9, 100, "r0"), 101).start == 1
    assert plan(WISH, [], Demand(waiting=1), Failures(9, 100, "r1"), 101).start == 0


def test_sleepers_beyond_the_kept_number_end_after_idle_seconds() -> None:
    engines = [engine("a", State.ASLEEP, busy_at_s=1), engine("b", State.ASLEEP, busy_at_s=2)]
    assert list(plan(WISH, engines, Demand(), NO_FAILURES, 100).goals) == ["a"]


def test_a_failed_pool_waits_before_it_starts_again() -> None:
    failed = Failures(3, at_s=100)
    assert plan(WISH, [], Demand(waiting=1), failed, 101).start == 0
    assert plan(WISH, [], Demand(waiting=1), failed, 100 + retry_delay_s(3)).start == 1


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


def test_spares_that_start_beyond_those_wanted_awake_get_no_model_yet() -> None:
    spares = replace(WISH, asleep=2, spare=True)
    starting = [engine("a", State.STARTING, 1), engine("b", State.STARTING, 2)]
    assert plan(spares, starting, Demand(), NO_FAILURES, 5).goals.keys() == {"a", "b"}
    assert plan(spares, starting, Demand(waiting=1), NO_FAILURES, 5).goals.keys() == {"b"}
    woken = plan(spares, [*starting, engine("c", State.AWAKE)], Demand(in_flight=1), NO_FAILURES, 5)
    assert {uid: goal for uid, (goal, _) in woken.goals.items()} == {"a": State.ASLEEP, "b": State.ASLEEP}
    assert plan(replace(spares, spare=False), starting, Demand(), NO_FAILURES, 5).goals == {}


def test_a_spare_of_a_changed_pool_is_loaded_before_old_engines_make_way_for_it() -> None:
    spares = replace(WISH, asleep=2, spare=True)
    engines = [engine("new", State.STARTING, 1), engine("old", State.ASLEEP, revision="r0")]
    assert "new" not in plan(spares, engines, Demand(), NO_FAILURES, 5).goals


def test_spares_that_are_started_to_be_kept_need_no_model_and_those_for_requests_do() -> None:
    spares = replace(WISH, asleep=2, spare=True)
    kept = plan(spares, [], Demand(), NO_FAILURES, 5)
    asked = plan(spares, [], Demand(waiting=1), NO_FAILURES, 5)
    assert (kept.start, kept.start_spare) == (2, 2)
    assert (asked.start, asked.start_spare) == (2, 1)
    old = [engine("old", State.ASLEEP, revision="r0")]
    assert plan(spares, old, Demand(), NO_FAILURES, 5).start_spare == 0
    assert plan(replace(spares, spare=False), [], Demand(), NO_FAILURES, 5).start_spare == 0
