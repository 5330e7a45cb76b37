"""Whether sleeping ahead of need helps: the load of warm-real's zipf on GPUs that not all models fit awake, on a virtual clock,
with and without. Simulated; many seeds, since one run says little. docs/warm-pools.md says what it assumes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from bench.parts import Progress, Row
from bench.warming.rows import row
from bench.warmreal.load import Bursts, bursty, percentile
from ingle_core.warmpool.keepalive import GreedyDual
from ingle_simulator.sharedfacts import Model
from ingle_simulator.sharedgpus import Ask, Site, Waits, replay

GPUS: Final = 24
NODE_GPUS: Final = 8
GPU_MIB: Final = 80_000
BUSY_S: Final = 1.1
"""200 tokens in, 100 out, by the engine stand-in's profile of an 8B model."""
LATE_S: Final = 1.2
"""One and a half wakes."""
WITHOUT: Final = "INGLE_SLEEP_AHEAD=false"


@dataclass(frozen=True, slots=True)
class Case:
    """`every_s`: between bursts on average; `idle_s`: as a pool's warm.idleSeconds."""

    models: int
    length_s: float
    every_s: float
    idle_s: float
    seeds: int


CASES: Final = {
    "zipf_tight": Case(40, 200, 3, 30, 20),
    "minutes": Case(40, 7200, 20, 300, 4),
    "crowded": Case(80, 600, 3, 30, 4),
}


def rows(progress: Progress) -> list[Row]:
    found = []
    for name, case in CASES.items():
        progress(name)
        found += _rows(name, *both(case))
    return found


def both(case: Case) -> tuple[list[Waits], list[Waits]]:
    """With and without sleeping ahead, seed by seed."""
    seeds = range(case.seeds)
    return [waits(case, seed, True) for seed in seeds], [waits(case, seed, False) for seed in seeds]


def waits(case: Case, seed: int, ahead: bool) -> Waits:
    names = [f"m{number:02}" for number in range(case.models)]
    asks = bursty(names, case.length_s, seed, Bursts(every_s=case.every_s))
    gpus = [f"g{number:02}" for number in range(GPUS)]
    models = [
        Model(name, f"n{int(gpu[1:]) // NODE_GPUS}", gpu)
        for name, gpu in zip(names, _dealt(gpus, case.models, seed), strict=True)
    ]
    site = Site(dict.fromkeys(gpus, GPU_MIB), models, case.idle_s, ahead=ahead)
    return replay(GreedyDual(), [Ask(ask.at_s, ask.pool, BUSY_S) for ask in asks], site)


def _dealt(gpus: Sequence[str], count: int, seed: int) -> list[str]:
    """A GPU for each model by luck, as many on each as on any other, but for one."""
    luck, found = random.Random(f"gpus/{seed}"), list[str]()
    while len(found) < count:
        found += luck.sample(gpus, len(gpus))
    return found[:count]


def _rows(case: str, with_: Sequence[Waits], without: Sequence[Waits]) -> list[Row]:
    def told(what: str, unit: str, of: Callable[[Waits], float]) -> Row:
        value, base = fmean(of(one) for one in with_), fmean(of(one) for one in without)
        return row(f"sleep_ahead_{what}_{case}", value, unit, baseline=(WITHOUT, base))

    saved = [mean_ms(b) - mean_ms(a) for a, b in zip(with_, without, strict=True)]
    return [
        told("waits_mean", "ms a request", mean_ms),
        told("waits_held_p95", "s", lambda one: percentile(one.held_s, 95)),
        told("waits_late", "% of requests above 1.5 wake times", _late_percent),
        told("requests_held", "% of requests", lambda one: 100 * len(one.held_s) / len(one.waits_s)),
        told("wakes", "wakes a run", lambda one: one.wakes),
        row(f"sleep_ahead_saves_least_{case}: of {len(saved)} seeds", min(saved), "ms a request"),
        row(f"sleep_ahead_saves_most_{case}: of {len(saved)} seeds", max(saved), "ms a request"),
    ]


def mean_ms(one: Waits) -> float:
    """Of all requests, those that waited for nothing too."""
    return 1000 * fmean(one.waits_s)


def _late_percent(one: Waits) -> float:
    return 100 * fmean(wait > LATE_S for wait in one.waits_s)
