"""What people write: bad input is refused or explained, and hurts nobody else; trouble has a documented reason."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingle_kit import names
from ingle_kit.kube import Invalid, Kube, KubeError, Object

ROOT = Path(__file__).resolve().parents[2]


async def shown(
    kube: Kube, site: Any, bodies: Any, kind: Any, name: str, namespace: Any, **wanted: Any
) -> Any:
    """The object once each condition (Accepted="True/Reason") reads so."""

    async def reads() -> Object | None:
        obj = await kube.get(kind, name, namespace)
        for type_, text in wanted.items():
            found = bodies.condition(obj, type_)
            if f"{found.get('status')}/{found.get('reason')}" != text:
                return None
        return obj

    return await site.until(reads, f"{kind.kind} {name} shows {wanted}", 40)


async def test_min_above_max_is_refused_with_what_to_change(kube: Kube, plane: Any, bodies: Any) -> None:
    with pytest.raises(Invalid, match=r"lower min or raise max"):
        await kube.create(names.INFERENCE_POOL, bodies.pool(replicas={"min": 3, "max": 2}))


async def test_an_unknown_field_is_refused_by_strict_writers(kube: Kube, bodies: Any) -> None:
    body = bodies.pool()
    body["spec"]["replica"] = {"min": 1}
    path = names.INFERENCE_POOL.path("default")
    with pytest.raises(KubeError, match=r'unknown field "spec.replica"'):
        await kube.request("POST", path, body=body, query={"fieldValidation": "Strict"})


async def test_a_variant_that_fits_no_gpu_is_told_and_no_pod_is_made(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1")
    big = bodies.pool()["spec"]["variants"][0] | {"memoryMiB": {"awake": 90000, "asleep": 1, "host": 0}}
    async with operators.running() as world:
        await site.until(lambda: world.ledger("n1") and world.ledger("n1").gpus, "the node is known")
        await kube.create(names.INFERENCE_POOL, bodies.pool(variants=[big]))
        told = "VariantFitsNoGPU"
        pool = await shown(
            kube, site, bodies, names.INFERENCE_POOL, "p", "default",
            Accepted=f"False/{told}", Ready=f"False/{told}", Stalled=f"True/{told}",
        )  # fmt: skip
        message = bodies.condition(pool, "Ready")["message"]
        assert "90000 MiB" in message
        assert "79500 MiB" in message
        assert not (await kube.list(names.POD, "default"))[0]


async def test_a_second_variant_is_used_where_the_first_fits_nowhere(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1")
    good = bodies.pool()["spec"]["variants"][0]
    big = good | {"name": "big", "gpuProducts": ["B200"]}
    async with operators.running() as world:
        await site.until(lambda: world.ledger("n1") and world.ledger("n1").gpus, "the node is known")
        await kube.create(names.INFERENCE_POOL, bodies.pool(variants=[big, good]))
        await site.until(lambda: site.engines, "an engine runs")
        assert [p.variant for p in world.pods.store.values()] == ["v"]


async def test_of_two_pools_with_one_model_the_younger_is_told(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    site.places = False
    async with operators.running():
        for name in ("a", "b"):
            await kube.create(names.INFERENCE_POOL, bodies.pool(name, model="m"))
        pool = await shown(
            kube, site, bodies, names.INFERENCE_POOL, "b", "default", Accepted="True/ModelConflicted"
        )
        assert "default/a" in bodies.condition(pool, "Accepted")["message"]
        await shown(kube, site, bodies, names.INFERENCE_POOL, "a", "default", Accepted="True/Accepted")
        await kube.delete(names.INFERENCE_POOL, "a", "default")
        await shown(kube, site, bodies, names.INFERENCE_POOL, "b", "default", Accepted="True/Accepted")


@pytest.mark.parametrize(("fault", "reason"), [("NeverReady", "EngineNeverReady"), ("Crash", "EngineLost")])
async def test_an_engine_that_never_serves_is_replaced_with_growing_pauses_until_the_pool_is_stalled(
    kube: Kube, site: Any, operators: Any, bodies: Any, fault: str, reason: str
) -> None:
    await site.node("n1")
    site.faults["p"] = fault
    engine = {"kind": "VLLM", "image": "i", "startSeconds": 1}
    async with operators.running() as world:
        await kube.create(names.INFERENCE_POOL, bodies.pool(engine=engine))
        seen: list[tuple[int, float]] = []

        def failed_thrice() -> bool:
            failures = world.notes.failures.get("default/p")
            if failures and (not seen or seen[-1][0] != failures.count):
                seen.append((failures.count, failures.at_s))
            return bool(failures and failures.count >= 3)

        await site.until(failed_thrice, "three failures", 40)
        (_, first), (_, second), (_, third) = seen
        assert second - first >= 2
        assert third - second >= 4
        pool = await shown(
            kube, site, bodies, names.INFERENCE_POOL, "p", "default",
            Ready=f"False/{reason}", Stalled=f"True/{reason}",
        )  # fmt: skip
        failed = re.match(r"(\d+) engines failed in a row", bodies.condition(pool, "Stalled")["message"])
        assert failed is not None
        assert int(failed[1]) >= 3


async def test_an_engine_that_loses_its_gpu_is_replaced_on_another(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1", gpus=2)
    async with operators.running():
        await kube.create(names.INFERENCE_POOL, bodies.pool())
        await site.until(lambda: site.engines, "an engine runs")
        (before,) = site.engines.values()
        site.lost.update(before.gpus)
        site.touch()

        def replaced() -> bool:
            now = list(site.engines.values())
            return bool(now and now[0].uid != before.uid and now[0].gpus != before.gpus)

        await site.until(replaced, "it runs on the other GPU")
        events = (await kube.list(names.EVENT, "default"))[0]
        assert any(e["reason"] == "GPULost" and e["type"] == "Warning" for e in events)


@pytest.mark.parametrize(("fault", "reason"), [("No/wake_up", "WakeFailed"), ("No/sleep", "SleepFailed")])
async def test_an_engine_that_does_not_wake_or_sleep_is_replaced(
    kube: Kube, site: Any, operators: Any, bodies: Any, fault: str, reason: str
) -> None:
    await site.node("n1")
    await site.router("n1")
    async with operators.running(wake_limit_s=1, sleep_limit_s=1):
        await kube.create(names.INFERENCE_POOL, bodies.pool())
        await site.until(lambda: any(e.asleep for e in site.engines.values()), "it sleeps")
        (before,) = site.engines.values()
        site.faults["p"] = fault
        site.ask("default/p", 1)
        if fault == "No/sleep":
            await site.until(lambda: site.gate_open(before.uid), "it serves")
            site.ask("default/p", 0)
        await site.until(lambda: before.uid not in site.engines, "it is removed")
        del site.faults["p"]
        await site.until(lambda: site.engines, "there is another")
        events = (await kube.list(names.EVENT, "default"))[0]
        assert any(e["reason"] == reason for e in events)


async def test_a_policy_that_names_a_missing_pool_is_told_until_the_pool_comes(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    site.places = False
    head = {"apiVersion": names.ROUTING_POLICY.api_version, "kind": "RoutingPolicy"}
    spec = {
        "models": ["model-p"],
        "permissions": [{"name": "all", "allow": "true"}],
        "fallback": {"pool": "other", "others": ["third"]},
    }
    async with operators.running():
        await kube.create(names.INFERENCE_POOL, bodies.pool())
        policy = {**head, "metadata": {"name": "r", "namespace": "default"}, "spec": spec}
        await kube.create(names.ROUTING_POLICY, policy)
        lost = {**spec, "fallback": {"pool": "p", "others": ["lost"]}}
        await kube.create(
            names.ROUTING_POLICY, {**head, "metadata": {"name": "s", "namespace": "default"}, "spec": lost}
        )
        told = await shown(
            kube, site, bodies, names.ROUTING_POLICY, "s", "default", Accepted="False/PoolNotFound"
        )
        assert (
            "spec.fallback.others: there is no InferencePool lost"
            in bodies.condition(told, "Accepted")["message"]
        )
        args = (kube, site, bodies, names.ROUTING_POLICY, "r", "default")
        told = await shown(*args, Accepted="False/PoolNotFound")
        assert (
            "spec.fallback.pool: there is no InferencePool other"
            in bodies.condition(told, "Accepted")["message"]
        )
        for name in ("third", "other"):
            await kube.create(names.INFERENCE_POOL, bodies.pool(name))
        await shown(*args, Accepted="True/Accepted")


async def test_a_stored_object_that_no_longer_fits_is_told_and_stops_no_other(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1")
    crd = yaml.safe_load((ROOT / "crds" / "ingle.dev_inferencepools.yaml").read_text())
    loose = copy.deepcopy(crd)
    schema = loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    try:
        await kube.apply(names.CRD, loose, manager="test", force=True)
        broken = bodies.pool("broken")
        broken["spec"]["variants"] = "junk"

        async def stored() -> bool:
            try:
                await kube.create(names.INFERENCE_POOL, broken)
            except Invalid:
                return False
            return True

        await site.until(stored, "the loose schema is served")
        async with operators.running():
            await kube.create(names.INFERENCE_POOL, bodies.pool("good"))
            await site.until(lambda: any(e.asleep for e in site.engines.values()), "the good one lives")
            args = (kube, site, bodies, names.INFERENCE_POOL, "broken", "default")
            told = await shown(*args, Accepted="False/InvalidSpec")
            assert "spec.variants" in bodies.condition(told, "Accepted")["message"]
    finally:
        await kube.delete(names.INFERENCE_POOL, "broken", "default")
        await kube.apply(names.CRD, crd, manager="test", force=True)
