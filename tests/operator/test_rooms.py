"""Engines that give way, nodes that drain and quotas that refuse, against a real API server."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ingle_core.ledger import Claim, Gpu, Holder, Ledger, applied, release
from ingle_core.placement import RESERVED_ELSEWHERE, TEXTS
from ingle_core.placement import Reason as NodeReason
from ingle_core.warmpool.demandprofile import DemandProfile
from ingle_kit import names
from ingle_kit.drains import LABEL_DRIVER_UPGRADE
from ingle_kit.kube import Kube, NotFound, Object
from ingle_kit.objects.reasons import Reason
from ingle_operator.giveway import Reservation, with_reserved
from ingle_operator.reconcile import refused
from ingle_operator.reconcile.drained import takes_wakes
from ingle_operator.roomfacts import loads_of, tenants_of

BIG_MIB = 79_000
QUOTA = names.Kind("", "v1", "resourcequotas", "ResourceQuota", True)


async def events(kube: Kube, pool: str) -> set[str]:
    found = (await kube.list(names.EVENT, "default"))[0]
    return {e["reason"] for e in found if e["involvedObject"]["name"] == pool}


async def engine(site: Any, pool: str, asleep: bool) -> Any:
    """An engine of the pool once it sleeps, or serves."""

    def found() -> Any:
        mine = (e for e in site.engines.values() if e.pool == pool and e.asleep is asleep)
        return next((e for e in mine if site.gate_open(e.uid) is not asleep), None)

    return await site.until(found, f"{pool} {'sleeps' if asleep else 'serves'}")


async def told(kube: Kube, site: Any, bodies: Any, pool: str, reason: str) -> Object:
    async def ready() -> Any:
        found = bodies.condition(await kube.get(names.INFERENCE_POOL, pool, "default"), "Ready")
        return found if found.get("reason") == reason else None

    condition: Object = await site.until(ready, f"{pool} says {reason}")
    return condition


async def test_a_wake_puts_an_idle_engine_of_lower_priority_to_sleep(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1")
    await site.router("n1")
    async with operators.running() as world:
        await kube.create(names.INFERENCE_POOL, bodies.pool("wanted"))
        wanted = await engine(site, "wanted", asleep=True)
        always = {"min": 1, "max": 1}
        await kube.create(names.INFERENCE_POOL, bodies.pool("low", priority="Low", replicas=always))
        low = await engine(site, "low", asleep=False)
        world.notes.profiles["default/low"] = DemandProfile((30,) * 24, time.time())
        world.add("status", "default/low")

        def chance() -> float | None:
            tenants = tenants_of(world, loads_of(world), time.time())
            return next((round(t.chance, 6) for t in tenants if t.uid == low.uid), None)

        await site.until(lambda: chance() == 0.3, "its profile says how likely it is wanted")
        site.ask("default/wanted", 1)
        await site.until(lambda: site.gate_open(wanted.uid), "the wanted one serves")
        assert low.asleep
        assert low.calls == ["probe", "/sleep"]
        assert Reason.MADE_ROOM.value in await events(kube, "wanted")
        assert Reason.GAVE_WAY.value in await events(kube, "low")
        await site.until(lambda: not world.notes.gives_way, "it is let go of")


async def test_an_equal_gives_way_only_above_its_floor(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1")
    await site.router("n1")
    async with operators.running() as world:
        await kube.create(names.INFERENCE_POOL, bodies.pool("wanted"))
        wanted = await engine(site, "wanted", asleep=True)
        warm = {"asleep": 1, "idleSeconds": 600}
        await kube.create(
            names.INFERENCE_POOL, bodies.pool("equal", warm=warm, replicas={"min": 1, "max": 1})
        )
        equal = await engine(site, "equal", asleep=False)
        site.ask("default/wanted", 1)
        await site.until(lambda: wanted.uid in world.notes.room_again_s, "no room is found")
        assert not world.notes.gives_way
        assert not equal.asleep
        await told(kube, site, bodies, "wanted", "InsufficientMemory")
        floor = {"spec": {"replicas": {"min": 0}}}
        await kube.merge_patch(names.INFERENCE_POOL, "equal", floor, "default")
        await site.until(lambda: site.gate_open(wanted.uid), "the wanted one serves")
        assert equal.asleep


async def test_room_that_nobody_could_give_is_looked_for_again_when_one_beside_becomes_idle(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1")
    await site.router("n1")
    async with operators.running() as world:
        for pool in ("wanted", "used"):
            await kube.create(names.INFERENCE_POOL, bodies.pool(pool))
            await engine(site, pool, asleep=True)
        stays = {"spec": {"warm": {"idleSeconds": 600}}}
        await kube.merge_patch(names.INFERENCE_POOL, "used", stays, "default")
        site.ask("default/used", 1)
        used = await engine(site, "used", asleep=False)
        site.ask("default/wanted", 1)
        wanted = await engine(site, "wanted", asleep=True)
        await site.until(lambda: wanted.uid in world.notes.room_again_s, "no room is found")
        assert not used.asleep
        world.notes.room_again_s[wanted.uid] = time.time() + 3600
        site.ask("default/used", 0)
        await site.until(lambda: site.gate_open(wanted.uid), "the wanted one serves")
        assert used.asleep


async def test_a_pod_without_a_node_stops_a_sleeper_of_lower_priority_and_has_its_room_reserved(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1")
    await site.router("n1")
    async with operators.running() as world:
        await kube.create(names.INFERENCE_POOL, bodies.pool("low", priority="Low"))
        low = await engine(site, "low", asleep=True)
        site.places, site.refusal = False, f"0/1 nodes: 1 {TEXTS[NodeReason.INSUFFICIENT_MEMORY]}."
        body = bodies.pool("big", replicas={"min": 1, "max": 1})
        body["spec"]["variants"][0]["memoryMiB"]["awake"] = BIG_MIB
        await kube.create(names.INFERENCE_POOL, body)
        big = await engine(site, "big", asleep=False)  # only a claim of the operator's could bring it here
        assert low.uid not in site.engines
        ledger = world.ledger("n1")
        assert [(c.pod_uid, c.memory_mib) for c in ledger.gpus[0].claims] == [(big.uid, BIG_MIB)]
        assert Reason.GAVE_WAY.value in await events(kube, "low")


async def test_room_where_the_scheduler_puts_the_pod_never_is_given_back_and_made_elsewhere(
    kube: Kube, site: Any, operators: Any, bodies: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused, "REFUSED_AFTER_S", 0.5)
    for name in ("n1", "n2"):
        await site.node(name)
    await site.router("n1")
    async with operators.running(orphan_s=60.0) as world:
        for name, other in (("n1", "n2"), ("n2", "n1")):
            site.closed = {other}
            await kube.create(names.INFERENCE_POOL, bodies.pool(f"low-{name}", priority="Low"))
            await engine(site, f"low-{name}", asleep=True)
        short = f"0/2 nodes: 2 {TEXTS[NodeReason.INSUFFICIENT_MEMORY]}."
        site.places, site.refusal, site.closed = False, short, {"n1", "n2"}
        body = bodies.pool("big", replicas={"min": 1, "max": 1})
        body["spec"]["variants"][0]["memoryMiB"]["awake"] = BIG_MIB
        await kube.create(names.INFERENCE_POOL, body)

        def kept_on() -> Any:
            pods = [p for p in world.pods.store.values() if p.pool == "default/big"]
            nodes = [n for n in ("n1", "n2") if pods and world.ledger(n).holder(pods[0].uid)]
            return (pods[0].uid, nodes[0]) if nodes else None

        uid, first = await site.until(kept_on, "room is reserved")
        site.refusal = f"0/2 nodes: 1 Insufficient cpu, 1 {RESERVED_ELSEWHERE}."
        await site.until(lambda: kept_on() is None, "it is given back")
        assert refused.shunned(world, uid) == {first}
        site.refusal, site.closed = short, {first}
        big = await engine(site, "big", asleep=False)
        assert big.node == {"n1": "n2", "n2": "n1"}[first]


async def test_a_node_that_drains_takes_no_wake_and_its_sleeper_moves(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1")
    await site.node("n2")
    await site.router("n1")
    site.closed = {"n2"}
    async with operators.running() as world:
        await kube.create(names.INFERENCE_POOL, bodies.pool())
        old = await engine(site, "p", asleep=True)
        assert (old.node, takes_wakes(world, "n1")) == ("n1", None)
        upgrade = {"metadata": {"labels": {LABEL_DRIVER_UPGRADE: "cordon-required"}}}
        site.closed, site.places = {"n1"}, False
        await kube.merge_patch(names.NODE, "n1", upgrade)
        await site.until(lambda: takes_wakes(world, "n1"), "the upgrade is seen")
        site.ask("default/p", 1)
        await site.until(lambda: len(world.pods.store) == 2, "another is started")
        assert takes_wakes(world, "n1")[0] is Reason.NODE_CORDONED
        assert old.calls == ["probe", "/sleep"]
        assert old.uid in site.engines
        site.places = True
        new = await engine(site, "p", asleep=False)
        assert new.node == "n2"
        await site.until(lambda: old.uid not in site.engines, "the old one is gone")


async def test_a_silent_agent_means_no_wakes(site: Any, operators: Any) -> None:
    await site.node("n1", agent=False)
    async with operators.running(work=False) as world:
        assert takes_wakes(world, "n1")[0] is Reason.AGENT_SILENT
        assert takes_wakes(world, "n2")[0] is Reason.NODE_NOT_READY


@pytest.fixture
async def quota(kube: Kube, site: Any) -> AsyncIterator[None]:
    hard = {"requests.ingle.dev/gpu-memory-mib": "1000"}
    body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": "default"}}
    await kube.create(QUOTA, {**body, "spec": {"hard": hard}})

    async def counted() -> bool:
        return bool((await kube.get(QUOTA, "q", "default")).get("status", {}).get("hard"))

    await site.until(counted, "the quota is in force")
    yield
    try:
        await kube.delete(QUOTA, "q", "default")
    except NotFound:
        return


@pytest.mark.usefixtures("quota")
async def test_a_quota_on_gpu_memory_refuses_with_its_own_words(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1")
    async with operators.running():
        await kube.create(names.INFERENCE_POOL, bodies.pool())
        condition = await told(kube, site, bodies, "p", "PodRefused")
        assert "exceeded quota: q" in condition["message"]
        assert "requests.ingle.dev/gpu-memory-mib" in condition["message"]


def test_room_that_is_freed_goes_to_whom_it_was_made_for_in_the_same_write() -> None:
    gpu = Gpu("g", 80_000, claims=(Claim("old", 60_000, 300),))
    ledger = Ledger(7, (gpu,), pods=(Holder("old", "a/x", "Asleep"),))
    big = Reservation("big", "a/y", "n", ("g",), "Starting", 50_000, 50_000, 300, order=(-2, 0.0, "big"))
    small = Reservation(
        "small", "a/z", "n", ("g",), "Starting", 40_000, 40_000, 300, order=(-1, 0.0, "small")
    )
    after = applied(ledger, with_reserved(ledger, release(ledger, "old"), [small, big], epoch=3, at="now"))
    assert (after.revision, [c.pod_uid for c in after.gpus[0].claims]) == (8, ["big"])
    assert with_reserved(ledger, [], [small, big], epoch=3, at="now") == []
