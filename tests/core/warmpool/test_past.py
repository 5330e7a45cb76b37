"""A pool that is pushed to and fro: floors hold at every moment, and it turns seldom."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ingle_core.warmpool.facts import Demand, Engine, Failures, PoolWish, State
from ingle_core.warmpool.past import NOTHING_YET
from ingle_core.warmpool.peaks import Peaks
from ingle_core.warmpool.plan import Plan, plan

IDLE_S, DWELL_S, SPAN_S = 2.0, 5.0, 120
WISH = PoolWish(1, 4, 1, IDLE_S, 1, "r1", "v", dwell_s=DWELL_S)


@dataclass
class Site:
    """Engines that do at once what is planned."""

    wish: PoolWish
    engines: dict[str, Engine] = field(default_factory=dict)
    started: int = 0

    def count(self, *states: State) -> int:
        return sum(e.state in states for e in self.engines.values())

    def apply(self, planned: Plan, now_s: float) -> None:
        for uid, (goal, _) in planned.goals.items():
            if goal is State.ENDED:
                del self.engines[uid]
            elif self.engines[uid].state is not goal:
                self.engines[uid] = replace(self.engines[uid], state=goal, since_s=now_s)
        for _ in range(planned.start):
            uid = f"e{self.started}"
            self.engines[uid] = Engine(uid, State.AWAKE, now_s, "r1")
            self.started += 1


def reversals(wish: PoolWish, loads: list[int], by_count: bool) -> int:
    """How often the awake count turns, from fewer to more or back, as the load changes each second."""
    site, peaks, past, turns, direction = Site(wish), Peaks(), NOTHING_YET, 0, 0
    for now_s, load in enumerate(loads):
        peaks.note(load, now_s)
        wanted = replace(wish, desired=load) if by_count else wish
        demand = Demand(in_flight=load, peak=peaks.over(wish.idle_s, now_s))
        before = site.count(State.AWAKE)
        planned = plan(wanted, list(site.engines.values()), demand, Failures(), now_s, past=past)
        past = planned.past
        site.apply(planned, now_s)
        after = site.count(State.AWAKE)
        assert after >= max(wish.min_awake, min(wish.max_awake, load))
        assert len(site.engines) >= wish.min_awake + wish.asleep
        step = (after > before) - (after < before)
        turns += step * direction < 0
        direction = step or direction
    return turns


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=SPAN_S, max_size=SPAN_S), st.booleans())
def test_load_is_met_at_once_and_two_dwells_see_one_reversal(loads: list[int], by_count: bool) -> None:
    assert reversals(WISH, loads, by_count) <= SPAN_S / (2 * DWELL_S) + 2


def test_more_may_sleep_at_once_but_after_a_wake_none_for_four_dwells() -> None:
    turned = NOTHING_YET.after(raised=False, lowered=True, made_way=False, now_s=100)
    assert turned.may_lower(30, 101)
    again = turned.after(raised=False, lowered=True, made_way=False, now_s=110)
    raised = again.after(raised=True, lowered=False, made_way=False, now_s=120)
    assert not raised.may_lower(30, 219)
    assert raised.may_lower(30, 220)


def test_without_a_dwell_it_would_turn_more_often() -> None:
    loads = [4 if second % 6 < 1 else 0 for second in range(SPAN_S)]
    most = SPAN_S / (2 * DWELL_S) + 2
    assert reversals(replace(WISH, dwell_s=0), loads, by_count=True) > most
    assert reversals(WISH, loads, by_count=True) <= most
