"""When a pool that has no awake engine could answer, from what its status says of its engines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ingle_core.routing.facts import Pool, Warmth
from ingle_core.warmpool.tiers import SLEEP_L1, WAKE_L1, WAKE_L2, WAKE_SPARE

WAKE_L1_S = WAKE_L1.cost_s
WAKE_L2_S = WAKE_L2.cost_s
SLEEP_S = SLEEP_L1.cost_s
START_S = 120.0
"""Taken where an engine has not been measured yet; a start from nothing also waits for a node and its image."""
RETRY_AFTER_S = 5
RETRY_AFTER_MAX_S = 30


class Readiness(NamedTuple):
    """Comparable: less is sooner. `tier` tells equals apart: awake 0, waking 1, asleep 2 and 3, starting 4,
    spare 5, cold 6."""

    in_s: float
    tier: int
    word: str


AWAKE = Readiness(0.0, 0, "awake")


def readiness(pool: Pool, now_s: float) -> Readiness:
    """The soonest of the pool's engines; a start from nothing where it has none. Awake ones are not looked at:
    whether they can be picked is known better from the pods."""
    start_s = max((e.start_s for e in pool.engines if e.start_s is not None), default=START_S)
    return min((*_each(pool.engines, start_s, now_s), Readiness(start_s, 6, "cold")))


def _each(engines: Sequence[Warmth], start_s: float, now_s: float) -> list[Readiness]:
    found = []
    for engine in engines:
        if engine.state == "Waking":
            found.append(Readiness(_left_s(_wake_s(engine, WAKE_L1_S), engine, now_s), 1, "waking"))
        elif engine.state in (
            "AsleepL1",
            "Awake",
        ):  # awake, but nobody can be sent there: about to sleep, or to open
            found.append(Readiness(_wake_s(engine, WAKE_L1_S), 2, "asleep"))
        elif engine.state == "Sleeping":
            rest_s = _left_s(SLEEP_S, engine, now_s)
            found.append(Readiness(rest_s + _wake_s(engine, WAKE_L1_S), 2, "falling asleep"))
        elif engine.state == "AsleepL2":
            found.append(Readiness(_wake_s(engine, WAKE_L2_S), 3, "asleep, its weights dropped"))
        elif engine.state == "Spare":
            found.append(Readiness(_wake_s(engine, WAKE_SPARE.cost_s), 5, "a launcher without a model"))
        elif engine.state == "Starting":
            whole_s = start_s if engine.start_s is None else engine.start_s
            found.append(Readiness(_left_s(whole_s, engine, now_s), 4, "starting"))
    return found


def _wake_s(engine: Warmth, otherwise_s: float) -> float:
    return otherwise_s if engine.wake_s is None else engine.wake_s


def _left_s(whole_s: float, engine: Warmth, now_s: float) -> float:
    """What is left of a move. One that is overdue may never end, so it counts as one that begins now."""
    left_s = whole_s - max(0.0, now_s - engine.since_s)
    return left_s if left_s > 0 else whole_s


def retry_after_s(pool: Pool, now_s: float) -> int:
    """Whole seconds after which it makes sense to try again, 1 to 30: when an engine under way should be there."""
    under_way = min((r for r in _each(pool.engines, START_S, now_s) if r.tier in (1, 4)), default=None)
    if under_way is None:
        return RETRY_AFTER_S
    return max(1, min(RETRY_AFTER_MAX_S, math.ceil(under_way.in_s)))
