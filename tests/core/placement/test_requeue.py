"""When a waiting pod is looked at again: at each change of the ledgers, and once more for who hears of it late."""

from __future__ import annotations

import pytest

from ingle_core.placement.requeue import EVERY_S, Look, Told, look

SEEN = Told("7", 100.0, 0)
ONCE = Told("7", 100.0, 1)
TWICE = Told("7", 100.0, 2)


def test_what_was_known_when_a_pod_began_to_wait_is_told_once_and_later() -> None:
    assert look("7", None, 100.0) == Look(None, SEEN, EVERY_S)
    assert look("7", SEEN, 100.5) == Look(None, SEEN, 0.5)
    assert look("7", SEEN, 101.0) == Look("7+", Told("7", 101.0, 2), None)


def test_the_first_change_after_that_is_told_at_once() -> None:
    assert look("8", SEEN, 100.01) == Look("8", Told("8", 100.01, 1), EVERY_S)


def test_a_change_is_told_once_more_after_a_while_in_other_words_and_never_again() -> None:
    assert look("7", ONCE, 100.5) == Look(None, ONCE, 0.5)
    assert look("7", ONCE, 101.0) == Look("7+", Told("7", 101.0, 2), None)
    assert look("7", TWICE, 500.0) == Look(None, TWICE, None)


@pytest.mark.parametrize("last", [ONCE, TWICE])
def test_a_new_change_waits_its_turn_and_is_then_told_instead_of_the_old_one(last: Told) -> None:
    assert look("8", last, 100.25) == Look(None, last, 0.75)
    assert look("8", last, 101.0) == Look("8", Told("8", 101.0, 1), EVERY_S)


def test_of_many_changes_a_second_one_is_told_and_the_last_one_twice() -> None:
    told: Told | None = None
    written = []
    for tick in range(50):
        stamp, told, _ = look(str(min(tick, 14)), told, tick / 10)
        written += [] if stamp is None else [(stamp, tick)]
    assert written == [("1", 1), ("11", 11), ("14", 21), ("14+", 31)]
