"""Whose turn it is once an engine is awake: not all at once, and tenants in turn."""

from __future__ import annotations

import asyncio
from collections import Counter

from ingle_router.cluster import Cluster
from ingle_router.places import Place, Places


class Releases:
    """Lets held requests go, so many for each awake engine until one of them is answered or `settle_s` have passed.

    The engine itself queues what it cannot run yet; this only keeps the order of arrival there fair, and the engine and
    Envoy from getting hundreds of connections in one instant. Requests that find an engine awake do not stand in line,
    and do not count: a line moves by at least `each` / `settle_s` requests a second and engine whatever else comes.
    """

    def __init__(self, places: Places, cluster: Cluster, each: int, settle_s: float) -> None:
        self._places, self._cluster, self._each, self._settle_s = places, cluster, each, settle_s
        self._on_the_way: dict[str, tuple[str, asyncio.TimerHandle]] = {}
        self._count: Counter[str] = Counter()

    def go(self, pool: str) -> None:
        """Gives as many turns as there are now."""
        able = sum(endpoint.pickable for endpoint in self._cluster[pool].endpoints)
        while self._count[pool] < able * self._each and (place := self._places.turn(pool)) is not None:
            timer = asyncio.get_running_loop().call_later(self._settle_s, self._settle, place.ticket)
            self._on_the_way[place.ticket] = (pool, timer)
            self._count[pool] += 1

    def settled(self, place: Place) -> None:
        """It was answered, waits again or is gone; nothing where its turn is over anyway."""
        self._settle(place.ticket)

    def _settle(self, ticket: str) -> None:
        pool, timer = self._on_the_way.pop(ticket, ("", None))
        if timer is None:
            return
        timer.cancel()
        self._count[pool] -= 1
        if not self._count[pool]:
            del self._count[pool]
        self.go(pool)

    def __len__(self) -> int:
        return len(self._on_the_way)
