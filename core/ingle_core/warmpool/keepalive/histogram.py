"""Per pool, from its own idle times: let go at once, make ready before the next use is likely, keep until it is unlikely.

    prewarm a minute before P5 of the idle times × 0.9, keep until P99 × 1.1 (minutes, rounded outwards); a prewarm of
    less than two minutes means kept from the last use on

Fixed keep-alive instead while it does not represent the pool: fewer than `FEWEST` idle times, half of them longer than four
hours (out of bounds), or a coefficient of variation of the bins' counts below 2 (no peak). Source: Shahrad et al.,
"Serverless in the Wild", USENIX ATC 2020, §4.2; for pools mostly out of bounds they forecast with ARIMA, we do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from ingle_core.warmpool.keepalive.facts import Keep, Pool, Remembered
from ingle_core.warmpool.keepalive.idletimes import MINUTE_S, MINUTES, IdleTimes

HEAD_PERCENT: Final = 5.0
TAIL_PERCENT: Final = 99.0
MARGIN: Final = 0.1
FEWEST: Final = 5
OUT_OF_BOUNDS_MOST: Final = 0.5
VARIATION_LEAST: Final = 2.0


@dataclass(slots=True)
class _Seen:
    used_at_s: float
    times: IdleTimes = field(default_factory=IdleTimes)


class Histogram:
    """`fallback_s`: keep-alive of a pool whose idle times say nothing yet. Uses in the same minute are one."""

    def __init__(self, fallback_s: float = 600.0) -> None:
        self._fallback_s = fallback_s
        self._seen: Remembered[_Seen] = Remembered()

    def used(self, pool: Pool, now_s: float) -> None:
        seen = self._seen.get(pool.name) or _Seen(now_s)
        idle_s = now_s - seen.used_at_s
        if idle_s > MINUTE_S:
            seen.times.note(idle_s)
        seen.used_at_s = now_s
        self._seen.put(pool.name, seen)

    def evicted(self, pool: Pool, now_s: float) -> None:
        pass

    def keep(self, pool: Pool, now_s: float) -> Keep:
        seen = self._seen.get(pool.name)
        if seen is None:
            return Keep(math.inf, math.inf, "never used")
        at_s, window = seen.used_at_s, window_minutes(seen.times)
        if window is None:
            return Keep(at_s, at_s + self._fallback_s, "its idle times show no pattern")
        head, tail = window
        return Keep(at_s + head * MINUTE_S, at_s + tail * MINUTE_S, f"comes back after {head} to {tail} min")

    def worth(self, pool: Pool, now_s: float) -> float:
        """1 / (1 + seconds since its last use)."""
        seen = self._seen.get(pool.name)
        return 0.0 if seen is None else 1.0 / (1.0 + max(0.0, now_s - seen.used_at_s))

    def state(self) -> dict[str, Any]:
        return {name: [seen.used_at_s, seen.times.state()] for name, seen in self._seen.items()}

    def load(self, state: dict[str, Any]) -> None:
        for name, (at_s, times) in state.items():
            seen = _Seen(float(at_s))
            seen.times.load(times)
            self._seen.put(name, seen)


def window_minutes(times: IdleTimes) -> tuple[int, int] | None:
    """(prewarm, keep until) in whole minutes after the last use; None where the histogram does not represent the pool."""
    counts, all_of_them = times.counts[:MINUTES], times.counts.sum()
    within = counts.sum()
    if all_of_them < FEWEST or within < (1 - OUT_OF_BOUNDS_MOST) * all_of_them:
        return None
    if counts.std() < VARIATION_LEAST * counts.mean():
        return None
    below = np.cumsum(counts)
    head = int(np.searchsorted(below, within * HEAD_PERCENT / 100))
    tail = int(np.searchsorted(below, within * TAIL_PERCENT / 100))
    prewarm = math.floor(head * (1 - MARGIN)) - 1
    return (0 if prewarm < 2 else prewarm), math.ceil((tail + 1) * (1 + MARGIN))
