"""The demand profile: for each hour of the day how much of it a pool is wanted awake."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from ingle_core.warmpool.demandprofile import HOUR_S, HOURS, DemandProfile

DAY_S = HOURS * HOUR_S
START_S = 20_000 * DAY_S


def seen(profile: DemandProfile, from_s: float, to_s: float) -> tuple[int, ...]:
    """Looked at every five minutes, as the operator does."""
    found: tuple[int, ...] = ()
    at_s = from_s
    while at_s <= to_s:
        found = profile.percent(at_s)
        at_s += 300
    return found


def test_nothing_is_known_before_an_hour_was_seen_then_it_stands_for_all_others() -> None:
    profile = DemandProfile()
    profile.note(0, START_S, 120)
    assert seen(profile, START_S, START_S + HOUR_S - 300) == ()
    assert seen(profile, START_S + HOUR_S - 300, START_S + HOUR_S) == (0,) * HOURS


def test_an_idle_replica_stays_wanted_until_it_would_sleep() -> None:
    profile = DemandProfile()
    profile.note(0, START_S, 600)
    profile.note(2, START_S + 600, 600)
    profile.note(0, START_S + 1200, 600)
    assert seen(profile, START_S + 1200, START_S + HOUR_S)[0] == 33
    assert seen(profile, START_S + HOUR_S, START_S + 2 * HOUR_S)[1] == 0


def test_load_that_goes_on_fills_hours_without_another_word() -> None:
    profile = DemandProfile()
    profile.note(1, START_S + 10 * HOUR_S, 120)
    found = seen(profile, START_S + 10 * HOUR_S, START_S + 12.5 * HOUR_S)
    assert found[10:12] == (100, 100)


def test_a_day_moves_a_profile_by_a_quarter() -> None:
    profile = DemandProfile((100,) * HOURS, START_S)
    found = seen(profile, START_S, START_S + DAY_S)
    assert found == (75,) * HOURS
    assert seen(profile, START_S + DAY_S, START_S + 2 * DAY_S) == (56,) * HOURS


def test_what_was_published_stays_to_the_percent_until_an_hour_ends() -> None:
    published = tuple(range(HOURS))
    profile = DemandProfile(published, START_S + 10)
    profile.note(3, START_S + 20, 120)
    assert profile.percent(START_S + HOUR_S - 1) == published
    assert profile.percent(START_S + HOUR_S) == (25, *published[1:])


def test_an_hour_of_which_less_than_half_was_seen_does_not_count() -> None:
    profile = DemandProfile((40,) * HOURS, START_S + 0.6 * HOUR_S)
    assert seen(profile, START_S + 0.6 * HOUR_S, START_S + HOUR_S) == (40,) * HOURS


def test_a_silence_of_hours_says_nothing() -> None:
    profile = DemandProfile((40,) * HOURS, START_S)
    profile.note(1, START_S, 120)
    assert profile.percent(START_S + 5 * HOUR_S) == (40,) * HOURS


def test_what_is_no_profile_is_a_start_from_nothing() -> None:
    assert DemandProfile((1, 2, 3)).percent(0.0) == ()
    assert DemandProfile((101,) * HOURS).percent(0.0) == ()


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 7200), st.floats(0, 5000)), max_size=60))
def test_whatever_happens_a_profile_is_empty_or_24_percents(notes: list[tuple[int, float, float]]) -> None:
    profile = DemandProfile()
    at_s = START_S
    for load, pause_s, hold_s in notes:
        at_s += pause_s
        profile.note(load, at_s, hold_s)
        found = profile.percent(at_s)
        assert len(found) in (0, HOURS)
        assert all(0 <= value <= 100 for value in found)
