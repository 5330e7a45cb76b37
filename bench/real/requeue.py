"""Room freed → waiting pod bound. The ledger is released and waiting pods are woken as the operator does it."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from bench.real.bulk import say
from bench.real.burst import ready
from bench.real.objects import NAMESPACE, Shape, engine_pod
from bench.real.podwatch import PodWatch
from bench.real.rows import Row, at_most, told
from bench.real.site import Site
from ingle_core.ledger import Ledger, release
from ingle_kit import names
from ingle_kit.kube import NotFound
from ingle_kit.ledger import Refused, write
from ingle_kit.watch import Key, Reflector

PRODUCT = "Room"
LIMIT_MS = 2000.0
FLUSH_MS = 300_000.0
EVERY_S = 1.0


class Waker:
    """Changes an annotation of pods that wait whenever the ledgers have changed, once in `EVERY_S` per pod at most."""

    def __init__(self, site: Site, watch: PodWatch) -> None:
        self._kube, self._watch = site.kube, watch
        self._nodes = Reflector(site.kube, names.GPU_NODE, decode=_ledger, on_change=self._changed)
        self._news = asyncio.Event()
        self._told: dict[str, tuple[str, float]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._nodes.run())
            while True:
                stamp = str(sum(ledger.revision for ledger in self._nodes.store.values()))
                waiting = self._watch.refused(list(self._watch.pods))
                pauses_s = [await self._wake(name, stamp) for name in waiting]
                self._news.clear()
                try:
                    async with asyncio.timeout(min(pauses_s, default=0.02) or 0.02):
                        await self._news.wait()
                except TimeoutError:
                    continue

    async def _wake(self, name: str, stamp: str) -> float:
        """How long this pod has to be left alone; 0: until something changes."""
        pod = self._watch.pods[name]
        told, at_s = self._told.get(pod.uid, ("", float("-inf")))
        wait_s = at_s + EVERY_S - time.monotonic()
        if told == stamp or wait_s > 0:
            return 0.0 if told == stamp else wait_s
        self._told[pod.uid] = (stamp, time.monotonic())
        patch = {"metadata": {"uid": pod.uid, "annotations": {names.ANNOTATION_REQUEUE: stamp}}}
        try:
            await self._kube.merge_patch(names.POD, name, patch, NAMESPACE, "status")
        except NotFound:
            return 0.0
        return 0.0

    def _changed(self, key: Key, old: Ledger | None, new: Ledger | None) -> None:
        self._news.set()


def _ledger(obj: dict[str, object]) -> Ledger:
    spec = obj["spec"]
    assert isinstance(spec, dict)
    return Ledger.from_dict(spec)


async def rows(site: Site, *, rounds: int) -> list[Row]:
    """Milliseconds from the ledger's release until the Binding is seen, one node with one GPU that all want."""
    node = Shape("room", gpus=1, product=PRODUCT)
    await site.reset()
    await site.bulk.make_nodes([node])
    await site.start_extender()
    await site.start_scheduler()
    taken: list[float] = []
    try:
        async with PodWatch(site.kube) as watch:
            await ready(site, watch)
            waker = asyncio.create_task(Waker(site, watch).run())
            try:
                for number in range(rounds + 1):
                    taken += await _round(site, watch, node, number)
            finally:
                waker.cancel()
                await asyncio.gather(waker, return_exceptions=True)
    finally:
        await site.reset()
        await site.bulk.remove_nodes([node])
    ordered = sorted(taken)
    say(
        f"room freed, {len(taken)} rounds: median {ordered[len(ordered) // 2]:.0f} ms, most {ordered[-1]:.0f} ms"
    )
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    flush = {"baseline": "flush of the scheduler's queue, up to, ms", "baseline_value": FLUSH_MS}
    return [
        at_most("room_freed_bound_p99_ms", p99, "ms", LIMIT_MS, **flush),
        told("room_freed_bound_p50_ms", ordered[len(ordered) // 2], "ms"),
    ]


async def _round(site: Site, watch: PodWatch, node: Shape, number: int) -> list[float]:
    """The pod of this round waits until that of the round before gives its GPU back; the first waits for nobody."""
    name = f"w{number:03d}"
    await site.bulk.make_pods([engine_pod(name, products=[PRODUCT])])
    if number == 0:
        await watch.until_bound([name], 30)
        return []
    await watch.until(lambda: bool(watch.refused([name])), f"pod {name} refused", 30)
    before = watch.pods[f"w{number - 1:03d}"]
    await site.kube.delete(names.POD, before.name, NAMESPACE, grace_s=0)
    freed_s = time.monotonic()
    outcome = await write(site.kube, node.name, partial(release, pod_uid=before.uid), attempts=20)
    if isinstance(outcome, Refused):
        raise RuntimeError(outcome.message)
    await watch.until_bound([name], 400)
    return [(watch.bound_at_s[name] - freed_s) * 1000]
