"""Requests to 87 image models on 8 GPU slots (`alibaba-genai-2026`, 23 days), on a virtual clock. Simulated.

Each model takes one slot and has one load time, a quantile of the measured ones dealt out by luck: waits are means over
`SEEDS` deals. Cold: the request began a load. Waits count all requests, those that waited for nothing too. The price of the
row with equal GPU time is found on the first quarter of the trace and kept for all of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.parts import Progress, Row
from bench.warming.rows import folder, row
from ingle_core.warmpool.keepalive import ExpectedUse, Fixed, GreedyDual, Strategy
from ingle_simulator import genai
from ingle_simulator.warmbounds import belady_misses, least_wait_s
from ingle_simulator.warmslots import Found, Outcome, Request, Room, replay

SEEDS: Final = 5
SLOTS: Final = 8
COLD_GOAL_PERCENT: Final = 11.5
COLD_FLOOR_PERCENT: Final = 12.8
WAIT_CUT: Final = 0.3
HOLE_S: Final = 300.0
"""A model is not let go for less than this: it would be loading again for a tenth of it and more."""
ELASTIC: Final = Room(slots=math.inf)


def lru() -> Strategy:
    return Fixed(math.inf)


@dataclass(frozen=True, slots=True)
class Means:
    """Over the deals of load times. `late_percent`: cold in the second half of the requests."""

    cold_percent: float
    late_percent: float
    asleep_percent: float
    p99_s: float
    mean_s: float


RUNS: Final[dict[str, tuple[Callable[[], Strategy], Room]]] = {
    "lru": (lru, Room(SLOTS)),
    "greedy": (GreedyDual, Room(SLOTS)),
    "ours": (ExpectedUse, Room(SLOTS)),
    "greedy_by_cost": (GreedyDual, Room(SLOTS, by_cost=True)),
    "ours_by_cost": (ExpectedUse, Room(SLOTS, by_cost=True)),
    "lru_8_sleepers": (lru, Room(SLOTS, sleepers=8)),
    "ours_8_sleepers": (ExpectedUse, Room(SLOTS, sleepers=8, by_cost=True)),
    "lru_16_sleepers": (lru, Room(SLOTS, sleepers=16)),
    "ours_16_sleepers": (ExpectedUse, Room(SLOTS, sleepers=16, by_cost=True)),
}


def rows(progress: Progress) -> list[Row]:
    trace = folder("alibaba-genai-2026")
    requests, loads_s = genai.read_requests(trace), genai.read_loads_s(trace)
    bound = 100.0 * belady_misses([request.model for request in requests], SLOTS) / len(requests)
    means: dict[str, Means] = {}
    for name, (strategy, room) in RUNS.items():
        progress(name)
        means[name] = _means(requests, loads_s, strategy, room)
    waits = [*_waits(means), _wait_bound(requests, loads_s, means)]
    return [*_cold(means, bound), *waits, *_sleepers(means), *_elastic(requests, loads_s, progress)]


def _cold(means: dict[str, Means], bound: float) -> list[Row]:
    ours, lru_, unit = means["ours"], means["lru"], "% of requests"
    base = ("LRU", lru_.cold_percent)
    return [
        row("models_cold (goal)", ours.cold_percent, unit, most=COLD_GOAL_PERCENT, baseline=base),
        row("models_cold (floor)", ours.cold_percent, unit, most=COLD_FLOOR_PERCENT, baseline=base),
        row(
            "models_cold_second_half",
            ours.late_percent,
            unit,
            baseline=("greedy-dual", means["greedy"].late_percent),
        ),
        row("models_cold_greedy_dual", means["greedy"].cold_percent, unit, baseline=base),
        row("models_cold_belady_bound", bound, unit, baseline=base),
    ]


def _waits(means: dict[str, Means]) -> list[Row]:
    base = means["lru"]
    most_s = round((1 - WAIT_CUT) * base.p99_s, 2)
    return [
        row("models_wait_p99", means["ours"].p99_s, "s", most=most_s, baseline=("LRU", base.p99_s)),
        row(
            "models_wait_p99_by_cost",
            means["ours_by_cost"].p99_s,
            "s",
            most=most_s,
            baseline=("LRU", base.p99_s),
        ),
        row("models_wait_mean", means["ours"].mean_s, "s", baseline=("LRU", base.mean_s)),
        row("models_wait_mean_by_cost", means["ours_by_cost"].mean_s, "s", baseline=("LRU", base.mean_s)),
        row(
            "models_cold_by_cost",
            means["ours_by_cost"].cold_percent,
            "% of requests",
            baseline=("greedy-dual by cost", means["greedy_by_cost"].cold_percent),
        ),
    ]


def _wait_bound(requests: list[Request], loads_s: list[float], means: dict[str, Means]) -> Row:
    """What no strategy can beat that loads on demand, even if it let all quick models go and knew the future."""
    models = [request.model for request in requests]
    deals = (genai.load_times(models, loads_s, seed) for seed in range(SEEDS))
    bound_s = sum(least_wait_s(models, load_s, SLOTS, 99) for load_s in deals) / SEEDS
    return row("models_wait_p99_bound", bound_s, "s", baseline=("LRU", means["lru"].p99_s))


def _sleepers(means: dict[str, Means]) -> list[Row]:
    """Host memory for models that sleep beside the slots: another cluster than the target's, so cold has none."""
    lru_s, found = means["lru"].p99_s, []
    for count in (8, 16):
        ours, same, name = (
            means[f"ours_{count}_sleepers"],
            means[f"lru_{count}_sleepers"],
            f"models_{count}_sleepers",
        )
        base, unit = f"LRU with {count} sleepers", "% of requests"
        most_s = round((1 - WAIT_CUT) * lru_s, 2)
        found += [
            row(f"{name}_cold", ours.cold_percent, unit, baseline=(base, same.cold_percent)),
            row(f"{name}_woken", ours.asleep_percent, unit, baseline=(base, same.asleep_percent)),
            row(f"{name}_wait_p99", ours.p99_s, "s", most=most_s, baseline=("LRU, no sleepers", lru_s)),
            row(f"{name}_wait_p99_lru", same.p99_s, "s", baseline=("LRU, no sleepers", lru_s)),
        ]
    return found


