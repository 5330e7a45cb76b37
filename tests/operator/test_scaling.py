"""Replicas by what engines say and by what is forecast, and who else may decide, on a real API server."""

from __future__ import annotations

import time
from typing import Any

from ingle_core.scaling.forecast import HORIZON_STEPS, Forecast
from ingle_core.scaling.history import STEP_S
from ingle_kit import names
from ingle_kit.kube import Kube
from ingle_operator.autoscalers import autoscaler_of, contradiction, owners

LONG_QUEUE = {"concurrency": 100, "queue": 2}


async def wanted(kube: Kube, name: str = "p") -> int:
    status = (await kube.get(names.INFERENCE_POOL, name, "default")).get("status") or {}
    count: int = (status.get("replicas") or {}).get("wanted", -1)
    return count


async def awake(kube: Kube, name: str = "p") -> int:
    status = (await kube.get(names.INFERENCE_POOL, name, "default")).get("status") or {}
    count: int = (status.get("replicas") or {}).get("awake", -1)
    return count


async def event(kube: Kube, site: Any, reason: str, words: str) -> None:
    """Until such an event is there."""

    async def there() -> bool:
        found, _ = await kube.list(names.EVENT, "default")
        return any(e["reason"] == reason and words in e["message"] for e in found)

    await site.until(there, f"an event {reason}")


def autoscaler(name: str, pool: str) -> dict[str, Any]:
    target = {"apiVersion": names.INFERENCE_POOL.api_version, "kind": "InferencePool", "name": pool}
    return {
        "apiVersion": names.AUTOSCALER.api_version,
        "kind": names.AUTOSCALER.kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 2},
    }


async def test_a_queue_inside_an_engine_wakes_more_and_when_it_is_gone_they_sleep(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1", gpus=2)
    await site.router("n1")
    async with operators.running() as world:
        await kube.create(
            names.INFERENCE_POOL,
            bodies.pool(
                scaling=LONG_QUEUE, replicas={"min": 0, "max": 2}, warm={"asleep": 2, "idleSeconds": 1}
            ),
        )
        site.ask("default/p", 1)

        async def awake_are(number: int) -> bool:
            return await awake(kube) == number

        await site.until(lambda: awake_are(1), "one replica is awake")
        assert await wanted(kube) == 1
        site.said["p"] = {"queue": 8, "kv_percent": 10}
        site.touch()
        await site.until(lambda: awake_are(2), "the queue wakes another")
        await event(kube, site, "Scaled", "by queue")
        assert world.scaling.said["default/p"].reasons
        site.said.clear()
        site.ask("default/p", 0)
        await site.until(lambda: awake_are(0), "all sleep")


async def test_where_an_autoscaler_owns_the_count_ours_steps_back_and_two_owners_are_told(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1", gpus=2)
    await site.router("n1")
    scaler = autoscaler("theirs", "p")
    await kube.create(names.AUTOSCALER, scaler)
    try:
        async with operators.running():
            replicas = {"min": 0, "max": 2, "fixed": 1}
            await kube.create(names.INFERENCE_POOL, bodies.pool(scaling=LONG_QUEUE, replicas=replicas))
            site.said["p"] = {"queue": 8}
            site.ask("default/p", 1)

            async def accepted() -> str:
                pool = await kube.get(names.INFERENCE_POOL, "p", "default")
                reason: str = bodies.condition(pool, "Accepted").get("reason", "")
                return reason

            async def told(reason: str) -> bool:
                return await accepted() == reason

            await site.until(lambda: told("TwoScalers"), "two owners are told")
            await site.until(lambda: awake(kube), "a replica is awake")
            assert await wanted(kube) == 1
            await event(kube, site, "TwoScalers", "HorizontalPodAutoscaler theirs")
            await kube.delete(names.AUTOSCALER, "theirs", "default")
            await site.until(lambda: told("Accepted"), "one owner is left")
            assert await wanted(kube) == 1  # the last count stays until somebody removes it
            patch = {"spec": {"replicas": {"fixed": None}}}
            await kube.merge_patch(names.INFERENCE_POOL, "p", patch, "default")

            async def two() -> bool:
                return await wanted(kube) == 2

            await site.until(two, "its own signals count again")
    finally:
        for left in (await kube.list(names.AUTOSCALER, "default"))[0]:
            await kube.delete(names.AUTOSCALER, left["metadata"]["name"], "default")


async def test_a_forecast_wakes_a_sleeper_before_anybody_asks_and_takes_none_away(
    kube: Kube, site: Any, operators: Any, bodies: Any
) -> None:
    await site.node("n1")
    await site.router("n1")
    async with operators.running() as world:
        scaling = {"concurrency": 4, "forecast": "Seasonal"}
        await kube.create(names.INFERENCE_POOL, bodies.pool(scaling=scaling))

        async def asleep() -> bool:
            pool = await kube.get(names.INFERENCE_POOL, "p", "default")
            return bool((pool.get("status") or {}).get("replicas", {}).get("asleep") == 1)

        await site.until(asleep, "a sleeper is kept")
        now_s = time.time()
        world.scaling.forecasts["default/p"] = Forecast(
            now_s // STEP_S * STEP_S, (3.0,) * HORIZON_STEPS, "Seasonal"
        )
        world.add("pool", "default/p")
        await site.until(lambda: awake(kube), "it is awake although nobody asks")
        assert await wanted(kube) == 1
        await event(kube, site, "AheadOfLoad", "forecast (Seasonal)")
        world.scaling.forecasts["default/p"] = Forecast(now_s // STEP_S * STEP_S, (0.0,) * HORIZON_STEPS)
        await site.until(asleep, "it sleeps again")


def test_an_autoscaler_that_keda_made_is_named_by_its_scaled_object() -> None:
    body = autoscaler("keda-hpa-night", "p")
    body["metadata"]["ownerReferences"] = [{"kind": "ScaledObject", "name": "night"}]
    assert owners([autoscaler_of(body)], "default/p") == ["ScaledObject night"]
    assert owners([autoscaler_of(body)], "default/q") == []


def test_an_autoscaler_of_a_deployment_of_the_same_name_is_none_of_ours() -> None:
    body = autoscaler("web", "p")
    body["spec"]["scaleTargetRef"] = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "p"}
    gateway = autoscaler("other", "p")
    gateway["spec"]["scaleTargetRef"]["apiVersion"] = "inference.networking.k8s.io/v1"
    assert owners([autoscaler_of(body), autoscaler_of(gateway)], "default/p") == []


def test_two_autoscalers_contradict_each_other_whatever_the_pool_says(bodies: Any) -> None:
    from ingle_kit.objects import InferencePoolSpec

    plain = InferencePoolSpec.model_validate(bodies.pool()["spec"])
    eager = InferencePoolSpec.model_validate(bodies.pool(scaling=LONG_QUEUE)["spec"])
    assert contradiction(plain, []) == contradiction(plain, ["a"]) == contradiction(eager, []) == ""
    assert "scaling.queue" in contradiction(eager, ["a"])
    assert "a and b both" in contradiction(plain, ["a", "b"])
