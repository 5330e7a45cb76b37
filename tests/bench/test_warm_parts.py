"""The parts of the benchmark `warm` that decide whether a target is met, and what is tuned on which part of a trace."""

from __future__ import annotations

import random

import pytest
from bench.warming import models
from bench.warming.rows import row

from ingle_core.warmpool.keepalive import ExpectedUse, Fixed
from ingle_simulator.warmslots import Request, replay


@pytest.mark.parametrize(("value", "met"), [(11.49, True), (11.504, True), (11.51, False)])
def test_a_target_is_met_by_the_value_as_it_is_shown(value: float, met: bool) -> None:
    found = row("cold", value, "%", most=11.5, baseline=("LRU", 14.784))
    assert (found["met"], found["target"]) == (met, "<= 11.5")
    assert (found["baseline"], found["baseline_value"]) == ("LRU", 14.78)
    assert row("cold", value, "%")["met"] is None


def test_the_price_is_where_ours_takes_the_gpu_time_of_the_fixed_keep_alive() -> None:
    luck, at_s, requests = random.Random(1), 0.0, []
    for _ in range(300):
        at_s += luck.expovariate(1 / 200)
        requests.append(Request(at_s, luck.choice("aaaaabbc"), 5.0))
    load_s = {"a": 20.0, "b": 20.0, "c": 20.0}
    price = models._price(requests, load_s, lambda text: None)
    ours = replay(ExpectedUse(price, models.HOLE_S), requests, load_s, models.ELASTIC).gpu_s
    fixed = replay(Fixed(), requests, load_s, models.ELASTIC).gpu_s
    assert 0.7 < ours / fixed < 1.4
