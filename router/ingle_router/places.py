"""Places in the waiting room: who waits for which pool, bounded by count and bytes."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from ingle_core.routing import Request


@dataclass(slots=True)
class Place:
    """One held request. The ticket is its only key: random, known to this process and its waiting room."""

    ticket: str
    request: Request
    pool: str
    stream: bool
    size_bytes: int
    since_s: float
    until_s: float
    heartbeat_s: float
    waiting: bool = True
    closed: bool = False
    outcome: str = "gone"
    held_s: float | None = None


class Places:
    """The places taken now. `on_change` hears of every new waiter and of every one who left."""

    def __init__(self, count_max: int, bytes_max: int, on_change: Callable[[str], None]) -> None:
        self._count_max, self._bytes_max, self._on_change = count_max, bytes_max, on_change
        self._places: dict[str, Place] = {}
        self._bytes = 0
        self._waiting: Counter[str] = Counter()

    def take(
        self,
        request: Request,
        pool: str,
        *,
        stream: bool,
        size_bytes: int,
        now_s: float,
        limit_s: float,
        heartbeat_s: float,
    ) -> Place | None:
        """A place for at most `limit_s` seconds; None where the room as a whole is full."""
        if len(self._places) >= self._count_max or self._bytes + size_bytes > self._bytes_max:
            return None
        ticket = secrets.token_urlsafe(24)
        place = Place(ticket, request, pool, stream, size_bytes, now_s, now_s + limit_s, heartbeat_s)
        self._places[ticket] = place
        self._bytes += size_bytes
        self._waiting[pool] += 1
        self._on_change(pool)
        return place

    def find(self, ticket: str) -> Place | None:
        return self._places.get(ticket)

    def wait(self, place: Place, pool: str) -> None:
        """It waits (again), for `pool`."""
        if place.closed or (place.waiting and place.pool == pool):
            return
        self.leave(place)
        place.pool, place.waiting = pool, True
        self._waiting[pool] += 1
        self._on_change(pool)

    def leave(self, place: Place) -> None:
        """It waits no more: it is being served, or it is over."""
        if place.waiting:
            place.waiting = False
            self._waiting[place.pool] -= 1
            self._on_change(place.pool)

    def close(self, place: Place) -> bool:
        """Gives the place back; False where that was done before."""
        if place.closed:
            return False
        self.leave(place)
        place.closed = True
        del self._places[place.ticket]
        self._bytes -= place.size_bytes
        return True

    def waiting(self, pool: str) -> int:
        return self._waiting[pool]

    def oldest_s(self) -> dict[str, float]:
        """When the longest waiting request of each pool came."""
        oldest: dict[str, float] = {}
        for place in self._places.values():
            if place.waiting:
                oldest[place.pool] = min(place.since_s, oldest.get(place.pool, place.since_s))
        return oldest

    def __len__(self) -> int:
        return len(self._places)
