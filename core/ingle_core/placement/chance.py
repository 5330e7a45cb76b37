"""How likely an engine that is idle is wanted again soon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

HOURS: Final = 24
HOUR_S: Final = 3600.0
HALF_LIFE_S: Final = 600.0


def chance_of_use(percent: Sequence[int], *, now_s: float, idle_s: float) -> float:
    """In [0, 1]. `percent`: by hour of the day (UTC) that in which its pool is wanted; anything but 24: not known.

    Known: the mean over the coming hour, ((1 − f) × percent now + f × percent of the next hour) ÷ 100, f being the
    fraction of this hour that is over at `now_s` (Unix seconds). Not known: ½ ^ (idle_s ÷ 600).
    """
    if len(percent) != HOURS:
        return float(0.5 ** (max(0.0, idle_s) / HALF_LIFE_S))
    hours, fraction = divmod(now_s / HOUR_S, 1.0)
    hour = int(hours) % HOURS
    return ((1.0 - fraction) * percent[hour] + fraction * percent[(hour + 1) % HOURS]) / 100


def by_worth(chances: Sequence[float], worths: Sequence[float]) -> list[float]:
    """The same chances, dealt anew: the n-th lowest goes to the n-th lowest worth; equal worths keep their order.

    So a keep-alive strategy decides who of its engines is wanted least, on the scale on which all are compared.
    """
    dealt = [0.0] * len(chances)
    order = sorted(range(len(worths)), key=lambda i: (worths[i], chances[i], i))
    for i, chance in zip(order, sorted(chances), strict=True):
        dealt[i] = chance
    return dealt
