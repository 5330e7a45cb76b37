"""The dual-pod way of llm-d Fast Model Actuation, as a baseline: placed for real, its engine times computed.

A pod that asks for one `nvidia.com/gpu` has to be placed by the default kube-scheduler before a model can serve; the
wake is hot only if the pod gets the GPU where the model sleeps. Otherwise the model is loaded on the GPU that it got,
by a launcher that has its imports done, and sleeps there afterwards. Pods and nodes are objects on a real API server,
and the scheduler is the real one; kubelet and engines are arithmetic on the load's own clock: a wake or load takes
what the profile says, going to sleep and everything else takes nothing, which is in favour of this baseline.
"""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.parts import Progress
from bench.real.objects import NAMESPACE, Body, Shape
from bench.real.podwatch import PodWatch
from bench.real.site import DEFAULT_SCHEDULER, Site, open_site
from bench.warmreal.load import Ask, percentile
from bench.warmreal.pools import profile
from ingle_kit import names

NODES: Final = tuple(Shape(f"gpu-{number}", zones=0) for number in (1, 2, 3))
GPUS_A_NODE: Final = 8
ASKED_BEFORE_S: Final = -1000.0
SCHEDULER_S: Final = 60.0
ORDERS: Final = ("lowest", "any")
SLEEPERS_A_GPU: Final = (1, 2, 16)
LAUNCHED: Final = 0.6  # of a load is left when the imports are done, as the engine stand-in shares it out

Placed = tuple[str, float]
Place = Callable[[str], Awaitable[Placed | None]]
"""Makes the model's pod: its node and the seconds that took, or None while it fits nowhere."""
Release = Callable[[str, bool], Awaitable[tuple[str, Placed] | None]]
"""Deletes the model's pod; where others wait (second argument), which one got its room, where, after how long."""


@dataclass(frozen=True)
class Rules:
    """`order`: which free GPU the device plugin gives, the lowest or any. `sleepers`: most of them a GPU (its flag
    `--sleeper-limit`, by default 1); the least recently used one goes."""

    order: str
    sleepers: int


@dataclass(frozen=True)
class Dual:
    """What one replay came to; `held` as in the runs on the lab: pool, seconds to the first token."""

    rules: Rules
    hot: int
    cold: int
    held: list[tuple[str, float]]
    waited: int

    @property
    def hot_fraction(self) -> float:
        return self.hot / max(1, self.hot + self.cold)

    def first_token_s(self, percent: float) -> float:
        return percentile([first_s for _, first_s in self.held], percent)


@dataclass
class _Model:
    """One model while its pod exists. `ready_at_s` None: the pod waits for a GPU."""

    asked_at_s: list[float]
    ready_at_s: float | None = None
    busy_until_s: float = float("-inf")
    gpu: tuple[str, int] = ("", -1)


@dataclass
class Replay:
    """The arithmetic; `place` and `release` are where the scheduler comes in."""

    rules: Rules
    idle_s: float
    time_scale: float
    place: Place
    release: Release
    luck: random.Random = field(default_factory=lambda: random.Random(1))
    hot: int = 0
    cold: int = 0
    waited: int = 0
    held: list[tuple[str, float]] = field(default_factory=list)
    _models: dict[str, _Model] = field(default_factory=dict)
    _taken: set[tuple[str, int]] = field(default_factory=set)
    _sleepers: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    _ends: list[tuple[float, int, str]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)

    async def run(self, asks: Sequence[Ask]) -> Dual:
        """Each model was used once, long before; then the load."""
        for pool in sorted({ask.pool for ask in asks}):
            await self._ask(Ask(ASKED_BEFORE_S, pool, 1, 1))
        await self._until(0.0)
        self.hot = self.cold = self.waited = 0
        self.held.clear()
        for ask in asks:
            await self._until(ask.at_s)
            await self._ask(ask)
        await self._until(float("inf"))
        return Dual(self.rules, self.hot, self.cold, list(self.held), self.waited)

    async def _ask(self, ask: Ask) -> None:
        model = self._models.get(ask.pool)
        if model is None:
            model = self._models[ask.pool] = _Model([ask.at_s])
            placed = await self.place(ask.pool)
            if placed is None:
                self.waited += 1
            else:
                self._actuate(ask.pool, placed, ask.at_s)
        elif model.ready_at_s is None:
            model.asked_at_s.append(ask.at_s)
        else:
            if model.ready_at_s > ask.at_s:
                self.held.append((ask.pool, model.ready_at_s - ask.at_s))
            self._busy(ask.pool, max(ask.at_s, model.ready_at_s), ask.output_tokens)

    def _actuate(self, pool: str, placed: Placed, now_s: float) -> None:
        """The pod has a node: its GPU, whether the model sleeps there, and when it can serve."""
        node, took_s = placed
        free = [gpu for gpu in ((node, i) for i in range(GPUS_A_NODE)) if gpu not in self._taken]
        gpu = free[0] if self.rules.order == "lowest" else self.luck.choice(free)
        self._taken.add(gpu)
        model, times = self._models[pool], profile(pool)
        sleepers = self._sleepers.setdefault(gpu, [])
        hot = pool in sleepers
        self.hot += hot
        self.cold += not hot
        if hot:
            sleepers.remove(pool)
        model.gpu = gpu
        needs_s = times.wake_l1_s if hot else times.load_s * LAUNCHED
        model.ready_at_s = now_s + took_s + needs_s * self.time_scale
        self.held += [(pool, model.ready_at_s - at_s) for at_s in model.asked_at_s]
        self._busy(pool, model.ready_at_s, 100)

    def _busy(self, pool: str, from_s: float, tokens: int) -> None:
        """One request more keeps the pod until it is answered and idle for long enough."""
        model, speed = self._models[pool], profile(pool).speed
        until_s = from_s + (speed.prefill_overhead_s + tokens * speed.decode_base_s) * self.time_scale
        model.busy_until_s = max(model.busy_until_s, until_s)
        heapq.heappush(self._ends, (model.busy_until_s + self.idle_s, next(self._order), pool))

    async def _until(self, now_s: float) -> None:
        """Ends every pod whose time has come, earliest first."""
        while self._ends and self._ends[0][0] <= now_s:
            at_s, _, pool = heapq.heappop(self._ends)
            model = self._models.get(pool)
            if model is None or model.ready_at_s is None or model.busy_until_s + self.idle_s > at_s:
                continue
            await self._end(pool, model, at_s)

    async def _end(self, pool: str, model: _Model, now_s: float) -> None:
        del self._models[pool]
        self._taken.discard(model.gpu)
        here = self._sleepers[model.gpu]
        here.append(pool)
        del here[: max(0, len(here) - self.rules.sleepers)]
        waiting = any(other.ready_at_s is None for other in self._models.values())
        freed = await self.release(pool, waiting)
        if freed is not None:
            self._actuate(freed[0], freed[1], now_s)


