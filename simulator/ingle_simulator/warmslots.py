"""Requests to models that share GPU slots, on a virtual clock: the keep-alive strategies decide who stays. Simulated.

A slot holds one model, loading or awake. An awake one serves any number of requests at once; one that serves, or loads, never
gives way. A request for a model that is not awake starts it in a free slot, or in that of the idle model which the
strategy names first; where all are busy it waits for the first that is not. Those that come meanwhile join. With places
for sleepers, who gives way is put to sleep first (`sleep_s`), and wakes in `wake_s` instead of loading; stopping takes no time.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from ingle_core.warmpool.keepalive import Keep, Pool, Strategy, first_to_go

SLEEP_S: Final = 2.78
WAKE_S: Final = 2.87
"""Qwen3-Coder-30B on an A100, level 1 (`model-loading/vllm_sleep_mode_events.csv`): larger than an image model."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Request:
    """`exec_s`: how long it keeps its model busy once served."""

    at_s: float
    model: str
    exec_s: float


class Found(StrEnum):
    """How a request found its model."""

    AWAKE = "awake"
    STARTING = "starting"
    ASLEEP = "asleep"
    COLD = "cold"


@dataclass(frozen=True, slots=True)
class Room:
    """`slots` inf: as many as are wanted. `by_cost`: a cold start counts by its load time, else all count the same.

    With sleepers who leaves a slot costs a wake, which is alike for all: then only who stops counts by its load time.
    """

    slots: float = 8
    sleepers: int = 0
    by_cost: bool = False
    sleep_s: float = SLEEP_S
    wake_s: float = WAKE_S


@dataclass(slots=True)
class Outcome:
    """`found` and `waits_s` in the order of the requests. `gpu_s`: GPU seconds of all slots that held a model."""

    found: list[Found]
    waits_s: list[float]
    gpu_s: float = 0.0
    prewarms: int = 0

    def percent(self, *how: Found, since: int = 0) -> float:
        """% of requests, from number `since` on, that found their model so."""
        part = self.found[since:]
        return 100.0 * sum(found in how for found in part) / max(1, len(part))

    def wait_s(self, percentile: float) -> float:
        """The wait that so many % of all requests do not exceed, those without any included."""
        ordered = sorted(self.waits_s)
        return ordered[max(0, math.ceil(len(ordered) * percentile / 100) - 1)] if ordered else 0.0


@dataclass(slots=True)
class _Engine:
    since_s: float
    awake: bool = False
    in_flight: int = 0
    waiters: list[int] = field(default_factory=list)


def replay(
    strategy: Strategy,
    requests: Sequence[Request],
    load_s: Mapping[str, float],
    room: Room = Room(),
    progress: Progress = lambda done, total: None,
) -> Outcome:
    """Requests in order of time; `load_s` by model, above 0. What is decided at t knows nothing of later requests."""
    world = _World(strategy, requests, load_s, room)
    for number, request in enumerate(requests):
        world.until(request.at_s)
        world.arrive(number)
        if number % 500 == 0 or number + 1 == len(requests):
            progress(number + 1, len(requests))
    world.until(math.inf)
    return world.outcome


