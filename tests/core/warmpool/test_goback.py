"""Engines of the revision before that are lost while that of now does not start."""

from __future__ import annotations

from dataclasses import replace

from ingle_core.warmpool.facts import Demand, Engine, Failures, PoolWish, State
from ingle_core.warmpool.plan import Plan, plan, retry_delay_s
from ingle_core.warmpool.rollout import BACK_AFTER

WISH = PoolWish(1, 2, 1, idle_s=10, concurrency=4, revision="r1", variant="v")
STALLED = Failures(BACK_AFTER, 100.0, "r1")
BACK = Failures()


def engine(uid: str, state: State, revision: str = "r0", **fields: object) -> Engine:
    return replace(Engine(uid, state, 0.0, revision), **fields)  # type: ignore[arg-type]


def planned(
    *engines: Engine, back: Failures | None = BACK, failures: Failures = STALLED, now_s: float = 101
) -> Plan:
    return plan(WISH, engines, Demand(), failures, now_s, back=back)


def test_the_last_old_engine_is_made_anew_when_new_ones_do_not_start() -> None:
    found = planned()
    assert (found.goes_back, found.start_back, found.start) == (True, 2, 0)  # min + asleep
    assert planned(engine("a", State.AWAKE)).start_back == 1


def test_without_a_remembered_spec_or_before_the_new_one_has_failed_often_none_is_made_anew() -> None:
    assert planned(back=None).start_back == 0
    assert planned(failures=replace(STALLED, count=BACK_AFTER - 1)).start_back == 0


def test_one_on_its_way_and_new_engines_that_are_up_count_while_new_ones_that_still_start_do_not() -> None:
    olds = [engine("a", State.PENDING), engine("b", State.STARTING)]
    assert (planned(*olds).start_back, planned(*olds).goals) == (0, {})
    assert planned(engine("a", State.AWAKE), engine("n", State.ASLEEP, "r1")).start_back == 0
    assert planned(engine("a", State.AWAKE), engine("n", State.STARTING, "r1")).start_back == 1


def test_one_that_does_not_answer_is_replaced_and_one_that_stops_is_not_counted() -> None:
    silent = engine("a", State.AWAKE, answers=False)
    assert planned(silent, engine("b", State.ASLEEP)).start_back == 1
    assert planned(engine("a", State.STOPPING), engine("b", State.AWAKE)).start_back == 1


def test_load_asks_for_more_than_the_pool_keeps_and_a_sleeper_that_can_wake_is_no_loss() -> None:
    busy = Demand(waiting=8)
    olds = [engine("a", State.ASLEEP), engine("b", State.ASLEEP)]
    assert plan(WISH, olds, busy, STALLED, 101, back=BACK).start_back == 0
    stuck = [replace(one, wakeable=False) for one in olds]
    assert plan(WISH, stuck, busy, STALLED, 101, back=BACK).start_back == 2


def test_old_ones_that_fail_too_are_made_anew_after_their_own_pause() -> None:
    back = Failures(2, 100.0, "r0")
    early = planned(back=back)
    assert (early.start_back, early.retry_in_s) == (0, retry_delay_s(2) - 1)
    assert planned(back=back, now_s=100 + retry_delay_s(2)).start_back == 2


def test_a_new_one_is_still_tried_one_at_a_time_with_its_pause() -> None:
    later_s = 100 + retry_delay_s(BACK_AFTER)
    assert planned(now_s=later_s).start == 1
    assert planned(engine("n", State.STARTING, "r1"), now_s=later_s).start == 0


def test_a_third_revision_ends_what_was_made_anew_and_not_up_yet() -> None:
    wish = replace(WISH, revision="r2")
    found = plan(
        wish, [engine("a", State.STARTING), engine("b", State.AWAKE)], Demand(), STALLED, 101, back=BACK
    )
    assert not found.goes_back
    assert found.start_back == 0
    assert found.goals["a"][0] is State.ENDED
