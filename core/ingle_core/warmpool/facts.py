"""What is known of one pool and its engines when a decision is made. All times are seconds on one clock."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """The ledger's word for what an engine is doing; `Pending` and `Ended` have no claim."""

    PENDING = "Pending"
    STARTING = "Starting"
    AWAKE = "Awake"
    SLEEPING = "Sleeping"
    ASLEEP = "Asleep"
    WAKING = "Waking"
    STOPPING = "Stopping"
    ENDED = "Ended"


SERVING_SOON = frozenset({State.PENDING, State.STARTING, State.AWAKE, State.WAKING})


@dataclass(frozen=True)
class Engine:
    """One replica. `since_s`: when it entered `state`. `busy_at_s`: when it last had a request.

    `answers` False: it has not passed its readiness probe for a while. `wakeable` False: its node takes no wakes now.
    `makes_room`: why it had better sleep although its pool could keep it awake.
    `leaving`: its node drains, or its GPU is not ours any more, so a sleeper moves. `short_since_s`: since when it waits
    for room on a GPU, inf while it does not. `surplus`: why its node would be better off without this sleeper.
    `gate_open`: routers may pick it. `gpus`: their UUIDs, empty before it is placed.
    """

    uid: str
    state: State
    since_s: float
    revision: str = ""
    variant: str = ""
    in_flight: int = 0
    busy_at_s: float = 0.0
    answers: bool = True
    wakeable: bool = True
    leaving: bool = False
    short_since_s: float = math.inf
    surplus: str = ""
    gate_open: bool = True
    gpus: tuple[str, ...] = ()
    makes_room: str = ""


@dataclass(frozen=True)
class PoolWish:
    """What the pool's owner asks for. `fixed` (from /scale) replaces the count that demand would give.

    New engines get `revision`; those of `also` (other variants of the same pool as it is now) are as good. `desired`
    replaces ceil(load / concurrency) where a caller knows better, and `desired_lately`, the most of it over the last
    `idle_s`, ceil(peak / concurrency). `ahead`: replicas wanted awake whatever the load is
    now (a prewarm, a forecast); it only ever adds, `ahead_reason` says why. `dwell_s`: an awake count that was lowered and
    raised again is lowered no sooner than four of them after it was lowered last. `surge_s`: how long a new engine may
    wait for room beside an old one before the old one makes way for it. `spare`: an engine that starts can stay without
    its model until somebody asks for it.
    """

    min_awake: int
    max_awake: int
    asleep: int
    idle_s: float
    concurrency: int
    revision: str
    variant: str
    fixed: int | None = None
    also: frozenset[str] = frozenset()
    desired: int | None = None
    desired_lately: int | None = None
    ahead: int = 0
    ahead_reason: str = ""
    dwell_s: float = 0.0
    surge_s: float = 30.0
    spare: bool = False

    def current(self, engine: Engine) -> bool:
        """Whether the engine is as the pool is now."""
        return engine.revision == self.revision or engine.revision in self.also


@dataclass(frozen=True)
class Demand:
    """Requests of all routers together. `peak`: the most at once over the pool's last `idle_s`."""

    waiting: int = 0
    in_flight: int = 0
    peak: int = 0


@dataclass(frozen=True)
class Failures:
    """Engines of this pool that failed in a row, and when the last one did. `revision`: theirs, empty: not known."""

    count: int = 0
    at_s: float = 0.0
    revision: str = ""

    def of(self, wish: PoolWish) -> Failures:
        """Those of the pool as it is now: what an earlier revision did is no reason to wait."""
        mine = self.revision in ("", wish.revision) or self.revision in wish.also
        return self if mine else Failures()
