"""Requests to models that share GPUs on which not all fit awake, on a virtual clock, with every model's engine asleep or awake
all the time: the operator's own decisions say who wakes, who gives way and who sleeps ahead of need. Simulated.

`plan`, `make_room_for_wake`, `sleeps_ahead` and a keep-alive strategy of `core/` decide; here is what the operator's shells
do around them: a wake that has no room asks for it at once, again after `AGAIN_S` or when a neighbour becomes idle, and gets
it in the moment in which who gives way sleeps. Deciding, routing and ledger writes take no time. One engine of a GPU moves at
a time; one that is told to sleep or to wake does so to the end.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ingle_core.facts import GpuFacts, GpuNodeFacts
from ingle_core.placement.room import Outcome as Found
from ingle_core.placement.room import Room, Wake, make_room_for_wake
from ingle_core.warmpool.facts import Demand, Failures, PoolWish, State
from ingle_core.warmpool.facts import Engine as Planned
from ingle_core.warmpool.keepalive import Pool as Kept
from ingle_core.warmpool.keepalive import Strategy
from ingle_core.warmpool.kept import Kept as Held
from ingle_core.warmpool.plan import plan
from ingle_core.warmpool.wakeslot import WHY, Neighbour, sleeps_ahead
from ingle_simulator.sharedfacts import SETTLED, Engine, Model, neighbours, spare, tenants

AHEAD_EVERY_S: Final = 3.0
AGAIN_S: Final = 2.0
COUNTED_EVERY_S: Final = 60.0
"""A pool's strategy is told of its load once in so long."""
GB_MIB: Final = 1024
NEVER_S: Final = math.inf


@dataclass(frozen=True, slots=True)
class Ask:
    """A request: `busy_s` is how long it keeps its engine busy once served."""

    at_s: float
    model: str
    busy_s: float


@dataclass(frozen=True, slots=True)
class Site:
    """`gpus_mib`: what each GPU can give. `idle_s`: as a pool's warm.idleSeconds."""

    gpus_mib: Mapping[str, int]
    models: Sequence[Model]
    idle_s: float = 30.0
    dwell_s: float = 30.0
    ahead: bool = True

    @property
    def turn_s(self) -> float:
        """A pool's dwell."""
        return min(self.dwell_s, self.idle_s / 4)


@dataclass(slots=True)
class Waits:
    """`waits_s`: of every request until its engine was awake, 0 where it was. `wakes`, `ahead`: wakes, sleeps ahead of need."""

    waits_s: list[float]
    wakes: int = 0
    ahead: int = 0

    @property
    def held_s(self) -> list[float]:
        """Of those that waited."""
        return [wait for wait in self.waits_s if wait > 0]


def replay(strategy: Strategy, asks: Sequence[Ask], site: Site) -> Waits:
    """Requests in order of time. What is decided at t knows nothing of later ones. Ends when all were served."""
    world = _World(strategy, asks, site)
    world.run()
    return world.waits


