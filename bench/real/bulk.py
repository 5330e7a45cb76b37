"""Many objects at once: makes nodes and pods, empties ledgers, reads all of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TypeVar

import msgspec

from bench.real.audit import Audit, audit
from bench.real.objects import NAMESPACE, Body, Shape, gpu_node, gpu_node_status, kube_node
from bench.real.podwatch import PodSeen
from ingle_core.ledger import Ledger, Op, difference
from ingle_kit import names
from ingle_kit.kube import Kube, KubeError
from ingle_kit.ledger import Refused, write

T = TypeVar("T")
AT_ONCE = 48


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


async def each(items: Iterable[T], do: Callable[[T], Awaitable[object]], at_once: int = AT_ONCE) -> None:
    """Calls `do` for every item, `at_once` at a time; the first error ends it."""
    left = iter(items)

    async def work() -> None:
        for item in left:
            await do(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())


class Bulk:
    """Objects of one benchmark cluster."""

    def __init__(self, kube: Kube) -> None:
        self.kube = kube

    async def install_kinds(self, crds: Iterable[Body]) -> None:
        """Our kinds; returns when they are served."""
        for crd in crds:
            await self.kube.create(names.CRD, crd)
        for kind in (names.GPU_NODE, names.INFERENCE_POOL):
            await self._served(kind)

    async def _served(self, kind: names.Kind) -> None:
        async with asyncio.timeout(30):
            while True:
                try:
                    await self.kube.list(kind)
                except KubeError:
                    await asyncio.sleep(0.05)
                    continue
                return

    async def make_nodes(self, shapes: list[Shape]) -> None:
        """Nodes with ledgers; returns when the node controller has taken its first taints away."""
        say(f"making {len(shapes)} nodes")
        await each(shapes, self._make_node)
        async with asyncio.timeout(300):
            while True:
                nodes, _ = await self.kube.list(names.NODE)
                if not any(node["spec"].get("taints") for node in nodes):
                    return
                await asyncio.sleep(0.1 + len(shapes) / 5000)

    async def _make_node(self, shape: Shape) -> None:
        await self.kube.create(names.NODE, kube_node(shape))
        if not shape.gpus:
            return
        await self.kube.create(names.GPU_NODE, gpu_node(shape))
        await self.kube.merge_patch(names.GPU_NODE, shape.name, gpu_node_status(shape), subresource="status")

    async def remove_nodes(self, shapes: list[Shape]) -> None:
        async def remove(shape: Shape) -> None:
            await self.kube.delete(names.NODE, shape.name)
            await self.kube.delete(names.GPU_NODE, shape.name)

        await each(shapes, remove)

    async def make_pools(self, pools: Iterable[Body], status: Body | None = None) -> None:
        """InferencePools, each with this status where one is given."""

        async def make(pool: Body) -> None:
            await self.kube.create(names.INFERENCE_POOL, pool)
            if status is not None:
                name, patch = pool["metadata"]["name"], {"status": status}
                await self.kube.merge_patch(names.INFERENCE_POOL, name, patch, NAMESPACE, "status")

        await each(pools, make)

    async def make_pods(self, bodies: Iterable[Body]) -> None:
        await each(bodies, partial(self.kube.create, names.POD))

    async def clear_pods(self) -> None:
        """Deletes all pods, waits until they are gone, and empties all ledgers."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}
        await self.kube.request("DELETE", names.POD.path(NAMESPACE), body=body, timeout_s=300)
        async with asyncio.timeout(60):
            while True:
                if not (await self.kube.list(names.POD, NAMESPACE))[0]:
                    break
                await asyncio.sleep(0.1)
        full = [node for node, ledger in (await self.ledgers()).items() if ledger.pods]
        await each(full, self._empty)

    async def _empty(self, node: str) -> None:
        outcome = await write(self.kube, node, _emptied, attempts=20)
        if isinstance(outcome, Refused):
            raise RuntimeError(f"ledger of {node} stays full: {outcome.message}")

    async def ledgers(self) -> dict[str, Ledger]:
        """By node, as the API server has them."""
        found, _ = await self.kube.list(names.GPU_NODE)
        return {obj["metadata"]["name"]: Ledger.from_dict(obj["spec"]) for obj in found}

    async def pods(self) -> list[PodSeen]:
        """As the API server has them."""
        return [PodSeen.of(obj) for obj in (await self.kube.list(names.POD, NAMESPACE))[0]]

    async def audit(self) -> Audit:
        """What ledgers and pods say now; call it when nothing moves."""
        return audit(await self.pods(), await self.ledgers())


def _emptied(ledger: Ledger) -> list[Op]:
    gpus = tuple(msgspec.structs.replace(gpu, claims=()) for gpu in ledger.gpus)
    zones = tuple(msgspec.structs.replace(zone, claims=()) for zone in ledger.zones)
    return difference(ledger, msgspec.structs.replace(ledger, gpus=gpus, zones=zones, pods=()))
