"""What no strategy can beat, with the future known: Belady's bound for slots, and the cheapest idle gaps for room."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import pairwise

from ingle_simulator.functions import App


def belady_misses(models: Sequence[str], slots: int) -> int:
    """Fewest loads on demand when each request takes no time: the one used furthest ahead gives way."""
    following, next_use = [math.inf] * len(models), dict[str, float]()
    for number in range(len(models) - 1, -1, -1):
        following[number] = next_use.get(models[number], math.inf)
        next_use[models[number]] = number
    held: dict[str, float] = {}
    misses = 0
    for model, ahead in zip(models, following, strict=True):
        if model not in held:
            misses += 1
            if len(held) >= slots:
                del held[max(held, key=held.__getitem__)]
        held[model] = ahead
    return misses


def least_wait_s(models: Sequence[str], load_s: Mapping[str, float], slots: int, percentile: float) -> float:
    """No less can be the percentile of waits, of all requests, where models load on demand; `load_s` by model, above 0.

    If all slots held only models that load for t or longer, and the future were known, still more than so many requests
    would wait for one of them: the longest such t, 0 where there is none.
    """
    most = len(models) - math.ceil(len(models) * percentile / 100)
    times_s = sorted(set(load_s.values()), reverse=True)

    def too_many(t_s: float) -> bool:
        return belady_misses([model for model in models if load_s[model] >= t_s], slots) > most

    first = bisect_left(times_s, True, key=too_many)
    return times_s[first] if first < len(times_s) else 0.0


def fewest_cold_starts(apps: Sequence[App], budget_gb_min: float) -> int:
    """Fewest cold starts without prewarming within a budget: keeps through the gaps that take least room."""
    gaps: list[float] = []
    first = 0
    spent = 0.0
    for app in apps:
        spent += sum(app.needed) * app.size_gb
        for n in range(max(app.needed)):
            used = [minute for minute, needed in enumerate(app.needed) if needed > n]
            first += 1
            gaps += [(b - a - 1) * app.size_gb for a, b in pairwise(used)]
    kept = 0
    for gap in sorted(gaps):
        spent += gap
        if spent > budget_gb_min:
            break
        kept += 1
    return first + len(gaps) - kept
