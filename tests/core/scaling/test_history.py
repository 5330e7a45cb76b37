"""The load of two weeks in quarters of an hour."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingle_core.scaling.history import STEP_S, STEPS, LoadHistory

START_S = 1_800_000_000.0


def test_each_step_has_its_peak_and_the_open_one_is_not_told() -> None:
    history = LoadHistory()
    history.note(1, START_S)
    history.note(7, START_S + 10)
    history.note(2, START_S + 20)
    history.note(9, START_S + STEP_S + 5)
    peaks = history.peaks(START_S + STEP_S + 6)
    assert peaks[-1] == 7
    assert np.isnan(peaks[:-1]).all()


def test_a_load_holds_until_it_changes() -> None:
    history = LoadHistory()
    history.note(3, START_S)
    history.note(0, START_S + STEP_S - 1)
    assert list(history.peaks(START_S + 2 * STEP_S - 1)[-1:]) == [3]
    history.note(0, START_S + 2 * STEP_S)
    assert list(history.peaks(START_S + 2 * STEP_S)[-2:]) == [3, 0]


def test_of_a_silence_longer_than_a_step_nothing_is_known() -> None:
    history = LoadHistory()
    history.note(3, START_S)
    history.note(4, START_S + 5 * STEP_S)
    peaks = history.peaks(START_S + 6 * STEP_S)
    assert list(np.isnan(peaks[-6:])) == [False, True, True, True, True, False]


def test_a_load_that_is_not_known_is_left_out() -> None:
    history = LoadHistory()
    history.note(3, START_S)
    history.lost(START_S + 60)
    history.lost(START_S + STEP_S)
    history.lost(START_S + 2 * STEP_S)
    assert list(np.isnan(history.peaks(START_S + 2 * STEP_S)[-2:])) == [False, True]


def test_two_weeks_are_kept_and_no_more() -> None:
    history = LoadHistory()
    for step in range(STEPS + 50):
        history.note(step, START_S + step * STEP_S)
        history.note(0, START_S + step * STEP_S + 1)
    peaks = history.peaks(START_S + (STEPS + 50) * STEP_S)
    assert len(peaks) == STEPS
    assert peaks[-1] == STEPS + 49
    assert peaks[1] == 51


@given(
    notes=st.lists(st.tuples(st.floats(0, 3000), st.none() | st.integers(0, 50)), max_size=60),
    wait_s=st.floats(0, 3000),
)
def test_no_peak_was_never_seen(notes: list[tuple[float, int | None]], wait_s: float) -> None:
    history, at_s = LoadHistory(), START_S
    for pause_s, load in notes:
        at_s += pause_s
        if load is None:
            history.lost(at_s)
        else:
            history.note(load, at_s)
    peaks = history.peaks(at_s + wait_s)
    seen = {load for _, load in notes if load is not None}
    assert set(peaks[~np.isnan(peaks)]) <= seen