def _elastic(requests: list[Request], loads_s: list[float], progress: Progress) -> list[Row]:
    """As many slots as are wanted, and as many GPU seconds as ten minutes of keep-alive take."""
    load_s = genai.load_times((request.model for request in requests), loads_s, 0)
    fixed = replay(Fixed(), requests, load_s, ELASTIC)
    price = _price(requests[: len(requests) // 4], load_s, progress)
    ours = replay(ExpectedUse(price, HOLE_S), requests, load_s, ELASTIC)
    return [
        row(
            "models_cold_without_slots",
            ours.percent(Found.COLD),
            "% of requests",
            baseline=("keep-alive 10 min", fixed.percent(Found.COLD)),
        ),
        row(
            "models_gpu_hours_without_slots",
            ours.gpu_s / 3600,
            "GPU h",
            baseline=("keep-alive 10 min", fixed.gpu_s / 3600),
        ),
    ]


def _price(part: list[Request], load_s: dict[str, float], progress: Progress) -> float:
    """At which this part takes the GPU seconds of the fixed keep-alive; by bisection, dearer takes less."""
    wanted_s = replay(Fixed(), part, load_s, ELASTIC).gpu_s
    low, high = 0.01, 1.0
    for _ in range(7):
        price = math.sqrt(low * high)
        progress(f"price {price:.3f}")
        took_s = replay(ExpectedUse(price, HOLE_S), part, load_s, ELASTIC).gpu_s
        low, high = (price, high) if took_s > wanted_s else (low, price)
    return math.sqrt(low * high)


def _means(
    requests: list[Request], loads_s: list[float], strategy: Callable[[], Strategy], room: Room
) -> Means:
    runs: list[Outcome] = []
    for seed in range(SEEDS):
        load_s = genai.load_times((request.model for request in requests), loads_s, seed)
        runs.append(replay(strategy(), requests, load_s, room))
    half = len(requests) // 2
    return Means(
        sum(run.percent(Found.COLD) for run in runs) / SEEDS,
        sum(run.percent(Found.COLD, since=half) for run in runs) / SEEDS,
        sum(run.percent(Found.ASLEEP) for run in runs) / SEEDS,
        sum(run.wait_s(99) for run in runs) / SEEDS,
        sum(sum(run.waits_s) / len(run.waits_s) for run in runs) / SEEDS,
    )
