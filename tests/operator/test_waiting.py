"""A pod that the scheduler refused is looked at again when the ledgers change, and once more for who heard of it late."""

from __future__ import annotations

from functools import partial
from typing import Any

from ingle_core.ledger import set_allotment
from ingle_kit import names
from ingle_kit.kube import Kube
from ingle_kit.ledger import Written, write


async def test_a_waiting_pod_is_requeued_twice_for_a_change_of_a_ledger(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1")
    await site.router("n1")
    site.places, site.refusal = False, "0/1 nodes are available: 1 Insufficient cpu."
    async with operators.running() as world:
        await kube.create(names.INFERENCE_POOL, bodies.pool(replicas={"min": 1, "max": 1}))

        def waits() -> bool:
            return any(pod.uid in world.notes.requeued for pod in world.pods.store.values())

        async def told() -> str | None:
            pods, _ = await kube.list(names.POD, "default", label_selector=names.LABEL_POOL)
            found: str | None = pods[0]["metadata"]["annotations"].get(names.ANNOTATION_REQUEUE)
            return found

        await site.until(waits, "a pod waits")
        before = await told()
        assert isinstance(
            await write(world.kube, "n1", partial(set_allotment, watts=5000, safe=5000)), Written
        )

        async def told_again() -> bool:
            return await told() == f"{world.ledger('n1').revision}+"

        await site.until(told_again, "the change is told, and told again")
        assert await told() != before