class _World:
    """Events are (time, order, what to do); equal times in the order in which they were made."""

    def __init__(
        self, strategy: Strategy, requests: Sequence[Request], load_s: Mapping[str, float], room: Room
    ) -> None:
        self._strategy, self._requests, self._load_s, self._room = strategy, requests, load_s, room
        alike = {model: Pool(model) for model in load_s}
        by_cost = (
            {model: Pool(model, seconds) for model, seconds in load_s.items()} if room.by_cost else alike
        )
        self._pools = alike if room.sleepers else by_cost
        self._sleepers = by_cost
        self._ends_s = requests[-1].at_s if requests else 0.0
        self._engines: dict[str, _Engine] = {}
        self._asleep: set[str] = set()
        self._queue: deque[str] = deque()
        self._queued: dict[str, list[int]] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._made = 0
        self._checks: Counter[str] = Counter()
        self._now_s = 0.0
        self.outcome = Outcome([Found.AWAKE] * len(requests), [0.0] * len(requests))

    def until(self, at_s: float) -> None:
        """Lets all happen that is due before `at_s`, or at it. After the last request nothing more is made ready."""
        while self._events and self._events[0][0] <= at_s:
            self._now_s, _, act = heapq.heappop(self._events)
            act()
        if at_s == math.inf:
            for model in list(self._engines):
                self._stop(model)
        else:
            self._now_s = at_s

    def arrive(self, number: int) -> None:
        model = self._requests[number].model
        engine = self._engines.get(model)
        if engine is not None and engine.awake:
            self._serve(model, engine, number)
        elif engine is not None:
            self.outcome.found[number] = Found.STARTING
            engine.waiters.append(number)
        elif model in self._queued:
            self.outcome.found[number] = Found.STARTING
            self._queued[model].append(number)
        else:
            self.outcome.found[number] = Found.ASLEEP if model in self._asleep else Found.COLD
            self._queued[model] = [number]
            self._queue.append(model)
            self._start_queued()
        self._strategy.used(self._pools[model], self._now_s)
        self._check_later(model)

    def _later(self, after_s: float, act: Callable[[], None]) -> None:
        self._made += 1
        heapq.heappush(self._events, (self._now_s + after_s, self._made, act))

    def _serve(self, model: str, engine: _Engine, number: int) -> None:
        engine.in_flight += 1
        self.outcome.waits_s[number] = self._now_s - self._requests[number].at_s
        self._later(self._requests[number].exec_s, lambda: self._ended(model, engine))

    def _ended(self, model: str, engine: _Engine) -> None:
        engine.in_flight -= 1
        if not engine.in_flight:
            self._start_queued()
            self._check(model)

    def _start_queued(self) -> None:
        while self._queue:
            delay_s = self._make_room()
            if delay_s is None:
                return
            model = self._queue.popleft()
            self._start(model, delay_s, self._queued.pop(model))

    def _make_room(self) -> float | None:
        """Seconds until a slot is free; None where all are busy."""
        if len(self._engines) < self._room.slots:
            return 0.0
        idle = [self._pools[m] for m, e in self._engines.items() if e.awake and not e.in_flight]
        if not idle:
            return None
        victim = first_to_go(self._strategy, idle, self._now_s)[0]
        self._strategy.evicted(victim, self._now_s)
        self._stop(victim.name)
        if not self._room.sleepers:
            return 0.0
        self._asleep.add(victim.name)
        return self._room.sleep_s

    def _start(self, model: str, delay_s: float, waiters: list[int]) -> None:
        seconds = self._room.wake_s if model in self._asleep else self._load_s[model]
        self._asleep.discard(model)
        while len(self._asleep) > self._room.sleepers:
            last = first_to_go(self._strategy, [self._sleepers[m] for m in self._asleep], self._now_s)[0]
            self._asleep.discard(last.name)
        engine = self._engines[model] = _Engine(self._now_s, waiters=waiters)
        self._later(delay_s + seconds, lambda: self._ready(model, engine))

    def _ready(self, model: str, engine: _Engine) -> None:
        engine.awake = True
        for number in engine.waiters:
            self._serve(model, engine, number)
        engine.waiters = []
        if not engine.in_flight:
            self._start_queued()
            self._check(model)

    def _stop(self, model: str) -> None:
        engine = self._engines.pop(model)
        self.outcome.gpu_s += max(0.0, min(self._now_s, self._ends_s) - engine.since_s)

    def _check(self, model: str) -> None:
        """Lets an idle one go, or makes one ready, as the strategy says now; and looks again when it will say otherwise."""
        keep = self._strategy.keep(self._pools[model], self._now_s)
        engine = self._engines.get(model)
        if (
            engine is None
            and self._due_s(model, keep) <= self._now_s < keep.until_s
            and model not in self._queued
        ):
            if len(self._engines) < self._room.slots and self._now_s < self._ends_s:
                self.outcome.prewarms += 1
                self._start(model, 0.0, [])
        elif engine is not None and engine.awake and not engine.in_flight and not keep.at(self._now_s):
            self._strategy.evicted(self._pools[model], self._now_s)
            self._stop(model)
        self._check_later(model)

    def _due_s(self, model: str, keep: Keep) -> float:
        """When to begin, so that it is ready in time; for one that is there, when it has to stay."""
        return keep.from_s - (0.0 if model in self._engines else self._load_s[model])

    def _check_later(self, model: str) -> None:
        keep = self._strategy.keep(self._pools[model], self._now_s)
        due_s = self._due_s(model, keep)
        next_s = due_s if self._now_s < due_s else keep.until_s
        self._checks[model] += 1
        number = self._checks[model]
        if self._now_s < next_s <= self._ends_s:
            self._later(
                next_s - self._now_s, lambda: self._check(model) if self._checks[model] == number else None
            )
