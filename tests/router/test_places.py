"""The waiting room's bounds and counts, whatever happens to the places in it. Over Envoy: test_fairness.py."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ingle_core.routing import Caller, Hold, Refuse, Request
from ingle_router.places import GOING_PART, Place, Places

COUNT_MAX, BYTES_MAX = 8, 64
GAVE_WAY = Refuse(429, "waiting_room_full", "full", 5)
POOLS = st.sampled_from(("chat/a", "chat/b"))
TENANTS = st.sampled_from(("x", "y", "z"))
LUCK = st.randoms(use_true_random=False)


class Room(RuleBasedStateMachine):
    """Places as picker and waiting room use them, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.told: Counter[str] = Counter()
        self.places = Places(COUNT_MAX, BYTES_MAX, lambda pool: self.told.update([pool]), GAVE_WAY)
        self.open: list[Place] = []

    @rule(tenant=TENANTS, pool=POOLS, size_bytes=st.integers(0, BYTES_MAX + 1))
    def take(self, tenant: str, pool: str, size_bytes: int) -> None:
        shares = dict(self.places.shares(pool))
        request = Request(Caller(tenant), "m", "/v1/completions")
        hold = Hold(pool, 60.0, displaces=max(shares) if len(shares) > 2 else None)
        place = self.places.take(
            request, hold, tenant, stream=False, size_bytes=size_bytes, now_s=0.0, heartbeat_s=1.0
        )
        if place is not None:
            self.open.append(place)
        elif hold.displaces is None and not any(p.refusal and not p.closed for p in self.open):
            held = [p for p in self.open if p.held]
            assert len(held) == COUNT_MAX or sum(p.size_bytes for p in held) + size_bytes > BYTES_MAX

    @rule(pool=POOLS)
    def turn(self, pool: str) -> None:
        waits = any(self._in_line(p) and p.pool == pool for p in self.open)
        assert (self.places.turn(pool) is not None) == waits

    @rule(pool=POOLS, luck=LUCK)
    def wait(self, pool: str, luck: Any) -> None:
        if place := self._any(luck, lambda p: p.held):
            self.places.wait(place, pool)

    @rule(luck=LUCK)
    def picked(self, luck: Any) -> None:
        if place := self._any(luck, lambda p: p.released):
            self.places.leave(place)

    @rule(luck=LUCK)
    def answered(self, luck: Any) -> None:
        if place := self._any(luck, lambda p: not p.waiting):
            self.places.answered(place)

    @rule(luck=LUCK)
    def close(self, luck: Any) -> None:
        if place := self._any(luck, lambda p: True):
            assert self.places.close(place)
            assert not self.places.close(place)
            self.open.remove(place)

    @invariant()
    def bounds_hold(self) -> None:
        held = [p for p in self.open if p.held]
        going = [p for p in self.open if p.refusal is not None]
        assert len(held) <= COUNT_MAX
        assert sum(p.size_bytes for p in held) <= BYTES_MAX
        assert self.places.held == len(held) + len(going)
        assert self.places.held_bytes == sum(p.size_bytes for p in held + going)

    @invariant()
    def counts_are_those_of_the_places(self) -> None:
        assert len(self.places) == len(self.open)
        for pool in ("chat/a", "chat/b"):
            assert self.places.waiting(pool) == sum(p.waiting and p.pool == pool for p in self.open)
            line = Counter(p.tenant for p in self.open if self._in_line(p) and p.pool == pool)
            assert self.places.shares(pool) == line

    def teardown(self) -> None:
        for place in self.open:
            self.places.close(place)
        assert (self.places.held, self.places.held_bytes, self.places.pools()) == (0, 0, [])

    def _in_line(self, place: Place) -> bool:
        return place.waiting and not place.released

    def _any(self, luck: Any, fits: Any) -> Place | None:
        found = [p for p in self.open if fits(p)]
        return luck.choice(found) if found else None


Room.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestRoom = Room.TestCase


def test_those_who_gave_way_and_are_not_gone_are_few() -> None:
    places = Places(16, 1000, lambda pool: None, GAVE_WAY)

    def take(tenant: str) -> Place | None:
        request = Request(Caller(tenant), "m", "/v1/completions")
        return places.take(
            request, Hold("chat/a", 60.0), tenant, stream=False, size_bytes=1, now_s=0.0, heartbeat_s=1.0
        )

    first = [take("x") for _ in range(16)]
    assert None not in first
    newcomers = [take("y") for _ in range(16 // GOING_PART + 1)]
    assert [place is not None for place in newcomers] == [True, True, False]
    gone = [place for place in first if place is not None and place.refusal is not None]
    assert len(gone) == 2
    places.close(gone[0])
    assert take("y") is not None
