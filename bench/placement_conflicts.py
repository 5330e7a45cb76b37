"""Wakes that must first put another model to sleep: 60 models asleep on 24 GPUs, one day of public demand.

Each model has the demand of one client of ServeGen's m-mid (60 of its 109 clients, drawn by the seed). Profiles are
learnt from the seven days before the day that is replayed, by the operator's own accumulator. Three placements by the
same `rank`: by profiles, packed by memory alone (the baseline), spread by memory alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.conflicts import servegen
from bench.conflicts.servegen import Span
from bench.conflicts.sharing import Model, Outcome, place, profile_of, replay

MODELS = 60
GPUS = 24
SEEDS = 10
DAY = 7
HOLD_S = 120.0
ASLEEP_MIB = 2_000
AWAKE_MIB = (20_000, 30_000, 40_000, 50_000, 60_000)
TARGET_PERCENT = 50.0
Progress = Callable[[str], None]


def outcomes(seed: int, windows: dict[str, list[servegen.Window]]) -> dict[str, Outcome]:
    """One draw of clients, sizes, arrivals and order."""
    luck = np.random.default_rng(seed)
    names = sorted(windows)
    chosen = [names[i] for i in luck.choice(len(names), MODELS, replace=False)]
    sizes = luck.choice(AWAKE_MIB, MODELS).tolist()
    models = [Model(f"d/{c}", size, ASLEEP_MIB) for c, size in zip(chosen, sizes, strict=True)]
    spans: dict[str, list[Span]] = {
        f"d/{c}": servegen.spans(
            [w for w in windows[c] if w.start_s < (DAY + 1) * servegen.DAY_S], HOLD_S, luck
        )
        for c in chosen
    }
    profiles = {model.pool: profile_of(model, spans[model.pool], DAY) for model in models}
    wanted = {pool: servegen.day(found, DAY) for pool, found in spans.items()}
    placements = {
        "profiles": place(models, GPUS, "Pack", profiles),
        "pack": place(models, GPUS, "Pack", None),
        "spread": place(models, GPUS, "Spread", None),
    }
    return {name: replay(models, placed, wanted) for name, placed in placements.items()}


def rows(progress: Progress) -> list[dict[str, Any]]:
    """Means of `SEEDS` draws."""
    windows = servegen.clients(servegen.path())
    total = {"profiles": 0, "pack": 0, "spread": 0}
    wakes = 0
    for seed in range(SEEDS):
        found = outcomes(seed, windows)
        for name, one in found.items():
            total[name] += one.conflicts
        wakes += found["pack"].wakes
        told = ", ".join(f"{name} {one.conflicts}" for name, one in found.items())
        progress(f"wake conflicts, seed {seed}: of {found['pack'].wakes} wakes {told}")
    ours, pack, spread = (total[name] / SEEDS for name in ("profiles", "pack", "spread"))
    fewer = round(100 * (1 - ours / max(1.0, pack)), 1)
    met = fewer >= TARGET_PERCENT
    return [
        _row("wake_conflicts_fewer", fewer, "%", f">= {TARGET_PERCENT:g}", met),
        _row("wake_conflicts_a_day", ours, "wakes", None, None, "pack by memory alone", pack),
        _row(
            "wake_conflicts_a_day_beside_spread", ours, "wakes", None, None, "spread by memory alone", spread
        ),
        _row("wakes_a_day", round(wakes / SEEDS, 1), "wakes", None, None),
    ]


def _row(
    name: str,
    value: float,
    unit: str,
    target: str | None,
    met: bool | None,
    baseline: str | None = None,
    baseline_value: float | None = None,
) -> dict[str, Any]:
    fixed = {"name": name, "value": value, "unit": unit, "target": target, "met": met}
    return {**fixed, "baseline": baseline, "baseline_value": baseline_value}


def measure() -> list[dict[str, Any]]:
    """For `bench.run`."""
    return rows(lambda text: print(text, file=sys.stderr))
