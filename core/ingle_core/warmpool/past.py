"""What a pool's earlier plans did, as far as the next one has to know: so that none goes back and forth."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Past:
    """`turned_down_at_s`: when the awake count was last lowered after it had been raised. `lowers`: nothing has raised it
    since. `made_way_at_s`: when an old engine last stopped because a new one had no room beside it.
    """

    turned_down_at_s: float = -math.inf
    lowers: bool = False
    made_way_at_s: float = -math.inf

    def may_lower(self, dwell_s: float, now_s: float) -> bool:
        """Raising is never delayed, so lowering waits for both: two reversals take four dwells at the least."""
        return self.lowers or now_s - self.turned_down_at_s >= 4 * dwell_s

    def after(self, *, raised: bool, lowered: bool, made_way: bool, now_s: float) -> Past:
        """With what a plan has just decided."""
        new = self
        if raised and not lowered:
            new = replace(new, lowers=False)
        elif lowered and not raised and not self.lowers:
            new = replace(new, lowers=True, turned_down_at_s=now_s)
        return replace(new, made_way_at_s=now_s) if made_way else new


NOTHING_YET = Past()
