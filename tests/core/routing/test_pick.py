"""Least request, luck among equals, and the guard against engines that fail fast."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingle_core.routing.estimate import prompt_tokens
from ingle_core.routing.pick import candidates, guard_s, pick

from .conftest import engine

counts = st.lists(st.integers(0, 5), min_size=1, max_size=8)


@given(counts, st.floats(0, 1, exclude_max=True))
def test_the_pick_has_the_fewest_requests_in_flight(in_flight: list[int], tie: float) -> None:
    engines = [engine(str(i), in_flight=n) for i, n in enumerate(in_flight)]
    assert pick(engines, 0.0, tie).in_flight == min(in_flight)


def test_luck_reaches_every_equal() -> None:
    engines = [engine(str(i)) for i in range(4)]
    assert [pick(engines, 0.0, tie).pod_uid for tie in (0.0, 0.3, 0.6, 0.999999)] == ["0", "1", "2", "3"]


def test_an_engine_that_failed_lately_is_the_last_choice_for_a_while() -> None:
    engines = [engine("good", in_flight=100), engine("bad", failing_until_s=10.0)]
    assert pick(engines, 9.0, 0.5).pod_uid == "good"
    assert pick(engines, 10.0, 0.5).pod_uid == "bad"
    assert pick(engines[1:], 9.0, 0.5).pod_uid == "bad"


def test_the_guard_grows_and_is_bounded() -> None:
    assert [guard_s(n) for n in (0, 1, 2, 3, 5, 6, 10**6)] == [1, 1, 2, 4, 16, 30, 30]


def test_a_long_prompt_goes_to_a_long_context_where_there_is_one() -> None:
    short, long = engine("short", context_tokens=1000), engine("long", context_tokens=9000, in_flight=3)
    assert candidates([short, long], None, 5000) == [long]
    assert candidates([short, long], None, 500) == [short, long]
    assert candidates([short], None, 5000) == [short]


def test_tokens_are_estimated_by_script() -> None:
    assert prompt_tokens(b"") == 0
    assert prompt_tokens(b"a" * 400) == 100
    assert prompt_tokens(("\u6c34" * 100).encode()) == 100
    assert 100 <= prompt_tokens(("\u6c34" * 100 + "a" * 400).encode()) <= 210


@given(st.binary(max_size=200))
def test_any_bytes_have_an_estimate(body: bytes) -> None:
    assert 0 <= prompt_tokens(body) <= len(body)
