"""GPUNodes: made, filled, rebuilt when lost; claims without a pod released, and only those."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from ingle_core.ledger import Ledger, PodRef, claim
from ingle_kit import names
from ingle_kit.kube import Kube, Object
from ingle_kit.ledger import Written, write
from ingle_kit.objects import timestamp
from ingle_operator.reconcile.nodes import reconcile_node
from ingle_operator.reconcile.pools import reconcile_pool

AWAKE_MIB, ASLEEP_MIB = 40000, 1500


async def ledger_of(kube: Kube, node: str = "n1") -> Ledger:
    return Ledger.from_dict((await kube.get(names.GPU_NODE, node))["spec"])


async def filled(kube: Kube, site: Any, world: Any, node: str = "n1") -> None:
    """Until the operator has made the node's ledger; other keys are not worked on."""
    await site.until(lambda: world.measurement(node), "the agent is heard")
    await reconcile_node(world, node)

    async def has_gpus() -> bool:
        await reconcile_node(world, node)
        return bool((await ledger_of(kube, node)).gpus)

    await site.until(has_gpus, "the ledger has GPUs")


async def claimed(site: Any, uid: str, age_s: float = 0.0, pool: str = "default/p") -> None:
    plan = partial(
        claim,
        pod=PodRef(uid, pool),
        gpus=["GPU-n1-0"],
        memory_mib=1000,
        watts=0,
        at=timestamp(time.time() - age_s),
    )
    assert isinstance(await write(site.scheduler, "n1", plan), Written)


async def a_waiting_pod(kube: Kube, site: Any, world: Any, bodies: Any) -> Object:
    site.places = False
    await kube.create(names.INFERENCE_POOL, bodies.pool())
    await site.until(lambda: world.pools.store, "the pool is known")
    await reconcile_pool(world, "default/p")
    await site.until(lambda: world.pods.store, "the pod is known")
    return (await kube.list(names.POD, "default"))[0][0]


async def test_a_node_with_an_agent_gets_a_ledger_with_its_gpus(
    kube: Kube, site: Any, operators: Any
) -> None:
    await site.node("n1", gpus=2)
    async with operators.running(work=False) as world:
        await filled(kube, site, world)
        ledger = await ledger_of(kube)
        assert [(g.uuid, g.allocatable_mib, g.floor_watts) for g in ledger.gpus] == [
            ("GPU-n1-0", 79500, 200),
            ("GPU-n1-1", 79500, 200),
        ]
        owner = (await kube.get(names.GPU_NODE, "n1"))["metadata"]["ownerReferences"][0]
        assert (owner["kind"], owner["name"]) == ("Node", "n1")


async def test_a_claim_without_a_pod_is_released(kube: Kube, site: Any, operators: Any) -> None:
    await site.node("n1")
    async with operators.running(work=False) as world:
        await filled(kube, site, world)
        await claimed(site, "11111111-1111-1111-1111-111111111111", age_s=5)

        async def released() -> bool:
            await reconcile_node(world, "n1")
            return not (await ledger_of(kube)).pods

        await site.until(released, "the claim is released")


async def test_a_claim_is_kept_while_the_api_server_has_the_pod_whatever_the_cache_says(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1")
    async with operators.running(work=False, orphan_s=60) as world:
        await filled(kube, site, world)
        pod = await a_waiting_pod(kube, site, world, bodies)
        await claimed(site, pod["metadata"]["uid"], age_s=5)
        await site.until(lambda: world.ledger("n1").pods, "the claim is known")
        world.pods.store.clear()  # a cache that lags behind
        assert await reconcile_node(world, "n1") is not None
        assert (await ledger_of(kube)).pods


async def test_a_claim_of_a_pod_that_waits_for_its_binding_is_kept_until_orphan_s(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1")
    async with operators.running(work=False, orphan_s=60) as world:
        await filled(kube, site, world)
        pod = await a_waiting_pod(kube, site, world, bodies)
        await claimed(site, pod["metadata"]["uid"], age_s=30)
        await site.until(lambda: world.ledger("n1").pods, "the claim is known")
        await reconcile_node(world, "n1")
        assert (await ledger_of(kube)).pods
        world.settings.orphan_s = 20
        await reconcile_node(world, "n1")
        assert not (await ledger_of(kube)).pods


async def test_a_claim_stays_while_the_agent_still_measures_its_memory(
    kube: Kube, site: Any, operators: Any
) -> None:
    await site.node("n1")
    uid = "22222222-2222-2222-2222-222222222222"
    site.ghost(uid, "GPU-n1-0")  # a process that outlived its pod
    async with operators.running(work=False) as world:
        await filled(kube, site, world)
        await claimed(site, uid, age_s=90)
        await site.until(lambda: world.ledger("n1").pods, "the claim is known")
        assert await reconcile_node(world, "n1") is not None
        assert (await ledger_of(kube)).pods
        site.engines.clear()
        site.touch()
        await site.until(lambda: not world.measurement("n1").gpus[0].processes, "the process is gone")
        await reconcile_node(world, "n1")
        assert not (await ledger_of(kube)).pods


async def test_a_lost_ledger_is_rebuilt_with_every_claim_before_anybody_can_claim(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1")
    await site.router("n1")
    async with operators.running() as world:
        await kube.create(names.INFERENCE_POOL, bodies.pool())

        def asleep() -> bool:
            ledger = world.ledger("n1")
            return bool(ledger and ledger.pods and ledger.pods[0].state == "Asleep")

        await site.until(asleep, "the engine sleeps")
        uid = world.ledger("n1").pods[0].uid
        await kube.delete(names.GPU_NODE, "n1")
        seen = []

        async def back() -> bool:
            found = [o for o in (await kube.list(names.GPU_NODE))[0] if o["spec"]["gpus"]]
            seen.extend(found[:1])
            return bool(found)

        await site.until(back, "the ledger is back")
        assert [p["uid"] for p in seen[0]["spec"]["pods"]] == [uid]
        await site.until(asleep, "its charge is that of a sleeper again")
        assert world.ledger("n1").gpus[0].claimed_mib == ASLEEP_MIB
