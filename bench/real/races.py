"""Many pods through two extenders at once, with kills, lost answers, repeated binds and pods that vanish.

No kube-scheduler: this sends what one could send at worst, in an order that a seed gives as far as time allows.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench.real.audit import Audit
from bench.real.bulk import Bulk, each, say
from bench.real.objects import ALLOCATABLE_MIB, NAMESPACE, engine_pod, shapes, stamp
from bench.real.podwatch import PodSeen
from bench.real.rows import Row, at_most, told
from bench.real.side import Side
from bench.real.site import SILENT_S, Site
from bench.real.sweep import keep_sweeping, sweep
from bench.real.witness import Witness
from ingle_core.ledger import move
from ingle_extender.settings import Settings
from ingle_extender.wire import BindArgs
from ingle_kit import names
from ingle_kit.ledger import Refused, Written, write

TRIES_MAX = 60
SIZES_MIB = (20_000, 30_000, 45_000, 60_000)
WATTS = 150
NOBODY = "nobody"


@dataclass(frozen=True)
class Plan:
    """How much and how wild. Chances are per bind, `vanish` and `ends` per pod; `in_flight` pods at a time.

    One of the two dies every `kill_s` seconds (from, to). `orphan_s` − `renew_s` must be longer than a Binding can be
    on its way, as with the settings that we ship.
    """

    pods: int
    in_flight: int
    seed: int = 0
    repeated: float = 0.15
    lost: float = 0.15
    crossed: float = 0.15
    vanish: float = 0.1
    ends: float = 0.85
    kill_s: tuple[float, float] = (0.3, 1.0)
    orphan_s: float = 8.0
    renew_s: float = 1.0
    sweep_s: float = 0.3


@dataclass
class Outcome:
    """What was done, and what was found: by the witness, of each pod once it was bound, and by the last audit."""

    bound: int = 0
    vanished: int = 0
    given_up: int = 0
    kills: int = 0
    lost: int = 0
    repeated: int = 0
    ledgers_seen: int = 0
    oversold: int = 0
    unclaimed: int = 0
    end: Audit = field(default_factory=lambda: Audit(0, 0, 0, 0))


class Race:
    """One run on nodes that exist."""

    def __init__(
        self, bulk: Bulk, kubeconfig: str, nodes: Sequence[str], plan: Plan, progress: Callable[[int], None]
    ) -> None:
        self._bulk, self._kube, self._nodes, self._plan = bulk, bulk.kube, list(nodes), plan
        self._progress = progress
        self._luck = random.Random(plan.seed)
        settings = Settings(silent_s=SILENT_S, claim_renew_s=plan.renew_s)
        self._sides = [Side(kubeconfig, settings) for _ in range(2)]
        self._done = 0
        self.outcome = Outcome()

    async def run(self) -> Outcome:
        """Runs all pods to their end, sweeps, and compares."""
        plan, outcome = self._plan, self.outcome
        await asyncio.gather(*(side.start() for side in self._sides))
        async with Witness(self._kube, ALLOCATABLE_MIB) as witness:
            sweeping = keep_sweeping(self._bulk, orphan_s=plan.orphan_s, gone_s=0.0, every_s=plan.sweep_s)
            beside = [asyncio.create_task(sweeping), asyncio.create_task(self._kill())]
            try:
                await each(range(plan.pods), self._pod, at_once=plan.in_flight)
            finally:
                for task in beside:
                    task.cancel()
                ends = await asyncio.gather(*beside, return_exceptions=True)
                await asyncio.gather(*(side.kill() for side in self._sides))
            faults = [e for e in ends if isinstance(e, Exception)]
            if faults:
                raise ExceptionGroup("beside the race", faults)
            await sweep(self._bulk, orphan_s=0.0, gone_s=0.0)
            outcome.ledgers_seen = witness.ledgers_seen
            outcome.oversold = witness.ledgers_oversold + witness.gpus_oversold
        outcome.kills = sum(side.kills for side in self._sides) - len(self._sides)
        outcome.end = await self._bulk.audit()
        return outcome

    async def _kill(self) -> None:
        while True:
            await asyncio.sleep(self._luck.uniform(*self._plan.kill_s))
            side = self._luck.choice(self._sides)
            await side.kill()
            await side.start()

    async def _pod(self, number: int) -> None:
        """A pod's whole life: made, bound somehow, awake for a moment, and mostly removed."""
        memory_mib = self._luck.choice(SIZES_MIB)
        body = engine_pod(
            f"r{number:05d}", memory_mib=memory_mib, host_mib=5000, watts=WATTS, scheduler=NOBODY
        )
        pod = await self._kube.create(names.POD, body)
        vanishes_at = self._luck.randrange(3) if self._luck.random() < self._plan.vanish else TRIES_MAX
        for attempt in range(TRIES_MAX):
            if attempt == vanishes_at:
                self.outcome.vanished += 1
                await asyncio.gather(self._try(pod), self._remove_soon(pod))
                break
            if await self._try(pod):
                await self._live(pod, memory_mib)
                break
            await asyncio.sleep(self._luck.uniform(0.0, min(1.0, 0.02 * 1.4**attempt)))
        else:
            self.outcome.given_up += 1
            await self._remove(pod)
        self._done += 1
        self._progress(self._done)

    async def _try(self, pod: dict[str, Any]) -> bool:
        """One cycle of a scheduler; True once it believes that the pod is bound."""
        luck, plan = self._luck, self._plan
        chosen_by = luck.choice(self._sides)
        node = chosen_by.filter(pod, self._nodes)
        if node is None:
            return False
        await asyncio.sleep(luck.choice((0.0, 0.0, 0.005, 0.02)))
        side = luck.choice(self._sides) if luck.random() < plan.crossed else chosen_by
        metadata = pod["metadata"]
        args = BindArgs(metadata["name"], metadata["namespace"], metadata["uid"], node)
        calls = [side]
        if luck.random() < plan.repeated:
            self.outcome.repeated += 1
            calls.append(luck.choice(self._sides))
        cut_s = None
        if luck.random() < plan.lost:
            self.outcome.lost += 1
            cut_s = luck.uniform(0.0, 0.05)
        answers = await asyncio.gather(*(one.bind(args, cut_after_s=cut_s) for one in calls))
        return any(answer == "" for answer in answers)

    async def _live(self, pod: dict[str, Any], memory_mib: int) -> None:
        """As the operator would: Starting becomes Awake, so that the GPU may be shared; later the pod ends."""
        metadata = pod["metadata"]
        seen = PodSeen.of(await self._kube.get(names.POD, metadata["name"], NAMESPACE))
        if not seen.node:
            raise RuntimeError(f"an extender said that pod {seen.name} is bound; it is not")
        self.outcome.bound += 1
        wakes = partial(move, pod_uid=seen.uid, state="Awake", memory_mib=memory_mib, watts=WATTS, at=stamp())
        awake = await write(self._kube, seen.node, wakes, attempts=50, jitter=self._jitter)
        if isinstance(awake, Refused) and awake.reason != "NoClaim":
            raise RuntimeError(f"pod {seen.name} is not awake: {awake.message}")
        held = awake.ledger.gpus_of(seen.uid) if isinstance(awake, Written) else ()
        self.outcome.unclaimed += set(held) != set(seen.gpus)
        if self._luck.random() < self._plan.ends:
            await asyncio.sleep(self._luck.uniform(0.0, 0.3))
            await self._remove(pod)

    def _jitter(self, number: int) -> float:
        return self._luck.uniform(0.0, 0.01 * number)

    async def _remove_soon(self, pod: dict[str, Any]) -> None:
        await asyncio.sleep(self._luck.uniform(0.0, 0.03))
        await self._remove(pod)

    async def _remove(self, pod: dict[str, Any]) -> None:
        await self._kube.delete(names.POD, pod["metadata"]["name"], NAMESPACE, grace_s=0)


async def rows(site: Site, *, pods: int, in_flight: int, nodes: int) -> list[Row]:
    """What was oversold at any instant, and the claims that nobody holds after a sweep."""
    made = shapes(nodes)
    await site.bulk.make_nodes(made)
    plan = Plan(pods=pods, in_flight=in_flight, ends=0.99)

    def progress(done: int) -> None:
        if done % max(1, pods // 20) == 0:
            say(f"races: {done} of {pods} pods")

    race = Race(site.bulk, str(site.plane.kubeconfig), [shape.name for shape in made], plan, progress)
    found = await race.run()
    say(f"races: {found}")
    return [
        at_most("races_oversold", found.oversold + found.end.oversold, "states", 0),
        at_most("races_double_bookings", found.unclaimed + found.end.unclaimed, "pods", 0),
        at_most("races_leaked", found.end.leaked, "claims", 0),
        told("races_pods", pods, "pods"),
        told("races_bound", found.bound, "pods"),
        told("races_kills", found.kills, "kills"),
        told("races_ledgers_seen", found.ledgers_seen, "states"),
    ]
