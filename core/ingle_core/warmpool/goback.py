"""Engines of the revision that served last, made anew while that of now does not start.

An old engine that is lost is otherwise not replaced, since new engines get the revision of now. This brings back as many as
load wants, and as many as the pool keeps, from the spec that its status remembers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ingle_core.warmpool.facts import SERVING_SOON, Engine, PoolWish, State

LOST: Final = "the revision of now does not start, so the one before stands in"
_SLEEPERS: Final = frozenset({State.ASLEEP, State.SLEEPING})
_COMING: Final = frozenset({State.PENDING, State.STARTING})


def missing(wish: PoolWish, live: Sequence[Engine], want: int, keep: int) -> int:
    """How many to start of the revision before, ≥ 0. `live`: engines that neither stop nor have ended.

    New ones that are still coming do not count: they have failed before.
    """
    standing = [e for e in live if e.answers and not (wish.current(e) and e.state in _COMING)]
    soon = [e for e in standing if e.state in SERVING_SOON or (e.state in _SLEEPERS and e.wakeable)]
    return max(0, want - len(soon), keep - len(standing))
