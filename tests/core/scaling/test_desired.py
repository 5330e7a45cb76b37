"""Replicas by concurrency, queue, KV cache and time to first token."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from ingle_core.scaling.desired import STEP_REPLICAS, EngineReading, Readings, Targets, desired

ALL = Targets(concurrency=16, queue=4, kv_fraction=0.8, ttft_s=0.5)


def say(load: int, *engines: EngineReading) -> Readings:
    return Readings(load, engines)


def test_requests_at_once_are_counted_exactly_and_at_once() -> None:
    assert desired(Targets(16), say(0)).count == 0
    assert desired(Targets(16), say(16)).count == 1
    assert desired(Targets(16), say(17)).count == 2
    assert desired(Targets(4), say(1000)).count == 250


def test_a_long_queue_asks_for_more_in_proportion() -> None:
    found = desired(ALL, say(20, EngineReading(queue=7), EngineReading(queue=5)))
    assert (found.count, found.decided_by) == (3, "queue")
    assert "queue of 6.0 an engine, target 4: 3" in found.reasons


def test_one_decision_at_most_doubles_the_engines_or_adds_four() -> None:
    assert desired(ALL, say(1, EngineReading(queue=1000))).count == 1 + STEP_REPLICAS
    assert desired(ALL, say(1, *[EngineReading(ttft_s=60.0)] * 6)).count == 12


def test_within_a_tenth_of_its_target_nothing_is_added() -> None:
    assert desired(ALL, say(1, *[EngineReading(kv_fraction=0.87)] * 4)).count == 4
    assert desired(ALL, say(1, *[EngineReading(kv_fraction=0.89)] * 4)).count == 5


def test_near_its_target_a_time_to_first_token_keeps_what_there_is_and_far_below_it_asks_nothing() -> None:
    assert desired(ALL, say(1, *[EngineReading(ttft_s=0.3)] * 3)).count == 3
    assert desired(ALL, say(1, *[EngineReading(ttft_s=0.2)] * 3)).count == 1


def test_a_kv_cache_says_how_few_are_enough_since_its_use_stays_the_same() -> None:
    assert desired(ALL, say(1, *[EngineReading(kv_fraction=0.2)] * 4)).count == 1
    assert desired(ALL, say(1, *[EngineReading(kv_fraction=0.41)] * 4)).count == 3


def test_what_no_engine_reports_is_told_and_decides_nothing() -> None:
    found = desired(ALL, say(3, EngineReading()))
    assert (found.count, found.decided_by) == (1, "concurrency")
    assert "queue: no engine reports it" in found.reasons


def test_without_requests_nothing_is_wanted_whatever_engines_still_say() -> None:
    assert desired(ALL, say(0, EngineReading(queue=9, kv_fraction=1.0, ttft_s=9.0))).count == 0


READING = st.builds(
    EngineReading,
    queue=st.none() | st.integers(0, 10_000),
    kv_fraction=st.none() | st.floats(0, 1),
    ttft_s=st.none() | st.floats(0, 1e6),
)


@given(load=st.integers(0, 100_000), engines=st.lists(READING, max_size=12))
def test_never_less_than_requests_need_never_more_than_a_step_beyond(
    load: int, engines: list[EngineReading]
) -> None:
    found = desired(ALL, Readings(load, tuple(engines)))
    need = math.ceil(load / ALL.concurrency)
    number = len(engines)
    assert need <= found.count <= max(need, number + max(number, STEP_REPLICAS))
    assert len(found.reasons) in (1, 4)


@given(engines=st.lists(READING, min_size=1, max_size=8), more=st.integers(0, 50))
def test_a_longer_queue_never_asks_for_less(engines: list[EngineReading], more: int) -> None:
    longer = tuple(
        EngineReading(None if e.queue is None else e.queue + more, e.kv_fraction, e.ttft_s) for e in engines
    )
    before = desired(ALL, Readings(1, tuple(engines))).count
    assert desired(ALL, Readings(1, longer)).count >= before
