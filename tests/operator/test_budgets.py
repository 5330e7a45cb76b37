"""PowerBudgets against a real API server: at every write the allotments stay within what is published."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ingle_kit import names
from ingle_kit.kube import Kube, Object
from ingle_kit.objects import timestamp
from ingle_kit.streams import GpuReading, Measurement
from ingle_operator.reconcile.budgets import reconcile_budgets
from ingle_operator.subscriptions import Heard

HOST_W, FLOOR_W, MAX_W = 100, 200, 700


def budget(name: str, watts: int, **labels: str) -> Object:
    spec: Object = {"watts": watts, "mode": "Guaranteed", "hostWatts": HOST_W}
    spec |= {"nodeSelector": {"matchLabels": labels}} if labels else {}
    return {
        "apiVersion": names.POWER_BUDGET.api_version,
        "kind": "PowerBudget",
        "metadata": {"name": name},
    } | {"spec": spec}


class Hall:
    """Nodes whose agents obey what the ledger says, one look at a time, and a check of every write."""

    def __init__(self, kube: Kube, world: Any) -> None:
        self.kube, self.world = kube, world
        self.enforced_w: dict[str, int] = {}
        self.checks = 0

    async def add(self, name: str, gpus: int = 2, **labels: str) -> None:
        metadata = {"name": name, "labels": labels}
        await self.kube.create(names.NODE, {"apiVersion": "v1", "kind": "Node", "metadata": metadata})
        uuids = [f"GPU-{name}-{n}" for n in range(gpus)]
        ledger_gpus = [
            {"uuid": u, "allocatableMiB": 80000, "floorWatts": FLOOR_W, "claims": []} for u in uuids
        ]
        body = {
            "apiVersion": names.GPU_NODE.api_version,
            "kind": "GPUNode",
            "metadata": {"name": name},
            "spec": {"revision": 1, "gpus": ledger_gpus, "zones": [], "pods": []},
        }
        await self.world.kube.create(names.GPU_NODE, body)
        memory = {"total": 80000, "free": 80000}
        watts = {"min": FLOOR_W, "max": MAX_W, "enforced": MAX_W, "limit": MAX_W}
        told = [
            {"uuid": u, "index": n, "product": "H100", "memoryMiB": memory, "watts": watts}
            for n, u in enumerate(uuids)
        ]
        patch = {"status": {"gpus": told, "observedRevision": 1, "heartbeatAt": timestamp(time.time())}}
        await self.kube.merge_patch(names.GPU_NODE, name, patch, subresource="status")
        self.enforced_w[name] = MAX_W * gpus

    def read(self, obey: bool = True) -> None:
        """Every agent reports; with `obey` it first does what the ledger says."""
        for name in self.enforced_w:
            ledger = self.world.ledger(name)
            count = len(ledger.gpus)
            if obey:
                limit = ledger.watts_allotted
                self.enforced_w[name] = MAX_W * count if limit is None else limit
            each = self.enforced_w[name] / count
            gpus = tuple(
                GpuReading(g.uuid, n, "H100", 80000, 0, 0, 60.0, each, each, FLOOR_W, MAX_W)
                for n, g in enumerate(ledger.gpus)
            )
            revision = ledger.revision if obey else 1
            message = Measurement(name, "b", 1, 0.0, gpus, revision)
            self.world.agents.last[name] = Heard(message, time.monotonic())

    async def round(self, obey: bool = True) -> None:
        self.read(obey)
        await reconcile_budgets(self.world, "all")

    async def check(self) -> None:
        """What is in the API server now: Σ allotted + hosts within what each budget publishes."""
        nodes = {o["metadata"]["name"]: o for o in (await self.kube.list(names.GPU_NODE))[0]}
        labels = {
            o["metadata"]["name"]: o["metadata"].get("labels", {})
            for o in (await self.kube.list(names.NODE))[0]
        }
        for obj in (await self.kube.list(names.POWER_BUDGET))[0]:
            wanted = obj["spec"].get("nodeSelector", {}).get("matchLabels", {}).items()
            inside = [n for n in nodes if wanted <= labels[n].items()]
            allotted = [nodes[n]["spec"].get("wattsAllotted") for n in inside]
            known = [w for w in allotted if w is not None]
            if known:
                cap = obj["status"]["capWatts"]
                assert sum(known) + HOST_W * len(inside) <= cap, (allotted, cap)
                self.checks += 1

    @contextlib.contextmanager
    def checked(self) -> Iterator[None]:
        """Checks after every single write of the operator."""
        plain = self.world.kube.request

        async def request(method: str, path: str, **more: Any) -> Object:
            answer: Object = await plain(method, path, **more)
            if method != "GET":
                await self.check()
            return answer

        self.world.kube.request = request
        try:
            yield
        finally:
            self.world.kube.request = plain

    async def allotted(self) -> dict[str, int | None]:
        nodes = (await self.kube.list(names.GPU_NODE))[0]
        return {o["metadata"]["name"]: o["spec"].get("wattsAllotted") for o in nodes}

    async def status(self, name: str) -> Object:
        found: Object = (await self.kube.get(names.POWER_BUDGET, name)).get("status") or {}
        return found


@pytest.fixture
async def hall(kube: Kube, site: Any, operators: Any) -> Any:
    async with operators.running(work=False) as world:
        yield Hall(kube, world)


async def known(hall: Hall, site: Any, nodes: int, budgets: int) -> None:
    def there() -> bool:
        stores = hall.world.gpu_nodes.store, hall.world.nodes.store, hall.world.budgets.store
        filled = all(n.status.gpus for n in stores[0].values())
        return filled and [len(s) for s in stores] == [nodes, nodes, budgets]

    await site.until(there, "the caches have everything")


async def test_a_cut_lowers_reads_back_and_only_then_promises_less(kube: Kube, site: Any, hall: Any) -> None:
    for name in ("n1", "n2"):
        await hall.add(name)
    await kube.create(names.POWER_BUDGET, budget("b", 3000))
    await known(hall, site, 2, 1)
    with hall.checked():
        for _ in range(4):
            await hall.round()
        assert sum((await hall.allotted()).values()) == 4 * MAX_W
        assert (await hall.status("b"))["capWatts"] == 3000
        await kube.merge_patch(names.POWER_BUDGET, "b", {"spec": {"watts": 1600}})
        await site.until(lambda: hall.world.budgets.store["", "b"].spec.watts == 1600, "the cut is known")
        await hall.round(obey=False)
        assert sum((await hall.allotted()).values()) == 1400
        assert (await hall.status("b"))["capWatts"] == 3000
        assert (await hall.status("b"))["state"] == "Lowering"
        for _ in range(3):
            await hall.round()
        assert (await hall.status("b"))["capWatts"] == 1600
        await kube.merge_patch(names.POWER_BUDGET, "b", {"spec": {"watts": 2400}})
        await site.until(lambda: hall.world.budgets.store["", "b"].spec.watts == 2400, "the raise is known")
        for _ in range(4):
            await hall.round()
        assert sum((await hall.allotted()).values()) == 2200
    assert hall.checks > 5


async def test_a_deleted_budget_frees_its_nodes(kube: Kube, site: Any, hall: Any) -> None:
    await hall.add("n1")
    await kube.create(names.POWER_BUDGET, budget("b", 1000))
    await known(hall, site, 1, 1)
    for _ in range(3):
        await hall.round()
    assert await hall.allotted() == {"n1": 900}
    await kube.delete(names.POWER_BUDGET, "b")
    await known(hall, site, 1, 0)
    await hall.round()
    assert await hall.allotted() == {"n1": None}


async def test_a_node_in_two_budgets_gets_the_least_and_then_rests(kube: Kube, site: Any, hall: Any) -> None:
    await hall.add("n1", row="a")
    await hall.add("n2", row="b")
    await kube.create(names.POWER_BUDGET, budget("all", 2600))
    await kube.create(names.POWER_BUDGET, budget("row-a", 700, row="a"))
    await known(hall, site, 2, 2)
    with hall.checked():
        for _ in range(6):
            await hall.round()
    assert (await hall.allotted())["n1"] == 600
    assert (await hall.allotted())["n2"] >= 1200
    writes = []
    plain = hall.world.kube.request

    async def request(method: str, path: str, **more: Any) -> Any:
        writes.extend([path] if method != "GET" else [])
        return await plain(method, path, **more)

    hall.world.kube.request = request
    for _ in range(3):
        await hall.round()
    hall.world.kube.request = plain
    assert writes == []


async def test_less_than_the_minimum_limits_is_told(kube: Kube, site: Any, bodies: Any, hall: Any) -> None:
    await hall.add("n1")
    await kube.create(names.POWER_BUDGET, budget("b", 300))
    await known(hall, site, 1, 1)
    for _ in range(3):
        await hall.round()
    obj = await kube.get(names.POWER_BUDGET, "b")
    told = bodies.condition(obj, "Accepted")
    assert (told["status"], told["reason"]) == ("False", "BelowMinimumLimits")
    assert "need 500 W, the budget is 300 W" in told["message"]
    assert bodies.condition(obj, "Stalled")["status"] == "True"
    assert obj["status"]["capWatts"] >= 500


async def test_a_silent_node_is_charged_and_not_raised(kube: Kube, site: Any, hall: Any) -> None:
    for name in ("n1", "n2"):
        await hall.add(name)
    await kube.create(names.POWER_BUDGET, budget("b", 1600))
    await known(hall, site, 2, 1)
    with hall.checked():
        for _ in range(4):
            await hall.round()
        before = await hall.allotted()
        hall.read()
        hall.world.agents.last.pop("n2")
        await kube.merge_patch(names.POWER_BUDGET, "b", {"spec": {"watts": 2600}})
        await site.until(lambda: hall.world.budgets.store["", "b"].spec.watts == 2600, "the raise is known")
        await reconcile_budgets(hall.world, "all")
    assert (await hall.allotted())["n2"] == before["n2"]
