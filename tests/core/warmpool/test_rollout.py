"""From one revision of a pool to the next: step by step, and whole ways with engines that do what is planned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ingle_core.warmpool.facts import Demand, Engine, Failures, PoolWish, State
from ingle_core.warmpool.past import NOTHING_YET, Past
from ingle_core.warmpool.plan import CHANGED, Plan, plan, retry_delay_s
from ingle_core.warmpool.rollout import BACK_AFTER

WISH = PoolWish(0, 2, 1, idle_s=10, concurrency=4, revision="r1", variant="v", surge_s=30)
BUSY = Demand(in_flight=1, peak=1)
NONE = Failures()


def old(uid: str, state: State, **fields: object) -> Engine:
    return replace(Engine(uid, state, 0.0, "r0"), **fields)  # type: ignore[arg-type]


def new(uid: str, state: State, since_s: float = 0.0, **fields: object) -> Engine:
    return replace(Engine(uid, state, since_s, "r1"), **fields)  # type: ignore[arg-type]


def ended(planned: Plan) -> list[str]:
    return [uid for uid, (goal, _) in planned.goals.items() if goal is State.ENDED]


def test_an_old_sleeper_stays_until_a_new_engine_is_up() -> None:
    sleeper = old("a", State.ASLEEP)
    first = plan(WISH, [sleeper], Demand(), NONE, 1)
    assert (first.goals, first.start, first.start_reason) == ({}, 1, CHANGED)
    for state in (State.PENDING, State.STARTING):
        waiting = plan(WISH, [sleeper, new("b", state)], Demand(), NONE, 100)
        assert (waiting.goals, waiting.start) == ({}, 0)
    done = plan(WISH, [sleeper, new("b", State.AWAKE)], Demand(), NONE, 1)
    assert (done.goals, done.start) == ({"a": (State.ENDED, CHANGED)}, 0)


def test_old_sleepers_above_the_number_to_keep_wait_like_any_other_until_they_are_replaced() -> None:
    olds = [old(uid, State.ASLEEP) for uid in "abc"]
    assert plan(WISH, olds, Demand(), NONE, 1).goals == {}
    assert len(ended(plan(WISH, [*olds, new("d", State.ASLEEP)], Demand(), NONE, 1))) == 1


def test_an_old_engine_that_load_needed_of_late_is_replaced_by_one_that_is_awake() -> None:
    engines = [old("a", State.AWAKE), new("b", State.ASLEEP)]
    assert plan(WISH, engines, Demand(peak=1), NONE, 5).goals == {"b": (State.AWAKE, CHANGED)}


def test_of_two_idle_engines_the_old_one_sleeps_first() -> None:
    engines = [new("a", State.AWAKE), old("b", State.AWAKE)]
    result = plan(replace(WISH, asleep=2), engines, Demand(peak=1), NONE, 100)
    assert [uid for uid, (goal, _) in result.goals.items() if goal is State.ASLEEP] == ["b"]


def test_an_old_sleeper_is_woken_for_a_request_while_the_new_engine_starts() -> None:
    result = plan(WISH, [old("a", State.ASLEEP), new("b", State.PENDING)], Demand(waiting=1), NONE, 1)
    assert result.goals == {"a": (State.AWAKE, "requests wait")}


def test_a_new_sleeper_is_woken_before_an_old_one() -> None:
    wish = replace(WISH, asleep=2)
    sleepers = [old("a", State.ASLEEP, busy_at_s=9), new("b", State.ASLEEP)]
    result = plan(wish, sleepers, Demand(waiting=1), NONE, 10)
    assert [uid for uid, (goal, _) in result.goals.items() if goal is State.AWAKE] == ["b"]


def test_an_engine_of_an_old_revision_that_has_not_started_stops_at_once() -> None:
    result = plan(WISH, [old("a", State.STARTING)], Demand(), NONE, 1)
    assert (ended(result), result.start) == (["a"], 1)
    served = old("a", State.STARTING, in_flight=1)  # it was awake before
    assert plan(WISH, [served], BUSY, NONE, 1).goals == {}


def test_a_busy_old_engine_is_replaced_beside_it_although_that_is_one_more_than_max() -> None:
    wish = replace(WISH, max_awake=1, asleep=0)
    busy = old("a", State.AWAKE, in_flight=1)
    surge = plan(wish, [busy], BUSY, NONE, 1)
    assert (surge.goals, surge.start) == ({}, 1)
    assert plan(wish, [busy, new("b", State.STARTING)], BUSY, NONE, 1).goals == {}
    assert ended(plan(wish, [busy, new("b", State.AWAKE)], BUSY, NONE, 1)) == ["a"]


def test_a_new_sleeper_is_woken_to_replace_a_busy_old_engine() -> None:
    engines = [old("a", State.AWAKE, in_flight=1), new("b", State.ASLEEP)]
    assert plan(WISH, engines, BUSY, NONE, 1).goals == {"b": (State.AWAKE, CHANGED)}


def test_old_sleepers_go_before_old_engines_that_are_awake() -> None:
    wish = replace(WISH, min_awake=1)
    engines = [old("a", State.AWAKE, in_flight=1), old("b", State.ASLEEP), new("c", State.AWAKE)]
    assert ended(plan(wish, engines, BUSY, NONE, 1)) == ["b"]


def test_one_new_engine_is_started_at_a_time_but_for_load() -> None:
    olds = [old(uid, State.AWAKE, in_flight=4) for uid in "ab"]
    wish = replace(WISH, min_awake=2, asleep=0)
    assert plan(wish, olds, Demand(in_flight=8, peak=8), NONE, 1).start == 1
    assert plan(wish, [*olds, new("c", State.STARTING)], Demand(in_flight=8, peak=8), NONE, 1).start == 0
    more = replace(wish, max_awake=4)
    assert plan(more, olds, Demand(in_flight=16, peak=16), NONE, 1).start == 2


def test_an_old_engine_makes_way_once_the_new_one_has_waited_long_for_room() -> None:
    wish = replace(WISH, min_awake=1, max_awake=1, asleep=0)
    engines = [old("a", State.AWAKE, in_flight=1), new("b", State.PENDING, short_since_s=100)]
    assert plan(wish, engines, BUSY, NONE, 129).goals == {}
    elsewhere = [engines[0], new("b", State.PENDING)]  # it waits for something else
    assert plan(wish, elsewhere, BUSY, NONE, 1000).goals == {}
    result = plan(wish, engines, BUSY, NONE, 130)
    assert ended(result) == ["a"]
    assert result.past.made_way_at_s == 130


def test_an_old_engine_makes_way_for_a_new_sleeper_that_has_no_room_to_wake() -> None:
    short = new("b", State.ASLEEP, short_since_s=100, gpus=("g0", "g1"))
    engines = [old("a", State.AWAKE, in_flight=1, gpus=("g1",)), short]
    assert ended(plan(WISH, engines, BUSY, NONE, 129)) == []
    result = plan(WISH, engines, BUSY, NONE, 130)
    assert (ended(result), result.start) == (["a"], 0)
    lately = plan(WISH, [replace(engines[0], in_flight=0), short], Demand(peak=1), NONE, 130)
    assert (ended(lately), lately.start) == (["a"], 0)


def test_where_the_old_engine_is_not_in_a_new_sleepers_way_another_new_one_starts() -> None:
    short = new("b", State.ASLEEP, short_since_s=100, gpus=("g0",))
    result = plan(WISH, [old("a", State.AWAKE, in_flight=1, gpus=("g1",)), short], BUSY, NONE, 130)
    assert (result.goals, result.start) == ({}, 1)


def test_an_old_engine_stays_until_routers_may_pick_the_new_one() -> None:
    engines = [old("a", State.AWAKE, in_flight=1), new("b", State.AWAKE, gate_open=False)]
    assert plan(WISH, engines, BUSY, NONE, 1).goals == {}


def test_old_engines_make_way_one_by_one() -> None:
    wish = replace(WISH, min_awake=2, asleep=0)
    pending, olds = new("c", State.PENDING, short_since_s=0), [old(uid, State.AWAKE) for uid in "ab"]
    assert len(ended(plan(wish, [*olds, pending], Demand(), NONE, 40))) == 1
    draining = [olds[0], old("b", State.STOPPING), pending]
    assert ended(plan(replace(wish, min_awake=1), draining, Demand(), NONE, 90)) == []
    assert ended(plan(replace(wish, min_awake=1), [olds[0], pending], Demand(), NONE, 90)) == ["a"]
    assert ended(plan(wish, [*olds, pending], Demand(), NONE, 60, past=Past(made_way_at_s=40))) == []
    assert ended(plan(wish, [olds[0], pending], Demand(), NONE, 90)) == []  # the other would be the second


def test_old_sleepers_make_way_one_by_one() -> None:
    wish, pending = replace(WISH, asleep=2), new("c", State.PENDING, short_since_s=0)
    olds = [old(uid, State.ASLEEP) for uid in "ab"]
    assert ended(plan(wish, [*olds, pending], Demand(), NONE, 40)) == ["a"]
    assert ended(plan(wish, [olds[1], pending], Demand(), NONE, 90)) == []


def test_after_failures_in_a_row_the_old_engines_stay_and_serve() -> None:
    failed = Failures(BACK_AFTER, 100, "r1")
    wish = replace(WISH, min_awake=1, max_awake=1, asleep=0)
    stuck = [old("a", State.AWAKE, in_flight=1), new("b", State.PENDING, short_since_s=0)]
    result = plan(wish, stuck, BUSY, failed, 200)
    assert (result.goals, result.goes_back) == ({}, True)
    woken = plan(WISH, [old("a", State.ASLEEP)], Demand(waiting=1), failed, 101)
    assert (woken.goals, woken.start) == ({"a": (State.AWAKE, "requests wait")}, 0)
    idle = plan(WISH, [old("a", State.AWAKE)], Demand(), failed, 101)
    assert idle.goals["a"][0] is State.ASLEEP
    starting = plan(WISH, [old("a", State.STARTING)], Demand(), failed, 101)
    assert starting.goals == {}
    assert not plan(WISH, [], Demand(), failed, 101).goes_back  # none is left to go back to


def test_a_new_engine_is_tried_again_after_the_pause_of_a_failed_pool() -> None:
    failed, sleeper = Failures(BACK_AFTER, 100, "r1"), old("a", State.ASLEEP)
    assert plan(WISH, [sleeper], Demand(), failed, 101).start == 0
    assert plan(WISH, [sleeper], Demand(), failed, 100 + retry_delay_s(BACK_AFTER)).start == 1


@dataclass
class Site:
    """Engines that start in a while, sleep and wake at once, and stop when drained. `rooms`: how many fit."""

    wish: PoolWish
    engines: dict[str, Engine]
    rooms: int
    broken: bool
    past: Past = NOTHING_YET
    failures: Failures = field(default_factory=Failures)
    made: int = 0

    def pass_second(self, now_s: float, load: int) -> Plan:
        demand = Demand(in_flight=load, peak=load)
        planned = plan(self.wish, list(self.engines.values()), demand, self.failures, now_s, past=self.past)
        self.past = planned.past
        for uid, engine in list(self.engines.items()):
            self.engines[uid] = self._next(engine, planned.goals.get(uid, (None, ""))[0], now_s)
            if self.engines[uid].state is State.ENDED:
                del self.engines[uid]
        for _ in range(planned.start):
            self.made += 1
            self.engines[f"n{self.made}"] = new(f"n{self.made}", State.PENDING, now_s, short_since_s=now_s)
        return planned

    def _next(self, engine: Engine, goal: State | None, now_s: float) -> Engine:
        placed = sum(e.state is not State.PENDING for e in self.engines.values())
        into: State | None = None
        if engine.state is State.STOPPING or (goal is State.ENDED and engine.state is not State.AWAKE):
            into = State.ENDED
        elif goal is State.ENDED:
            into = State.STOPPING
        elif engine.state is State.PENDING and placed < self.rooms:
            into = State.STARTING
        elif engine.state is State.STARTING and now_s - engine.since_s >= 5:
            if self.broken:
                self.failures = Failures(self.failures.count + 1, now_s, "r1")
            into = State.ENDED if self.broken else State.AWAKE
        elif goal is not None and goal is not engine.state:
            into = goal
        return engine if into is None else replace(engine, state=into, since_s=now_s)

    def serving(self) -> int:
        return sum(e.state is State.AWAKE for e in self.engines.values())


WAYS = st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2))


def site(min_awake: int, asleep: int, load: int, surge: int, broken: bool) -> tuple[Site, int, int]:
    """A settled pool of the old revision; with its load in replicas and its engines."""
    wish = replace(WISH, min_awake=min_awake, asleep=asleep, concurrency=1)
    awake = max(min_awake, load)
    count = min(max(wish.max_awake, asleep), max(awake, min_awake + asleep))
    olds = {f"o{n}": old(f"o{n}", State.AWAKE if n < awake else State.ASLEEP) for n in range(count)}
    return Site(wish, olds, count + surge, broken), awake, count


def run(one: Site, load: int, each: Callable[[], None], seconds: int = 300) -> Plan:
    planned = one.pass_second(1, load)
    for now_s in range(2, seconds):
        each()
        planned = one.pass_second(now_s, load)
    return planned


@settings(max_examples=15, deadline=None)
@given(WAYS)
def test_with_room_beside_nothing_that_serves_is_ever_missing_and_all_become_new(
    way: tuple[int, int, int],
) -> None:
    one, awake, count = site(*way, surge=1, broken=False)

    def each() -> None:
        assert one.serving() >= awake
        assert len(one.engines) <= count + 2  # one more, and one that stops

    run(one, way[2], each)
    assert {e.revision for e in one.engines.values()} <= {"r1"}
    assert len(one.engines) == count


@settings(max_examples=15, deadline=None)
@given(WAYS)
def test_without_room_beside_all_become_new_and_at_most_one_is_missing(way: tuple[int, int, int]) -> None:
    one, awake, count = site(*way, surge=0, broken=False)

    def each() -> None:
        assert one.serving() >= awake - 1

    run(one, way[2], each)
    assert {e.revision for e in one.engines.values()} <= {"r1"}
    assert len(one.engines) == count


@settings(max_examples=15, deadline=None)
@given(WAYS, st.integers(0, 1))
def test_a_revision_that_never_starts_costs_at_most_one_old_engine(
    way: tuple[int, int, int], surge: int
) -> None:
    one, awake, count = site(*way, surge=surge, broken=True)
    planned = run(one, way[2], lambda: None)
    olds = [e for e in one.engines.values() if e.revision == "r0"]
    assert len(olds) >= count - (0 if surge else 1)
    assert one.serving() >= awake - (0 if surge else 1)
    assert planned.goes_back == bool(olds)
