"""The keep-alive strategies of this process: fed with each pool's load, asked for its plan and when room is short.

All of it can be lost: a pool of which nothing is known is kept for its idleSeconds, and what Prometheus knows of the time
before is learnt again (`reconcile/pastuses.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from ingle_core.warmpool.keepalive import ExpectedUse, GreedyDual, Histogram, Keep, Pool, Strategy
from ingle_core.warmpool.keepalive.facts import Remembered
from ingle_core.warmpool.kept import Kept
from ingle_kit.objects import InferencePoolSpec, Variant
from ingle_operator.roomfacts import LOAD_S, WAKE_S

if TYPE_CHECKING:  # the world keeps them
    from ingle_operator.world import World

PACE_S: Final = 60.0
"""Load that lasts counts as a use so often: the idle times that strategies learn from are longer."""
REPLICAS_MAX: Final = 16
"""Replicas of one pool that strategies know apart; those above are kept for idleSeconds."""
TELL_WORTH: Final = frozenset({"GreedyDual", "ExpectedUse"})


class _Answer(NamedTuple):
    """What a strategy said after the last use: a pool is looked at far more often than that changes."""

    used_at_s: float
    asked_at_s: float
    keep: Keep

    def holds(self, now_s: float) -> bool:
        return now_s < self.keep.until_s and now_s - self.asked_at_s < PACE_S


class KeepAlives:
    """One strategy of each kind for all pools that ask for it. `price_s`: as the setting keep_price_s."""

    def __init__(self, price_s: float) -> None:
        self.price_s = price_s
        self._strategies: dict[str, Strategy] = {
            "Histogram": Histogram(0.0),  # where it knows nothing idleSeconds holds
            "GreedyDual": GreedyDual(),
            "ExpectedUse": ExpectedUse(price_s),
        }
        self._used_at_s: dict[str, Remembered[float]] = {kind: Remembered() for kind in self._strategies}
        self._answers: dict[str, Remembered[_Answer]] = {kind: Remembered() for kind in self._strategies}

    def used(self, kind: str, pool: str, replicas: int, now_s: float) -> None:
        """The pool's load needs so many replicas now; told at any pace, counted at `PACE_S`."""
        strategy = self._strategies.get(kind)
        for n in range(min(replicas, REPLICAS_MAX) if strategy else 0):
            name, known = _name(pool, n), self._used_at_s[kind]
            before_s = known.get(name)
            if strategy is not None and (before_s is None or now_s - before_s >= PACE_S):
                strategy.used(Pool(name), now_s)
                known.put(name, now_s)

    def caught_up(self, later: KeepAlives) -> KeepAlives:
        """This one, with the last use of each replica that `later` has seen. `later` began when this one ends, or before."""
        for kind, strategy in self._strategies.items():
            known = self._used_at_s[kind]
            for name, at_s in sorted(later._used_at_s[kind].items(), key=lambda one: (one[1], one[0])):
                before_s = known.get(name)
                if before_s is None or at_s > before_s:
                    strategy.used(Pool(name), at_s)
                    known.put(name, at_s)
        return self

    def evicted(self, kind: str, pool: str, number: int, now_s: float) -> None:
        """A replica gives way to another pool."""
        if kind in self._strategies:
            self._strategies[kind].evicted(Pool(_name(pool, number)), now_s)

    def keeps(
        self, kind: str, pool: str, replicas: int, cost_s: float, size_gib: float, now_s: float
    ) -> list[Kept]:
        """What is known of the first replicas of a pool, none where `kind` needs no memory."""
        strategy, found = self._strategies.get(kind), []
        for n in range(min(replicas, REPLICAS_MAX) if strategy else 0):
            used_at_s = self._used_at_s[kind].get(_name(pool, n))
            if strategy is None or used_at_s is None:
                break
            asked = Pool(_name(pool, n), cost_s, size_gib)
            answer = self._answers[kind].get(asked.name)
            if answer is None or answer.used_at_s != used_at_s or not answer.holds(now_s):
                answer = _Answer(used_at_s, now_s, strategy.keep(asked, now_s))
                self._answers[kind].put(asked.name, answer)
            found.append(Kept(used_at_s, answer.keep, cost_s))
        return found

    def worth(self, kind: str, pool: str, number: int, now_s: float) -> float | None:
        """Of a replica, by its uses alone: seconds and MiB are known where room is made. None: `kind` does not tell."""
        if kind not in TELL_WORTH:
            return None
        return self._strategies[kind].worth(Pool(_name(pool, number)), now_s)


def _name(pool: str, number: int) -> str:
    return f"{pool}/{number}"


def note(world: World, pool: str, spec: InferencePoolSpec, now_s: float) -> None:
    """Tells the pool's strategy of its load; what routers have not told is no use."""
    mine = [p for d in world.demands() for p in d.pools if p.pool == pool]
    load = sum(p.waiting + p.in_flight for p in mine)
    replicas = min(spec.replicas.max, -(-load // max(1, spec.scaling.concurrency)))
    world.keepalives.used(spec.warm.keep_alive, pool, replicas, now_s)


def keeps(
    world: World, pool: str, spec: InferencePoolSpec, variant: Variant, uids: Sequence[str], now_s: float
) -> list[Kept]:
    """For the pool's plan. A start costs the wake where a sleeper is kept, else the whole load, as last measured."""
    known, default_s = (world.notes.wake_ms, WAKE_S) if spec.warm.asleep else (world.notes.start_ms, LOAD_S)
    cost_s = max((known[uid] / 1000 for uid in uids if uid in known), default=default_s)
    size_gib = variant.gpus * variant.memory_mib.awake / 1024
    kind = spec.warm.keep_alive
    return world.keepalives.keeps(
        kind, pool, spec.replicas.max, max(cost_s, 0.001), max(size_gib, 0.001), now_s
    )


def evicted(world: World, pool: str, number: int, now_s: float) -> None:
    """One of the pool's replicas gives way."""
    namespace, _, name = pool.partition("/")
    stored = world.pools.store.get((namespace, name))
    spec = world.spec_of(stored) if stored is not None else None
    if spec is not None:
        world.keepalives.evicted(spec.warm.keep_alive, pool, number, now_s)
