"""The benchmark of wake conflicts: spans of demand, and what counts as a conflict."""

from __future__ import annotations

import gzip
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from bench.conflicts.servegen import DAY_S, Span, Window, clients, day, spans
from bench.conflicts.sharing import Model, Outcome, place, profile_of, replay

LUCK_SEED = 1
BIG, OTHER, SMALL = (
    Model("d/big", 50_000, 2_000),
    Model("d/other", 50_000, 2_000),
    Model("d/small", 20_000, 2_000),
)
HOUR = 3600.0


def drawn(*windows: Window, hold_s: float = 120.0) -> list[Span]:
    return spans(windows, hold_s, np.random.default_rng(LUCK_SEED))


def test_rates_are_read_without_windows_in_which_nobody_asks(tmp_path: Path) -> None:
    file = tmp_path / "rates.csv.gz"
    head = "client,t_s,rate_rps,cv,iat_dist,p1,p2\n"
    file.write_bytes(
        gzip.compress((head + "7,1.2e+03,0.5,1,Gamma,0.8,1\n7,1800,0,0,,,\n8,0,0,0,,,\n").encode())
    )
    assert clients(file) == {"7": [Window(1200, 0.5, "Gamma", 0.8)], "8": []}


def test_windows_full_of_requests_are_one_span_that_ends_after_the_hold() -> None:
    assert drawn(Window(0, 50, "Gamma", 1), Window(600, 50, "Gamma", 1)) == [Span(0, 1320)]


def test_a_single_request_is_wanted_for_the_hold() -> None:
    (span,) = drawn(Window(600, 1 / 600, "Weibull", 1.0))
    assert span.end_s - span.start_s == pytest.approx(120)
    assert 600 <= span.start_s < 1200


def test_pauses_longer_than_the_hold_part_spans() -> None:
    found = drawn(*(Window(600 * n, 2 / 600, "Weibull", 1.0) for n in range(20)), hold_s=30.0)
    assert len(found) > 20
    assert all(a.end_s < b.start_s for a, b in pairwise(found))


def test_a_day_is_cut_out_of_spans_that_reach_over_midnight() -> None:
    assert day([Span(DAY_S - 10, DAY_S + 20), Span(DAY_S * 2, DAY_S * 2 + 5)], 1) == [Span(0, 20)]


def test_a_wake_is_a_conflict_only_where_those_awake_leave_too_little_room() -> None:
    wanted = {
        "d/big": [Span(0, 100)],
        "d/other": [Span(50, 150), Span(200, 300)],
        "d/small": [Span(250, 260)],
    }
    models = [BIG, OTHER, SMALL]
    together = dict.fromkeys(wanted, "GPU-00")
    assert replay(models, together, wanted) == Outcome(wakes=4, conflicts=1)
    assert replay(models, together | {"d/other": "GPU-01"}, wanted) == Outcome(4, 0)


def test_a_model_that_gave_way_holds_no_room_any_more() -> None:
    wanted = {"d/big": [Span(0, 100)], "d/other": [Span(10, 30)], "d/small": [Span(40, 50)]}
    models = [BIG, OTHER, Model("d/small", 60_000, 2_000)]
    assert replay(models, dict.fromkeys(wanted, "GPU-00"), wanted) == Outcome(3, 1)


def test_profiles_keep_apart_what_is_wanted_together_and_memory_alone_does_not() -> None:
    both = [Span(n * DAY_S + 8 * HOUR, n * DAY_S + 10 * HOUR) for n in range(2)]
    profiles = {model.pool: profile_of(model, both, 2) for model in (BIG, OTHER)}
    assert profiles["d/big"].percent[7:11] == (0, 100, 100, 0)
    apart, packed = place([BIG, OTHER], 16, "Pack", profiles), place([BIG, OTHER], 16, "Pack", None)
    assert apart["d/big"] != apart["d/other"]
    assert packed["d/big"] == packed["d/other"]
