"""Places in the waiting room: who waits for which pool, bounded by count and bytes, shared fairly by tenant."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ingle_core.routing import Hold, Refuse, Request
from ingle_core.routing.tenants import Line, displaced

GOING_PART = 8
"""Those who were told to go still take memory until they are gone: at most one part in so many beyond the bounds."""


@dataclass(slots=True, eq=False)
class Place:
    """One held request. The ticket is its only key: random, known to this process and its waiting room.

    `waiting`: it is told as demand; `released`: its turn has come; `refusal`: what it is told instead.
    """

    ticket: str
    request: Request
    tenant: str
    pool: str
    stream: bool
    size_bytes: int
    since_s: float
    until_s: float
    heartbeat_s: float
    waiting: bool = True
    released: bool = False
    held: bool = True
    closed: bool = False
    refusal: Refuse | None = None
    outcome: str = "gone"
    code: str = ""
    held_s: float | None = None
    stir: asyncio.Event = field(default_factory=asyncio.Event)

    async def stirred(self, timeout_s: float) -> None:
        """Returns when something changed for it, or after `timeout_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(timeout_s, 0)):
                await self.stir.wait()
        self.stir.clear()


class Places:
    """The places taken now. `on_change` hears of every new waiter and of every one who left a pool.

    A place is held until its request is answered, or it gave way; the bounds are on held ones. Those that gave way
    and are not gone yet may take one eighth more.
    """

    def __init__(
        self, count_max: int, bytes_max: int, on_change: Callable[[str], None], gave_way: Refuse
    ) -> None:
        self._count_max, self._bytes_max = count_max, bytes_max
        self._on_change, self._gave_way = on_change, gave_way
        self._places: dict[str, Place] = {}
        self._held, self._bytes = Counter[str](), Counter[str]()
        self._held_count = self._held_bytes = 0
        self._going: dict[str, int] = {}
        self._waiting: Counter[str] = Counter()
        self._all = Line()
        self._lines: defaultdict[str, Line] = defaultdict(Line)

    def take(
        self,
        request: Request,
        hold: Hold,
        tenant: str,
        *,
        stream: bool,
        size_bytes: int,
        now_s: float,
        heartbeat_s: float,
    ) -> Place | None:
        """A place for at most `hold.limit_s` seconds; None where the room as a whole is full and nobody has to give way."""
        going = self._who_goes(hold, tenant, size_bytes)
        if going is None:
            return None
        for place in going:
            self.dismiss(place, self._gave_way)
        ticket = secrets.token_urlsafe(24)
        until_s = now_s + hold.limit_s
        place = Place(ticket, request, tenant, hold.pool, stream, size_bytes, now_s, until_s, heartbeat_s)
        self._places[ticket] = place
        self._hold(place, 1)
        self._waiting[hold.pool] += 1
        self._line_up(place, again=False)
        self._on_change(hold.pool)
        return place

    def _who_goes(self, hold: Hold, tenant: str, size_bytes: int) -> list[Place] | None:
        """Whoever must give way for the newcomer; None where it is the newcomer who cannot stay."""
        going: list[Place] = []
        if hold.displaces is not None:
            line = self._lines.get(hold.pool)
            ticket = next(line.newest(hold.displaces), None) if line is not None else None
            if ticket is None:
                return None
            going.append(self._places[ticket])
        freed_bytes = sum(place.size_bytes for place in going)
        over = self._held_bytes + size_bytes - freed_bytes - self._bytes_max
        by_bytes = self._displaced(tenant, size_bytes, over, self._bytes, lambda place: place.size_bytes)
        if by_bytes is None:
            return None
        going += [place for place in by_bytes if place not in going]
        over = self._held_count + 1 - len(going) - self._count_max
        by_count = self._displaced(tenant, 1, over, self._held, lambda place: 1)
        if by_count is None:
            return None
        going += [place for place in by_count if place not in going]
        return going if self._may_go(going) else None

    def _displaced(
        self, tenant: str, size: int, over: int, shares: Mapping[str, int], size_of: Callable[[Place], int]
    ) -> list[Place] | None:
        if over <= 0:
            return []
        waiting = self._all.shares
        holders = {name: share for name, share in shares.items() if name in waiting or name == tenant}

        def newest(name: str) -> Iterator[int]:
            return (size_of(self._places[ticket]) for ticket in self._all.newest(name))

        names = displaced(tenant, size, over, holders, newest)
        if names is None:
            return None
        tickets = {name: self._all.newest(name) for name in set(names)}
        return [self._places[next(tickets[name])] for name in names]

    def _may_go(self, going: list[Place]) -> bool:
        if not going or not self._going:
            return True
        count = len(self._going) + len(going)
        size_bytes = sum(self._going.values()) + sum(place.size_bytes for place in going)
        return count <= max(1, self._count_max // GOING_PART) and size_bytes <= self._bytes_max // GOING_PART

    def dismiss(self, place: Place, refusal: Refuse) -> None:
        """It is told this instead, as soon as it can be, unless it is answered already."""
        if place.closed or not place.held or place.refusal is not None:
            return
        place.refusal = refusal
        self.leave(place)
        self._let_go(place)
        self._going[place.ticket] = place.size_bytes
        place.stir.set()

    def find(self, ticket: str) -> Place | None:
        return self._places.get(ticket)

    def wait(self, place: Place, pool: str) -> None:
        """It waits (again), for `pool`, and has no turn."""
        if place.closed or place.refusal is not None:
            return
        if place.waiting and not place.released and place.pool == pool:
            return
        if place.pool != pool or not place.waiting:
            self.leave(place)
            place.pool, place.waiting = pool, True
            self._waiting[pool] += 1
            self._on_change(pool)
        place.released = False
        self._line_up(place, again=True)

    def leave(self, place: Place) -> None:
        """It waits no more: it is being served, or it is over."""
        self._step_out(place)
        if place.waiting:
            place.waiting = False
            self._waiting[place.pool] -= 1
            if not self._waiting[place.pool]:
                del self._waiting[place.pool]
            self._on_change(place.pool)

    def turn(self, pool: str) -> Place | None:
        """Whoever is next to go on in this pool, tenants in turn; it counts as waiting until an engine takes it."""
        line = self._lines.get(pool)
        ticket = line.turn() if line is not None else None
        if ticket is None:
            return None
        place = self._places[ticket]
        self._step_out(place)
        place.released = True
        place.stir.set()
        return place

    def answered(self, place: Place) -> None:
        """Its body is needed no more: from now on it is a response under way like any other."""
        self._let_go(place)

    def close(self, place: Place) -> bool:
        """Gives the place back; False where that was done before."""
        if place.closed:
            return False
        self.leave(place)
        self._let_go(place)
        self._going.pop(place.ticket, None)
        place.closed = True
        del self._places[place.ticket]
        return True

    def stir(self) -> None:
        """Everybody who waits looks again."""
        for place in self._places.values():
            if place.waiting:
                place.stir.set()

    def waiting(self, pool: str) -> int:
        return self._waiting[pool]

    def shares(self, pool: str) -> Mapping[str, int]:
        """Of those in line for a pool, how many each tenant has."""
        line = self._lines.get(pool)
        return line.shares if line is not None else {}

    def pools(self) -> list[str]:
        """Pools for which somebody waits in line."""
        return list(self._lines)

    @property
    def held(self) -> int:
        """Requests that are held in memory, answers under way not counted."""
        return self._held_count + len(self._going)

    @property
    def held_bytes(self) -> int:
        return self._held_bytes + sum(self._going.values())

    def oldest_s(self) -> dict[str, float]:
        """When the longest waiting request of each pool came."""
        oldest: dict[str, float] = {}
        for place in self._places.values():
            if place.waiting:
                oldest[place.pool] = min(place.since_s, oldest.get(place.pool, place.since_s))
        return oldest

    def _line_up(self, place: Place, *, again: bool) -> None:
        self._lines[place.pool].join(place.ticket, place.tenant, again=again)
        self._all.join(place.ticket, place.tenant, again=again)

    def _step_out(self, place: Place) -> None:
        self._all.leave(place.ticket)
        line = self._lines.get(place.pool)
        if line is not None:
            line.leave(place.ticket)
            if not line:
                del self._lines[place.pool]

    def _let_go(self, place: Place) -> None:
        if place.held:
            place.held = False
            self._hold(place, -1)

    def _hold(self, place: Place, sign: int) -> None:
        self._held_count += sign
        self._held_bytes += sign * place.size_bytes
        self._held[place.tenant] += sign
        self._bytes[place.tenant] += sign * place.size_bytes
        if not self._held[place.tenant]:
            del self._held[place.tenant], self._bytes[place.tenant]

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places.values())

    def __len__(self) -> int:
        return len(self._places)
