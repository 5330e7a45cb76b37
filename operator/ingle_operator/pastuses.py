"""When pools were used before this process began, from Prometheus, so that keep-alive need not learn it anew."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from ingle_operator.demandhistory import MINUTES, Peaks
from ingle_operator.keepalives import KeepAlives

USES_MAX: Final = 2000
"""Minutes with load of one pool, the last: more would say little new, and take the process seconds."""


class Ask(NamedTuple):
    """A pool whose strategy has a memory. `replicas`: the most awake; `concurrency`: requests that one is meant for."""

    kind: str
    replicas: int
    concurrency: int


class Use(NamedTuple):
    """One minute in which load needed so many replicas."""

    at_s: float
    pool: str
    kind: str
    replicas: int


@dataclass
class PastUses:
    """`found`: peaks by pool, minute by minute before `now_s`, until all are there. `done`: they are learnt."""

    found: dict[str, tuple[float, Peaks]] = field(default_factory=dict)
    done: bool = False


def uses_of(pool: str, ask: Ask, now_s: float, peaks: Peaks) -> list[Use]:
    """The minutes with load, oldest first, at most `USES_MAX`; told in the middle of each, as it might have been live."""
    last = now_s // MINUTES.step_s
    places = np.flatnonzero(np.nan_to_num(peaks) > 0)[-USES_MAX:]
    return [
        Use(
            float((last - len(peaks) + place + 0.5) * MINUTES.step_s),
            pool,
            ask.kind,
            min(ask.replicas, -int(-peaks[place] // ask.concurrency)),
        )
        for place in places.tolist()
    ]


def learnt(price_s: float, asks: Mapping[str, Ask], found: Mapping[str, tuple[float, Peaks]]) -> KeepAlives:
    """Strategies that have heard of all these uses in the order of time. For thousands of pools that takes seconds."""
    keepalives = KeepAlives(price_s)
    pools = (uses_of(pool, ask, *found[pool]) for pool, ask in asks.items() if pool in found)
    for use in _in_order(pools):
        keepalives.used(use.kind, use.pool, use.replicas, use.at_s)
    return keepalives


def _in_order(pools: Iterable[list[Use]]) -> Iterator[Use]:
    return heapq.merge(*pools)
