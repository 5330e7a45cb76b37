"""Chances dealt anew by worth."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingle_core.placement.chance import by_worth


def test_the_lowest_worth_gets_the_lowest_chance() -> None:
    assert by_worth([0.9, 0.1, 0.5], [1, 3, 2]) == [0.1, 0.9, 0.5]


def test_those_of_equal_worth_keep_their_order() -> None:
    assert by_worth([0.9, 0.1, 0.5], [2, 2, 2]) == [0.9, 0.1, 0.5]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1e9))))
def test_the_same_chances_are_dealt_in_the_order_of_worth(rows: list[tuple[float, float]]) -> None:
    chances, worths = [c for c, _ in rows], [w for _, w in rows]
    dealt = by_worth(chances, worths)
    assert sorted(dealt) == sorted(chances)
    assert all(
        dealt[i] <= dealt[j] for i in range(len(rows)) for j in range(len(rows)) if worths[i] < worths[j]
    )
