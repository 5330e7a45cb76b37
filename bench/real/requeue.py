"""Room freed → waiting pod bound. The ledger is released and waiting pods are woken as the operator does it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial

from bench.real.bulk import say
from bench.real.burst import ready
from bench.real.objects import NAMESPACE, Shape, engine_pod
from bench.real.podwatch import PodWatch
from bench.real.rows import Row, at_most, told
from bench.real.site import Site
from ingle_core.ledger import Ledger, release
from ingle_core.placement.requeue import Told, look
from ingle_kit import names
from ingle_kit.kube import NotFound
from ingle_kit.ledger import Refused, write
from ingle_kit.watch import Key, Reflector

PRODUCT = "Room"
LIMIT_MS = 2000.0
FLUSH_MS = 300_000.0
LOOK_EVERY_S = 0.02


class Waker:
    """Changes an annotation of pods that wait when the ledgers have changed, as the operator does."""

    def __init__(self, site: Site, watch: PodWatch) -> None:
        self._kube, self._watch = site.kube, watch
        self._nodes = Reflector(site.kube, names.GPU_NODE, decode=_ledger, on_change=self._changed)
        self._news = asyncio.Event()
        self._told: dict[str, Told] = {}

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._nodes.run())
            while True:
                change = str(sum(ledger.revision for ledger in self._nodes.store.values()))
                waiting = self._watch.refused(list(self._watch.pods))
                for name in waiting:
                    await self._wake(name, change)
                self._news.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await self._news.wait()

    async def _wake(self, name: str, change: str) -> None:
        pod = self._watch.pods[name]
        stamp, self._told[pod.uid], _ = look(change, self._told.get(pod.uid), time.monotonic())
        if stamp is None:
            return
        patch = {"metadata": {"uid": pod.uid, "annotations": {names.ANNOTATION_REQUEUE: stamp}}}
        with suppress(NotFound):
            await self._kube.merge_patch(names.POD, name, patch, NAMESPACE, "status")

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
