"""How likely a use is at each idle time of a pool: its own idle times, read with what all pools show while they are few.

    all(bin)  = (idle times of all pools that ended in the bin + 0.02) / (that got so far + 1)
    own(bin)  = all(bin) × (own ended in the bin's group + 1) / (expected there by `all` + 1)
    chance    = (own ended in the bin + 10 × own(bin)) / (own that got so far + 10)

A group is a stretch of bins, each half as long again as the one before: it says how lively the pool is at that idle time. The
bin itself says more only once several idle times ended there: a period shows as a peak.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingle_core.warmpool.keepalive.idletimes import BINS, ENDS_S, MINUTES, STARTS_S, IdleTimes, bin_of

GROUP_PRIOR: Final = 1.0
BIN_PRIOR: Final = 10.0
CHANCE_MOST: Final = 0.95
GROUP_GROWTH: Final = 1.5


def _group_starts() -> NDArray[np.intp]:
    starts = [0, 1]
    while (following := max(starts[-1] + 1, int(starts[-1] * GROUP_GROWTH))) < MINUTES:
        starts.append(following)
    return np.array(starts + list(range(MINUTES, BINS)), dtype=np.intp)


GROUPS: Final = _group_starts()
GROUP_OF: Final = np.repeat(np.arange(len(GROUPS)), np.diff(np.append(GROUPS, BINS)))


def chances_of_all(times: IdleTimes) -> NDArray[np.float64]:
    """`all` above, by bin, in (0, 1)."""
    found: NDArray[np.float64] = (times.counts + 0.02) / (times.reached() + 1.0)
    return found


def chances(times: IdleTimes, of_all: NDArray[np.float64]) -> NDArray[np.float64]:
    """By bin: that a pool idle until then is used within the bin. In (0, 1)."""
    counts, reached = times.counts, times.reached()
    ended, expected = np.add.reduceat(counts, GROUPS), np.add.reduceat(reached * of_all, GROUPS)
    lively = ((ended + GROUP_PRIOR) / (expected + GROUP_PRIOR))[GROUP_OF]
    own = np.minimum(of_all * lively, CHANCE_MOST)
    found: NDArray[np.float64] = (counts + BIN_PRIOR * own) / (reached + BIN_PRIOR)
    return found


def chance_within(by_bin: NDArray[np.float64], idle_s: float, horizon_s: float) -> float:
    """That one idle for `idle_s` is used within `horizon_s`; within a bin the chance is spread evenly. In [0, 1)."""
    bins = slice(bin_of(idle_s), bin_of(idle_s + horizon_s) + 1)
    overlap_s = np.minimum(ENDS_S[bins], idle_s + horizon_s) - np.maximum(STARTS_S[bins], idle_s)
    share = overlap_s / (ENDS_S[bins] - STARTS_S[bins])
    return float(1.0 - np.exp((np.log1p(-by_bin[bins]) * share).sum()))
