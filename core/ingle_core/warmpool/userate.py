"""How often a pool is used: times per second at which load comes after none, those of late weighing more."""

from __future__ import annotations

import math
from typing import Final

GAP_S: Final = 5.0
"""Load that comes back sooner belongs to the same use: an engine would hardly have slept between."""
HALF_LIFE_S: Final = 1800.0
SILENCE_MAX: Final = 3.0
"""So many mean times between uses may pass in silence (e⁻³ = 5 % of a Poisson process); after that the rate was another."""
SEEN_LEAST_S: Final = 1.0


class UseRate:
    """Uses of one pool, seen since `since_s`. Times are seconds on one clock; those that go backwards count as no time."""

    def __init__(self, since_s: float) -> None:
        self._since_s = self._at_s = since_s
        self._uses = 0.0
        self._load = 0
        self._ended_s = -math.inf

    def note(self, load: int, at_s: float) -> None:
        """The load is `load` from `at_s` on."""
        if load and not self._load and at_s - self._ended_s >= GAP_S:
            self._uses = self._uses_at(at_s) + 1.0
            self._at_s = max(self._at_s, at_s)
        elif self._load and not load:
            self._ended_s = at_s
        self._load = load

    def per_s(self, at_s: float, idle_s: float) -> float:
        """min((uses + 1) ÷ seconds seen, 3 ÷ `idle_s`), uses and seconds halved every 30 min.

        One use more than were seen: what is expected after so many of a Poisson process of which nothing was known (an even
        prior over its rate; Laplace's rule of succession), so one that was never used counts for little and not for nothing.
        `idle_s`: since the engine's last request.
        """
        seen_s = (1.0 - _left(at_s - self._since_s)) * HALF_LIFE_S / math.log(2)
        rate = (self._uses_at(at_s) + 1.0) / max(SEEN_LEAST_S, seen_s)
        return min(rate, SILENCE_MAX / max(SEEN_LEAST_S, idle_s))

    def _uses_at(self, at_s: float) -> float:
        return self._uses * _left(at_s - self._at_s)


def _left(seconds: float) -> float:
    """What counts of something so long ago."""
    return float(0.5 ** (max(0.0, seconds) / HALF_LIFE_S))
