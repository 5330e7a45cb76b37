"""From the engines of an earlier revision to those of the pool as it is now, so that requests notice nothing.

One new engine at a time is started beside the old ones. An old one stops once a new one stands in for it: sleepers
first, then awake ones, drained, and only while enough others are awake. Where a new one waits for room for `surge_s`, one
old engine makes way. Old ones serve, sleep and wake like any other until then; after `BACK_AFTER` failures in a row of
the new revision none makes way any more, those that are lost are made anew (`goback.py`), and new ones are only tried, one
at a time, with the pause of a failed pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ingle_core.warmpool.facts import Engine, Failures, PoolWish, State
from ingle_core.warmpool.past import Past

BACK_AFTER: Final = 3
UP: Final = frozenset({State.AWAKE, State.SLEEPING, State.ASLEEP, State.WAKING})
_COMING = frozenset({State.PENDING, State.STARTING})


@dataclass(frozen=True)
class Rollout:
    """`engines`: those that neither stop nor have ended. `want`: to be awake; `stay`: of those awake, not to be put to
    sleep, ≥ `want`; `keep`: to have at all; `remembered`: whether old ones can be made anew."""

    wish: PoolWish
    engines: Sequence[Engine]
    want: int
    stay: int
    keep: int
    failures: Failures
    remembered: bool = False

    @property
    def olds(self) -> list[Engine]:
        return [e for e in self.engines if not self.wish.current(e)]

    @property
    def goes_back(self) -> bool:
        """Whether the new revision has failed so often that the old one stays."""
        return (bool(self.olds) or self.remembered) and self.failures.count >= BACK_AFTER

    @property
    def coming(self) -> list[Engine]:
        return [e for e in self.engines if self.wish.current(e) and e.state in _COMING]

    def awake(self) -> list[Engine]:
        return [e for e in self.engines if e.state is State.AWAKE and e.answers and e.gate_open]

    def ends(self) -> list[Engine]:
        """Old ones that can go: not up yet, or replaced."""
        unborn = [e for e in self.olds if e.state in _COMING and not e.in_flight and not self.goes_back]
        up = [e for e in self.engines if e.state in UP and (e.answers or not self.wish.current(e))]
        replaced = min(len(up) - self.keep, sum(self.wish.current(e) for e in up))
        awake = len(self.awake())
        ended: list[Engine] = []
        for engine in self._in_turn(up):
            serves = engine in self.awake()
            if len(ended) >= replaced or (serves and awake <= self.stay):
                continue
            ended.append(engine)
            awake -= serves
        return unborn + ended

    def makes_way(self, past: Past, stopping: bool, now_s: float) -> Engine | None:
        """The old one that goes before a new one is there, None: none has to, or none may."""
        waits = [e for e in self.engines if self.wish.current(e) and self.is_short(e, now_s)]
        paused = stopping or now_s - past.made_way_at_s < self.wish.surge_s
        if paused or self.goes_back:
            return None
        up = [e for e in self.engines if e.state in UP]
        for engine in self._in_turn(up):
            enough = len(self.awake()) >= self.want if engine.state is State.AWAKE else len(up) >= self.keep
            helps = any(e.state is State.PENDING or set(e.gpus) & set(engine.gpus) for e in waits)
            if enough and helps:
                return engine
        return None

    def surges(self) -> bool:
        """Whether one more of the new ones has to be awake before an old one can go."""
        awake = self.awake()
        old, new = (sum(self.wish.current(e) is current for e in awake) for current in (False, True))
        under_way = self.coming or any(self.wish.current(e) and e.state is State.WAKING for e in self.engines)
        return old > 0 and new < self.stay and not under_way

    def _in_turn(self, up: Sequence[Engine]) -> list[Engine]:
        """Old ones in the order in which they go: the same whoever has requests at the moment."""
        old = (e for e in up if not self.wish.current(e) and e.state in (State.AWAKE, State.ASLEEP))
        return sorted(old, key=lambda e: (e.state is State.AWAKE and e.answers, e.since_s, e.uid))

    def is_short(self, engine: Engine, now_s: float) -> bool:
        """Of room on GPUs: where a pod waits for anything else, no end of an old engine would help."""
        return (
            engine.state in (State.PENDING, State.ASLEEP)
            and now_s - engine.short_since_s >= self.wish.surge_s
        )
