"""How many replicas keep-alive holds awake, and how many it wants made ready before anybody asks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ingle_core.warmpool.keepalive.facts import Keep
from ingle_core.warmpool.prewarm import Ahead


@dataclass(frozen=True)
class Kept:
    """What keep-alive says of one replica, when load last needed it, and how long it takes to make it ready."""

    used_at_s: float
    keep: Keep
    lead_s: float = 0.0

    @property
    def from_s(self) -> float:
        """When a wake has to begin for it to be warm in time; the last use where it is not let go."""
        return max(self.used_at_s, self.keep.from_s - self.lead_s)

    def at(self, now_s: float) -> bool:
        """Whether it is to be awake, or on its way there."""
        return self.from_s <= now_s < self.keep.until_s

    def prewarm(self, now_s: float) -> bool:
        """It was let go after its last use, and is to be warm again."""
        return self.at(now_s) and self.from_s > self.used_at_s


def held(keeps: Sequence[Kept], now_s: float) -> int:
    """Awake replicas not to be put to sleep: up to the last one that is to be warm. `keeps[n]`: of the n-th, from 0."""
    return max((n + 1 for n, one in enumerate(keeps) if one.at(now_s)), default=0)


def ahead(keeps: Sequence[Kept], now_s: float) -> Ahead:
    """Replicas to wake before their next use."""
    due = [n for n, one in enumerate(keeps) if one.prewarm(now_s)]
    return Ahead(due[-1] + 1, f"prewarm: {keeps[due[-1]].keep.reason}") if due else Ahead()


def again_in_s(keeps: Sequence[Kept], now_s: float) -> float:
    """Until the next of them is to be warm; inf: none."""
    return min((one.from_s - now_s for one in keeps if one.from_s > now_s), default=math.inf)
