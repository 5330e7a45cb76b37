"""Pools as placement sees them, and the context that follows from all of them together.

The mix of typical asks is made of every variant of every pool:

    weight(variant) = engines(pool) ÷ variants(pool),  engines = the most that `warmpool.plan` ever keeps of the pool

An engine asks for its awake memory once, when it starts, so each one that a pool may have is one ask. How often pools
will start engines nobody knows, and how many run now says nothing about the asks to come. Which variant is started
depends on nodes that are looked at elsewhere, so each counts alike. Only specs count: a mix that followed the load
would be another one at every look, and `ingle whatif` could not foretell it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from typing import Final

import msgspec

from ingle_core.placement.ask import Ask, AskMemory
from ingle_core.placement.conflict import Conflicts
from ingle_core.placement.context import Context
from ingle_core.placement.fragmentation import Fragmentation
from ingle_core.placement.loads import Profile
from ingle_core.placement.mix import AskClass, Mix, mix_of_weights

MIX_S_A_NODE: Final = 0.0002
"""Many pools change together: a new mix at most once in so long for each node, some twenty times what it costs: a second
where there are 5 000. The first change after that counts at once."""
AHEAD_MOST: Final = 256
"""Fewer than what `Conflicts` and `Fragmentation` keep, so that none of these is lost to questions in between."""
MIB_MOST: Final = 1 << 30
GPUS_MOST: Final = 64
WHOLE: Final = 720_720
"""Weight of one engine: divisible by every number of variants up to 16, so that weights are exact."""


class VariantFacts(msgspec.Struct, frozen=True, rename={"awake_mib": "awakeMiB", "asleep_mib": "asleepMiB"}):
    """One way to run a pool's model: MiB on each of its GPUs; no products: any."""

    awake_mib: int
    asleep_mib: int = 0
    gpus: int = 1
    products: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field, value, most in (("awakeMiB", self.awake_mib, MIB_MOST), ("gpus", self.gpus, GPUS_MOST)):
            if not 1 <= value <= most:
                raise ValueError(f"variant: {field} must be from 1 to {most}, not {value}")


class PoolFacts(msgspec.Struct, frozen=True):
    """`engines`: the most it may have at once. `percent`: when it is wanted, as `Profile` has it; empty: not known."""

    variants: tuple[VariantFacts, ...] = ()
    engines: int = 0
    percent: tuple[int, ...] = ()

    def profile(self) -> Profile | None:
        """A sleeper's variant is not in the ledger: of several, the one that needs most awake counts."""
        if not self.percent or not self.variants:
            return None
        largest = max(self.variants, key=lambda variant: variant.awake_mib)
        return Profile(largest.awake_mib, min(largest.asleep_mib, largest.awake_mib), self.percent)

    def weights(self) -> Counter[AskClass]:
        """What it may ask for, by how much of the mix, in parts of `WHOLE`."""
        found: Counter[AskClass] = Counter()
        for one in self.variants if self.engines > 0 else ():
            products = tuple(sorted(set(one.products)))
            found[AskClass(one.awake_mib, one.gpus, products)] += self.engines * WHOLE // len(self.variants)
        return found


NO_FACTS: Final = PoolFacts()


class Pools:
    """What is known of all pools, and the context made of it. Not thread-safe.

    Hand the context of the same one to each `rank` over the same columns. `now_s`: of a clock that only goes forward.
    """

    def __init__(self) -> None:
        self.conflicts = Conflicts()
        self._facts: dict[str, PoolFacts] = {}
        self._weights: Counter[AskClass] = Counter()
        self._mix: Mix | None = None  # of all that is known, which may be newer than what is ranked by
        self._mix_known = True
        self._asks: list[Ask] | None = None
        self._live: Fragmentation | None = None
        self._trial: Fragmentation | None = None
        self._tried: tuple[str, PoolFacts, Mix | None] | None = None
        self._mixed_at_s = float("-inf")

    def learn(self, pool: str, facts: PoolFacts | None) -> None:
        """The pool (namespace/name) is like this from now on; None: it is gone. ValueError: its profile cannot be."""
        old, new = self._facts.get(pool, NO_FACTS), facts or NO_FACTS
        self.conflicts.learn(pool, new.profile())
        if facts is None:
            self._facts.pop(pool, None)
        else:
            self._facts[pool] = facts
        less, more = old.weights(), new.weights()
        if less != more:
            self._weights.subtract(less)
            self._weights.update(more)
            self._weights = +self._weights
            self._mix_known, self._asks, self._tried = False, None, None

    def context(self, now_s: float) -> Context:
        """By the mix of now, or one not older than `MIX_S_A_NODE` says; without any where no pool asks for GPUs."""
        mix, live = self._newest(), self._live
        pause_s = MIX_S_A_NODE * live.rows if live is not None else 0.0
        if mix != (live.mix if live is not None else None) and now_s - self._mixed_at_s >= pause_s:
            self._mixed_at_s = now_s
            self._live = self._by(mix)
        return Context(fragmentation=self._live, conflicts=self.conflicts)

    def context_if(self, pool: str, facts: PoolFacts, now_s: float) -> Context:
        """As if the pool were like this, as it will be once it is made; its profile stays as it is known."""
        context = self.context(now_s)
        if self._tried is None or self._tried[:2] != (pool, facts):
            weights = Counter(self._weights)
            weights.subtract(self._facts.get(pool, NO_FACTS).weights())
            weights.update(facts.weights())
            self._tried = pool, facts, _mix(+weights)
        self._trial = self._by(self._tried[2])
        return replace(context, fragmentation=self._trial)

    def asks(self) -> list[Ask]:
        """What engines of the largest pools ask for, the largest first, as many as are worth working out ahead."""
        if self._asks is None:
            largest = sorted(self._facts.items(), key=lambda item: (-item[1].engines, item[0]))
            asks = (
                Ask(AskMemory(one.awake_mib, one.asleep_mib), pool, gpus=one.gpus, products=one.products)
                for pool, facts in largest
                if facts.engines > 0
                for one in facts.variants
            )
            self._asks = list(islice(asks, AHEAD_MOST))
        return self._asks

    def _newest(self) -> Mix | None:
        if not self._mix_known:
            self._mix, self._mix_known = _mix(self._weights), True
        return self._mix

    def _by(self, mix: Mix | None) -> Fragmentation | None:
        """One that was asked before and has its figures already, else a new one."""
        for known in (self._live, self._trial):
            if known is not None and known.mix == mix:
                return known
        return None if mix is None else Fragmentation(mix)


def pools_of(known: Iterable[tuple[str, PoolFacts]]) -> Pools:
    """All of these pools, by namespace/name."""
    pools = Pools()
    for name, facts in known:
        pools.learn(name, facts)
    return pools


def _mix(weights: Counter[AskClass]) -> Mix | None:
    """Whatever order the pools were learnt in, the mix is the same."""
    ordered = sorted(weights.items(), key=lambda item: (item[0].memory_mib, item[0].gpus, item[0].products))
    return mix_of_weights(dict(ordered))
