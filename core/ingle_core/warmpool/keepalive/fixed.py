"""The same keep-alive for all: what an idle pool costs is known before, and nothing has to be learned.

    warm from the last use for keep_s; the longest unused gives way (LRU)

Source: the default of Knative, Azure Functions (20 min), OpenWhisk (10 min) and of `warm.idleSeconds` here.
"""

from __future__ import annotations

import math
from typing import Any

from ingle_core.warmpool.keepalive.facts import Keep, Pool, Remembered


class Fixed:
    """`keep_s`: seconds after the last use, inf for LRU alone."""

    def __init__(self, keep_s: float = 600.0) -> None:
        self._keep_s = keep_s
        self._used_at_s: Remembered[float] = Remembered()

    def used(self, pool: Pool, now_s: float) -> None:
        self._used_at_s.put(pool.name, now_s)

    def evicted(self, pool: Pool, now_s: float) -> None:
        pass

    def keep(self, pool: Pool, now_s: float) -> Keep:
        at_s = self._used_at_s.get(pool.name)
        if at_s is None:
            return Keep(math.inf, math.inf, "never used")
        return Keep(at_s, at_s + self._keep_s, f"kept for {self._keep_s:g} s after each use")

    def worth(self, pool: Pool, now_s: float) -> float:
        """1 / (1 + seconds since its last use)."""
        at_s = self._used_at_s.get(pool.name)
        return 0.0 if at_s is None else 1.0 / (1.0 + max(0.0, now_s - at_s))

    def state(self) -> dict[str, Any]:
        return {"used_at_s": dict(self._used_at_s.items())}

    def load(self, state: dict[str, Any]) -> None:
        for name, at_s in state["used_at_s"].items():
            self._used_at_s.put(name, float(at_s))
