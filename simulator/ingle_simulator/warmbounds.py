"""What no strategy can beat, with the future known: Belady's bound for slots, and the cheapest idle gaps for room."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
