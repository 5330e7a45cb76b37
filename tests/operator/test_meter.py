"""How long engines took to become ready, by the way they came."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from ingle_core.warmpool.facts import State
from ingle_kit.labels import OTHER, BoundedLabel
from ingle_operator.meter import Meter


def text_of(meter: Meter) -> str:
    registry = CollectorRegistry()
    for collector in meter.collectors():
        registry.register(collector)
    return generate_latest(registry).decode()


def test_a_start_counts_from_its_pod_and_by_where_its_weights_lay_when_it_was_placed() -> None:
    meter = Meter()
    meter.follow("u", "chat/p", State.PENDING, True, ("cold", 100.0), 101.0)
    meter.follow("u", "chat/p", State.STARTING, True, ("cold", 100.0), 102.0)
    meter.follow("u", "chat/p", State.STARTING, True, ("warm", 100.0), 140.0)  # it has fetched them itself
    meter.follow("u", "chat/p", State.AWAKE, True, ("cold", 100.0), 150.0)
    meter.opened("u", "chat/p", 150.0)
    text = text_of(meter)
    assert 'ingle_actuation_seconds_sum{path="cold",pool="chat/p"} 50.0' in text
    assert 'ingle_actuation_seconds_bucket{le="30.0",path="cold",pool="chat/p"} 0.0' in text


def test_a_wake_counts_from_when_it_is_wanted_even_while_it_waits_for_room() -> None:
    meter = Meter()
    for now_s, state in (
        (10.0, State.ASLEEP),
        (13.0, State.ASLEEP),
        (14.0, State.WAKING),
        (15.0, State.AWAKE),
    ):
        meter.follow("u", "chat/p", state, True, ("cold", 0.0), now_s)
    meter.opened("u", "chat/p", 15.5)
    assert 'ingle_actuation_seconds_sum{path="hot",pool="chat/p"} 5.5' in text_of(meter)


def test_a_gate_that_opens_again_and_a_wish_taken_back_are_no_journeys() -> None:
    meter = Meter()
    meter.follow("u", "chat/p", State.ASLEEP, True, ("cold", 0.0), 10.0)
    meter.follow("u", "chat/p", State.ASLEEP, False, ("cold", 0.0), 11.0)
    meter.opened("u", "chat/p", 12.0)
    assert 'ingle_actuation_seconds_count{path="hot",pool="chat/p"} 0.0' in text_of(meter)


def test_failed_wakes_stand_apart_and_a_pool_that_is_gone_leaves_nothing() -> None:
    meter = Meter()
    meter.woke("chat/p", 2.0, True)
    meter.woke("chat/p", 8.0, False)
    meter.started("chat/p", 40.0)
    text = text_of(meter)
    assert 'ingle_wake_seconds_sum{pool="chat/p",success="false"} 8.0' in text
    assert 'ingle_cold_start_seconds_count{pool="chat/p"} 1.0' in text
    meter.forget_pool("chat/p")
    assert "chat/p" not in text_of(meter)


def test_no_number_of_pools_makes_more_than_so_many_series() -> None:
    label = BoundedLabel(most=2)
    assert [label(name) for name in ("a", "b", "c", "a")] == ["a", "b", OTHER, "a"]
    assert label.let_go("a")
    assert not label.let_go("c")
    assert label("c") == "c"
