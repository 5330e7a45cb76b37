"""A sleeper gives its host memory to an engine that wants it: it wakes, and sleeps again without its weights."""

from __future__ import annotations

from typing import Any

import pytest

from ingle_core.placement import TEXTS
from ingle_core.placement import Reason as NodeReason
from ingle_core.warmpool.tiers import Level
from ingle_kit import names
from ingle_kit.kube import Kube
from ingle_operator.need import need_of

HOST_MIB = 60_000
PLACEMENT = '{"memoryMiB": {"awake": 9, "asleep": 2, "host": 5}, "watts": 7}'


@pytest.mark.parametrize(
    ("memory", "mib"), [("62Gi", 63_488), ("62048Mi", 62_048), ("1e9", None), (None, None)]
)
def test_what_a_pod_needs_is_read_with_its_level_and_what_it_asks_of_kubernetes(
    memory: str | None, mib: int | None
) -> None:
    spec = {"containers": [{"resources": {"requests": {"memory": memory} if memory else {}}}]}
    made = need_of({names.ANNOTATION_PLACEMENT: PLACEMENT}, spec)
    assert (made.level, made.lowered, made.host_mib, made.requested_mib) == (Level.L1, False, 5, mib)
    lowered = need_of({names.ANNOTATION_PLACEMENT: PLACEMENT, names.ANNOTATION_LEVEL: "L2"}, spec)
    assert (lowered.level, lowered.lowered, lowered.host_mib) == (Level.L2, True, 0)


async def test_a_sleeper_drops_its_weights_for_a_new_engine_and_wakes_right_afterwards(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    site.numa_mib = 100_000
    await site.node("n1", gpus=2)
    room = {"cpu": "8", "memory": "1Ti"}  # without it the API server takes no resize
    await kube.merge_patch(
        names.NODE, "n1", {"status": {"allocatable": room, "capacity": room}}, subresource="status"
    )
    await site.router("n1")
    site.refusal = f"0/1 nodes: 1 {TEXTS[NodeReason.INSUFFICIENT_HOST_MEMORY]}."

    def body(name: str, **spec: Any) -> Any:
        found = bodies.pool(name, **spec)
        found["spec"]["variants"][0]["memoryMiB"]["host"] = HOST_MIB
        return found

    def engine(pool: str) -> Any:
        return next((e for e in site.engines.values() if e.pool == pool), None)

    async with operators.running() as world:

        def hosted(uid: str) -> int:
            zones = world.ledger("n1").zones
            return sum(c.memory_mib for z in zones for c in z.claims if c.pod_uid == uid)

        async def state(pool: str) -> str:
            status = (await kube.get(names.INFERENCE_POOL, pool, "default")).get("status") or {}
            return (status.get("engines") or [{}])[0].get("state", "")

        async def reached(pool: str, wanted: str) -> bool:
            return await state(pool) == wanted

        await kube.create(names.INFERENCE_POOL, body("old"))
        await site.until(lambda: reached("old", "AsleepL1"), "it sleeps with its weights")
        old = engine("old")
        assert hosted(old.uid) == HOST_MIB

        await kube.create(
            names.INFERENCE_POOL, body("new", replicas={"min": 1, "max": 1}, placement={"strategy": "Spread"})
        )
        await site.until(lambda: reached("old", "AsleepL2"), "it sleeps without")
        assert engine("old") is old, "it has not stopped"
        assert old.calls[-3:] == ["/wake_up", "/reset_prefix_cache", "/sleep?level=2"]
        assert hosted(old.uid) == 0
        await site.until(lambda: reached("new", "Awake"), "the new one serves")
        assert hosted(engine("new").uid) == HOST_MIB

        async def given_back() -> bool:
            pods, _ = await kube.list(names.POD, "default")
            mine = next(pod for pod in pods if pod["metadata"]["uid"] == old.uid)
            return bool(mine["spec"]["containers"][0]["resources"]["requests"]["memory"] == "2Gi")

        await site.until(given_back, "Kubernetes reserves less for it")
        site.ask("default/old", 1)
        await site.until(lambda: site.gate_open(old.uid), "it wakes")
        assert old.good, "its weights were read again"
