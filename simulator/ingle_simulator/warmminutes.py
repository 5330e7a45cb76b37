"""Containers that apps need minute by minute, through a keep-alive strategy. Room has no limit, only a price. Simulated.

The n-th container of an app is a thing of its own: used in a minute in which more than n are needed. In each minute the
strategy says first which are warm, then the minute shows which were needed: needed beyond warm is a cold start, and
max(warm, needed) × size is what it took. Starts and stops take no time, and no room of their own but for `prewarm_min`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ingle_core.warmpool.keepalive import ExpectedUse, Pool, Strategy, next_price
from ingle_simulator.functions import App

MINUTE_S: Final = 60.0
Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Minutes:
    """By minute: cold starts, GB × min taken, and containers made ready before they were needed."""

    cold: list[int]
    gb_min: list[float]
    prewarms: list[int]

    def total(self, since: int = 0) -> tuple[int, float]:
        """From minute `since` on."""
        return sum(self.cold[since:]), sum(self.gb_min[since:])


def replay(
    strategy: Strategy,
    apps: Sequence[App],
    budget_gb: float | None = None,
    prewarm_min: float = 0.0,
    progress: Progress = lambda done, total: None,
) -> Minutes:
    """`budget_gb`: room that may be taken on average; only for ExpectedUse, whose price follows it.

    `prewarm_min`: minutes of room that each prewarm takes beyond those in which it is warm.
    """
    minutes = min((len(app.needed) for app in apps), default=0)
    pools = [[Pool(f"{app.name}/{n}", size=app.size_gb) for n in range(max(app.needed))] for app in apps]
    known = [0] * len(apps)  # containers ever needed: the strategy has seen no more
    held = [0] * len(apps)
    found = Minutes([], [], [])
    for minute in range(minutes):
        now_s, cold, gb, made = minute * MINUTE_S, 0, 0.0, 0
        warm = [
            sum(strategy.keep(pool, now_s).at(now_s) for pool in pools[i][: known[i]])
            for i in range(len(apps))
        ]
        for i, app in enumerate(apps):
            needed = app.needed[minute]
            cold += max(0, needed - warm[i])
            anew = max(0, warm[i] - held[i])
            made += anew
            held[i] = max(needed, warm[i])
            gb += (held[i] + anew * prewarm_min) * app.size_gb
            for pool in pools[i][:needed]:
                strategy.used(pool, now_s)
            known[i] = max(known[i], needed)
        found.cold.append(cold)
        found.gb_min.append(gb)
        found.prewarms.append(made)
        if budget_gb is not None and isinstance(strategy, ExpectedUse):
            strategy.price = next_price(strategy.price, gb, budget_gb)
        progress(minute + 1, minutes)
    return found