class _World:
    """Events are (time, order, what to do)."""

    def __init__(self, strategy: Strategy, asks: Sequence[Ask], site: Site) -> None:
        self._strategy, self._asks, self._site = strategy, asks, site
        self._engines = {model.name: Engine(model) for model in site.models}
        self._on: defaultdict[str, list[Engine]] = defaultdict(list)
        for engine in self._engines.values():
            self._on[engine.model.gpu].append(engine)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._made = 0
        self._now_s = 0.0
        self.waits = Waits([0.0] * len(asks))

    def run(self) -> None:
        for number, ask in enumerate(self._asks):
            self._at(ask.at_s, lambda number=number: self._arrive(number))  # type: ignore[misc]
        if self._site.ahead and self._asks:
            self._at(0.0, self._look_ahead)
        while self._events:
            self._now_s, _, act = heapq.heappop(self._events)
            act()

    def _at(self, at_s: float, act: Callable[[], None]) -> None:
        self._made += 1
        heapq.heappush(self._events, (at_s, self._made, act))

    def _arrive(self, number: int) -> None:
        engine = self._engines[self._asks[number].model]
        if engine.state is State.AWAKE:
            self._serve(engine, number)
        else:
            engine.waiting.append(number)
        if self._now_s - engine.used_at_s >= COUNTED_EVERY_S:
            engine.used_at_s = self._now_s
            self._strategy.used(Kept(engine.name), self._now_s)
        self._loaded(engine)
        self._plan(engine)

    def _loaded(self, engine: Engine) -> None:
        engine.loaded_at_s = self._now_s
        engine.uses.note(engine.load, self._now_s)

    def _serve(self, engine: Engine, number: int) -> None:
        ask = self._asks[number]
        self.waits.waits_s[number] = self._now_s - ask.at_s
        engine.in_flight += 1
        engine.busy_at_s = self._now_s
        self._at(self._now_s + ask.busy_s, lambda: self._served(engine))

    def _served(self, engine: Engine) -> None:
        engine.in_flight -= 1
        self._loaded(engine)
        if engine.in_flight:
            engine.busy_at_s = self._now_s
        self._plan(engine)
        if not engine.load:
            self._look_again(engine.model.gpu, max(self._now_s, engine.idle_from_s))

    def _look_again(self, gpu: str, at_s: float) -> None:
        """For room for those on the GPU that found none."""
        for other in self._on[gpu]:
            other.again_s = min(other.again_s, at_s)
        self._at(at_s, lambda: self._make_room(gpu))

    def _plan(self, engine: Engine) -> None:
        """The pool's plan, and what it asks for as far as that can be done now."""
        site, now_s = self._site, self._now_s
        wish = PoolWish(0, 1, 1, site.idle_s, 64, "", "", dwell_s=site.turn_s)
        facts = Planned(
            engine.name,
            engine.state,
            engine.since_s,
            in_flight=engine.in_flight,
            busy_at_s=max(engine.busy_at_s, engine.since_s),
            makes_room=engine.makes_room,
        )
        lately = now_s - engine.loaded_at_s < site.idle_s
        demand = Demand(len(engine.waiting), engine.in_flight, max(engine.load, int(lately)))
        found = plan(wish, [facts], demand, Failures(), now_s, self._held(engine), engine.past)
        engine.past, engine.wanted = found.past, found.wanted_awake
        goal = found.goals.get(engine.name, (None, ""))[0]
        if engine.for_whom:
            goal = State.ASLEEP
        if goal is State.AWAKE and engine.state is State.ASLEEP and engine.short_since_s > now_s:
            self._wake(engine)
        elif goal is State.ASLEEP and engine.state is State.AWAKE and not engine.in_flight:
            self._sleep(engine)

    def _held(self, engine: Engine) -> list[Held]:
        model = engine.model
        if engine.used_at_s < 0:
            return []
        asked = Kept(model.name, model.wake_s, model.awake_mib / GB_MIB)
        return [Held(engine.used_at_s, self._strategy.keep(asked, self._now_s), model.wake_s)]

    def _moves(self, gpu: str) -> bool:
        return any(other.state not in SETTLED for other in self._on[gpu])

    def _left_mib(self, gpu: str) -> int:
        return self._site.gpus_mib[gpu] - sum(other.charged_mib for other in self._on[gpu])

    def _wake(self, engine: Engine) -> None:
        """Now where there is room; else it waits until there is."""
        gpu, model = engine.model.gpu, engine.model
        if self._moves(gpu):
            return  # all are planned again when that has ended
        if self._left_mib(gpu) < model.awake_mib - model.asleep_mib:
            engine.short_since_s = engine.again_s = self._now_s
            self._make_room(gpu)
            return
        engine.short_since_s = NEVER_S
        self.waits.wakes += 1
        self._move(engine, State.WAKING, State.AWAKE, model.wake_s)

    def _sleep(self, engine: Engine) -> None:
        self._move(engine, State.SLEEPING, State.ASLEEP, engine.model.sleep_s)

    def _move(self, engine: Engine, through: State, to: State, seconds: float) -> None:
        engine.state, engine.since_s = through, self._now_s
        self._at(self._now_s + seconds, lambda: self._moved(engine, to))

    def _moved(self, engine: Engine, to: State) -> None:
        engine.state, engine.since_s, engine.for_whom = to, self._now_s, ""
        if to is State.AWAKE:
            for number in engine.waiting:
                self._serve(engine, number)
            engine.waiting = []
        gpu = engine.model.gpu
        self._look_again(gpu, self._now_s)
        self._make_room(gpu)  # who waits for this room comes before who has just left it
        for other in self._on[gpu]:
            self._plan(other)

    def _make_room(self, gpu: str) -> None:
        """For those on the GPU that wait for it, the first one first."""
        short = [e for e in self._on[gpu] if e.short_since_s <= self._now_s and e.again_s <= self._now_s]
        for engine in sorted(short, key=lambda e: (e.short_since_s, e.name)):
            if not self._moves(gpu):
                self._make_room_for(engine)

    def _make_room_for(self, engine: Engine) -> None:
        gpu, here = engine.model.gpu, self._on[engine.model.gpu]
        room = self._room(engine)
        if room.outcome is Found.FITS:
            engine.short_since_s = NEVER_S
            self._wake(engine)
        elif room.outcome is Found.VICTIMS:
            for victim in room.victims:
                self._strategy.evicted(Kept(victim.uid), self._now_s)
                self._engines[victim.uid].for_whom = engine.name
                self._plan(self._engines[victim.uid])
        else:
            idle_s = min(
                (e.idle_from_s for e in here if e.idle_from_s > self._now_s), default=self._now_s + AGAIN_S
            )
            engine.again_s = min(idle_s, self._now_s + AGAIN_S)
            self._at(engine.again_s, lambda: self._make_room(gpu))

    def _room(self, engine: Engine) -> Room:
        model, here = engine.model, self._on[engine.model.gpu]
        facts = GpuNodeFacts(
            (GpuFacts(model.gpu, "", self._site.gpus_mib[model.gpu], self._left_mib(model.gpu)),)
        )
        wake = Wake(model.name, "", (model.gpu,), model.awake_mib - model.asleep_mib, 0)
        everybody = tenants(list(self._engines.values()), self._strategy, self._now_s)
        mine = [one for one in everybody if model.gpu in one.gpus]
        return make_room_for_wake(wake, facts, mine, spare(here))

    def _look_ahead(self) -> None:
        """Who sleeps ahead of need: at most one of each node, found anew each time."""
        engines, now_s = list(self._engines.values()), self._now_s
        known = tenants(engines, self._strategy, now_s)
        may = {pool: one.awake for pool, one in spare(engines).items()}
        seen: defaultdict[str, list[Neighbour]] = defaultdict(list)
        for engine, one in zip(engines, neighbours(engines, known, self._site.turn_s, now_s), strict=True):
            seen[engine.model.node].append(one)
        found = (sleeps_ahead(self._site.gpus_mib, here, may) for here in seen.values())
        chosen = {one.uid for one in found if one is not None}
        for engine in engines:
            before, engine.makes_room = engine.makes_room, WHY if engine.name in chosen else ""
            if engine.makes_room:
                if not before:
                    self._strategy.evicted(Kept(engine.name), now_s)
                self._plan(engine)
                self.waits.ahead += engine.state is State.SLEEPING
        if now_s < self._asks[-1].at_s:
            self._at(now_s + AHEAD_EVERY_S, self._look_ahead)
