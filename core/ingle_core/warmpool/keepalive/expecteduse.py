"""Keeps what will probably be used soon, as far as that is worth its room: both when and whom.

When, for a pool idle for a while: minute by minute, from the chance of a use in it (`chances`),

    warm in a minute when chance × cost ≥ price × size × (1 − chance)

Keeping through a minute takes its room if no use comes, and saves a start if one does. So a pool with a period is let go
and made ready in time, and one without is kept as long as its hazard is worth the price. Were letting go and making ready
free, deciding each minute alone would be the optimum; as they are not, it is not let go for less than `hole_s`.

Whom to evict, by uses to come rather than by uses ever:

    worth = rate × √(chance of a use within 15 min) × cost / size
    rate  = Σ over τ in 8, 64, 512, 4096, 32768 of its uses, each weighing e^(−uses of all pools since / τ), / τ

The rate counts time in uses of all pools, so that quiet nights age nothing; the five τ together fall about as 1 / age. Own
work from known parts: several decayed counts as in LRFU (Lee et al., IEEE ToC 2001), rate over age as in hyperbolic caching
(Blankstein et al., ATC 2017), hazard against room as in LHD (Beckmann et al., NSDI 2018), idle-time histograms as in Shahrad
et al. (ATC 2020).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingle_core.warmpool.keepalive.chances import chance_within, chances, chances_of_all
from ingle_core.warmpool.keepalive.facts import Keep, Pool, Remembered
from ingle_core.warmpool.keepalive.idletimes import BINS, ENDS_S, MINUTE_S, STARTS_S, IdleTimes, bin_of

HORIZON_S: Final = 900.0
CHANCE_POWER: Final = 0.5
HOLE_S: Final = 120.0
FADE: Final = 1 / 512
"""A pool's idle times of long ago weigh little once 500 more are known."""
SPANS: Final[NDArray[np.float64]] = np.array([8.0, 64.0, 512.0, 4096.0, 32768.0])
"""τ in uses of all pools."""
WIDTHS_MIN: Final[NDArray[np.float64]] = (ENDS_S - STARTS_S) / MINUTE_S


@dataclass(slots=True)
class _Seen:
    used_at_s: float
    at_use: int
    rates: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(SPANS)))
    times: IdleTimes = field(default_factory=lambda: IdleTimes(FADE))


class ExpectedUse:
    """`price`: what a minute of one unit of room costs, in the unit of a pool's `cost`; 0: all stay while there is room.

    It may be changed at any time; `next_price` lets it follow a budget.
    """

    def __init__(self, price: float = 0.0, hole_s: float = HOLE_S) -> None:
        self.price = price
        self._hole_s = hole_s
        self._uses = 0
        self._all = IdleTimes(FADE / 16)
        self._of_all: NDArray[np.float64] | None = None
        self._seen: Remembered[_Seen] = Remembered()

    def used(self, pool: Pool, now_s: float) -> None:
        seen = self._seen.get(pool.name)
        if seen is None:
            seen = _Seen(now_s, self._uses)
        else:
            seen.times.note(now_s - seen.used_at_s)
            self._all.note(now_s - seen.used_at_s)
            self._of_all = None
        seen.rates = seen.rates * np.exp((seen.at_use - self._uses) / SPANS) + 1.0
        seen.used_at_s, seen.at_use = now_s, self._uses
        self._uses += 1
        self._seen.put(pool.name, seen)

    def evicted(self, pool: Pool, now_s: float) -> None:
        pass

    def keep(self, pool: Pool, now_s: float) -> Keep:
        seen = self._seen.get(pool.name)
        if seen is None:
            return Keep(math.inf, math.inf, "never used")
        if self.price <= 0:
            return Keep(seen.used_at_s, math.inf, "kept while there is room")
        chance = self._chances(seen)
        wanted = chance * pool.cost >= self.price * pool.size * WIDTHS_MIN * (1 - chance)
        first, after = _stretch(np.flatnonzero(wanted), bin_of(now_s - seen.used_at_s), self._hole_s)
        if first is None:
            return Keep(math.inf, math.inf, "no use is likely enough to be worth its room")
        return Keep(
            seen.used_at_s + float(STARTS_S[first]),
            seen.used_at_s + (float(STARTS_S[after]) if after < BINS else math.inf),
            f"a use is likely enough, {chance[first:after].max():.0%} in its best minute",
        )

    def worth(self, pool: Pool, now_s: float) -> float:
        seen = self._seen.get(pool.name)
        if seen is None:
            return 0.0
        rate = float((seen.rates * np.exp((seen.at_use - self._uses) / SPANS) / SPANS).sum())
        chance = chance_within(self._chances(seen), max(0.0, now_s - seen.used_at_s), HORIZON_S)
        return float(rate * chance**CHANCE_POWER * pool.cost / pool.size)

    def _chances(self, seen: _Seen) -> NDArray[np.float64]:
        if self._of_all is None:
            self._of_all = chances_of_all(self._all)
        return chances(seen.times, self._of_all)

    def state(self) -> dict[str, Any]:
        pools = {
            name: [seen.used_at_s, seen.at_use, seen.rates.tolist(), seen.times.state()]
            for name, seen in self._seen.items()
        }
        return {"price": self.price, "uses": self._uses, "all": self._all.state(), "pools": pools}

    def load(self, state: dict[str, Any]) -> None:
        self.price, self._uses, self._of_all = float(state["price"]), int(state["uses"]), None
        self._all.load(state["all"])
        for name, (at_s, at_use, rates, times) in state["pools"].items():
            seen = _Seen(float(at_s), int(at_use), np.array(rates, dtype=np.float64))
            seen.times.load(times)
            self._seen.put(name, seen)


def _stretch(wanted: NDArray[np.intp], now_bin: int, hole_s: float) -> tuple[int | None, int]:
    """(first bin, bin after the last) of the stretch that goes on now or comes next; small holes do not end one.

    The last use begins the first stretch. None: no more comes.
    """
    first, after = 0, 0
    for number in wanted.tolist():
        if STARTS_S[number] - STARTS_S[after] > hole_s:
            if after > now_bin:
                break
            first = number
        after = number + 1
        if after == BINS:
            break
    return (first, after) if after > now_bin else (None, after)


def next_price(price: float, used: float, budget: float, gain: float = 0.02) -> float:
    """The price that brings the room in use to the budget (same unit): dearer when over it, cheaper when under.

    price × e^(gain × (used / budget − 1)), one step at most a tenth either way. `price` and `budget` above 0.
    """
    return price * math.exp(max(-0.1, min(0.1, gain * (used / budget - 1.0))))
