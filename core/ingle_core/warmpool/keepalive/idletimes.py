"""Times between two uses, counted in bins: one minute wide up to four hours, then each 1.35 times as wide, to a week."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

MINUTE_S: Final = 60.0
MINUTES: Final = 240
WIDER: Final = 13
GROWTH: Final = 1.35
STARTS_S: Final[NDArray[np.float64]] = np.concatenate(
    [MINUTE_S * np.arange(MINUTES), MINUTE_S * MINUTES * GROWTH ** np.arange(WIDER)]
)
"""Where each bin begins; the last has no end."""
ENDS_S: Final[NDArray[np.float64]] = np.append(STARTS_S[1:], np.inf)
BINS: Final = len(STARTS_S)


def bin_of(idle_s: float) -> int:
    """The bin of an idle time; below 0 is the first."""
    minute = int(max(0.0, idle_s) // MINUTE_S)
    return minute if minute < MINUTES else int(np.searchsorted(STARTS_S, idle_s, "right")) - 1


class IdleTimes:
    """Counts of one pool. `fade`: each new one counts, and all before it weigh 1 − fade of what they did."""

    def __init__(self, fade: float = 0.0) -> None:
        self._fade = fade
        self.counts: NDArray[np.float64] = np.zeros(BINS)

    def note(self, idle_s: float) -> None:
        if self._fade:
            self.counts *= 1.0 - self._fade
        self.counts[bin_of(idle_s)] += 1.0

    def reached(self) -> NDArray[np.float64]:
        """How many idle times got as far as each bin."""
        return np.cumsum(self.counts[::-1])[::-1]

    def state(self) -> list[list[float]]:
        """[bin, count] of those that are not empty."""
        return [[int(i), float(self.counts[i])] for i in np.flatnonzero(self.counts)]

    def load(self, state: list[list[float]]) -> None:
        for i, count in state:
            self.counts[int(i)] = count