class Pods:
    """Requester pods on a real control plane."""

    def __init__(self, site: Site, watch: PodWatch) -> None:
        self._site, self._watch = site, watch
        self._pods: dict[str, str] = {}
        self._count = itertools.count()

    async def place(self, pool: str) -> Placed | None:
        name = self._pods[pool] = f"{pool}-{next(self._count)}"
        started_s = time.monotonic()
        await self._site.bulk.make_pods([_requester(name)])

        def settled() -> bool:
            seen = self._watch.pods.get(name)
            return seen is not None and (bool(seen.node) or seen.refusal is not None)

        await self._watch.until(settled, f"pod {name} placed or refused", SCHEDULER_S)
        node = self._watch.pods[name].node
        return (node, time.monotonic() - started_s) if node else None

    async def release(self, pool: str, waiting: bool) -> tuple[str, Placed] | None:
        name = self._pods.pop(pool)
        started_s = time.monotonic()
        before = set(self._bound())
        await self._site.kube.delete(names.POD, name, NAMESPACE, grace_s=0)
        await self._watch.until(lambda: name not in self._watch.pods, f"pod {name} gone", SCHEDULER_S)
        if not waiting:
            return None
        await self._watch.until(
            lambda: bool(set(self._bound()) - before), "a waiting pod placed", SCHEDULER_S
        )
        (got,) = set(self._bound()) - before
        return got, (self._watch.pods[self._pods[got]].node, time.monotonic() - started_s)

    def _bound(self) -> list[str]:
        pods = self._watch.pods
        return [pool for pool, name in self._pods.items() if name in pods and pods[name].node]

    async def clear(self) -> None:
        self._pods.clear()
        await self._site.bulk.clear_pods()


def _requester(name: str) -> Body:
    """A pod as the dual-pod way has it: it holds a GPU and asks for little else."""
    room = {"cpu": "100m", "memory": "250Mi"}
    limits = {**room, names.RESOURCE_NVIDIA_GPU: "1"}
    container = {"name": "requester", "image": "requester", "resources": {"requests": room, "limits": limits}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"schedulerName": DEFAULT_SCHEDULER, "containers": [container]},
    }


async def measure(asks: Sequence[Ask], idle_s: float, time_scale: float, tell: Progress) -> list[Dual]:
    """Every combination of rules, over the same load; the best hot fraction first."""
    found: list[Dual] = []
    async with open_site() as site:
        await site.bulk.make_nodes(list(NODES))
        await site.start_scheduler(extender=False, default=True)
        async with PodWatch(site.kube) as watch:
            for order, sleepers in itertools.product(ORDERS, SLEEPERS_A_GPU):
                pods = Pods(site, watch)
                replay = Replay(Rules(order, sleepers), idle_s, time_scale, pods.place, pods.release)
                found.append(await replay.run(asks))
                await pods.clear()
                tell(f"dual pods, {replay.rules}: {found[-1].hot} hot, {found[-1].cold} cold")
    return sorted(found, key=lambda dual: -dual.hot_fraction)
