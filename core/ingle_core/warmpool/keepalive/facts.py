"""What a keep-alive strategy is asked about, and what it answers. All times are seconds on one clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

POOLS_MAX: Final = 4096
"""Pools a strategy remembers; beyond that the one longest unused is forgotten."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pool:
    """One thing that is kept warm or not: a pool, or the n-th replica of one (`name/n`, wanted when load needs > n).

    `cost`: what a start costs, in seconds of waiting (1 where every cold start counts the same). `size`: room it takes
    while kept, in one unit for all (GiB, GPUs, slots). Both above 0.
    """

    name: str
    cost: float = 1.0
    size: float = 1.0


@dataclass(frozen=True, slots=True)
class Keep:
    """Warm from `from_s` on, until before `until_s`; inf: never, or as long as there is room.

    now before `from_s`: let it go, and make it ready by then (a prewarm). Ask again after `until_s`.
    """

    from_s: float
    until_s: float
    reason: str

    def at(self, now_s: float) -> bool:
        """Whether it should be warm now."""
        return self.from_s <= now_s < self.until_s


class Strategy(Protocol):
    """Sees only what has been: `used` and `evicted` in the order of time. Asking changes nothing.

    `used` is told when there is load, at each request or, where it lasts, at one pace. `plan` takes what `keep` says as
    the time for which a replica is held, and wakes it in a prewarm. Where several pools want one GPU, `worth` orders
    their idle engines, and `evicted` tells the strategy who went. Floors (`min`, `asleep`) and dwells stay with `plan`.
    """

    def used(self, pool: Pool, now_s: float) -> None: ...
    def evicted(self, pool: Pool, now_s: float) -> None: ...

    def keep(self, pool: Pool, now_s: float) -> Keep:
        """When it should be warm, as far as no request comes before."""

    def worth(self, pool: Pool, now_s: float) -> float:
        """Of keeping it rather than another, ≥ 0: the lowest goes first. Compare only values of one moment."""

    def state(self) -> dict[str, Any]:
        """All that it remembers, as JSON; `load` of a new one takes it."""

    def load(self, state: dict[str, Any]) -> None: ...


def first_to_go(strategy: Strategy, pools: Iterable[Pool], now_s: float) -> list[Pool]:
    """The idle ones in the order in which they give way."""
    return sorted(pools, key=lambda pool: (strategy.worth(pool, now_s), pool.name))


class Remembered(Generic[T]):
    """Facts by pool name, in order of use, at most `most` of them."""

    def __init__(self, most: int = POOLS_MAX) -> None:
        self._most = most
        self._facts: dict[str, T] = {}

    def get(self, name: str) -> T | None:
        return self._facts.get(name)

    def put(self, name: str, fact: T) -> None:
        """Makes it the latest."""
        self._facts.pop(name, None)
        self._facts[name] = fact
        if len(self._facts) > self._most:
            del self._facts[next(iter(self._facts))]

    def __len__(self) -> int:
        return len(self._facts)

    def items(self) -> Iterator[tuple[str, T]]:
        """The longest unused first."""
        return iter(self._facts.items())
