"""What a person sees who asks for something that cannot be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import yaml

from ingle_kit.names import INFERENCE_POOL, POWER_BUDGET, ROUTING_POLICY
from ingle_lab.demo.scene import BUDGET, NAMESPACE, Scene

from .pools import applied, pool, told

HALL_W = 10_500


async def test_an_unknown_field_is_refused_with_its_name(scene: Scene, kubectl: Any) -> None:
    wrong = pool("typo", warm={"asleep": 0, "idleSecs": 5})
    code, _, err = await kubectl("apply", "--validate=strict", "-f", "-", text=yaml.safe_dump(wrong))
    assert code != 0
    assert 'unknown field "spec.warm.idleSecs"' in err


async def test_a_minimum_above_the_maximum_is_refused_with_what_to_change(scene: Scene, kubectl: Any) -> None:
    wrong = pool("min-above-max", replicas={"min": 3, "max": 2})
    code, _, err = await kubectl("apply", "-f", "-", text=yaml.safe_dump(wrong))
    assert code != 0
    assert "replicas.min must not be above replicas.max" in err
    assert "lower min or raise max" in err


async def test_a_variant_that_fits_no_gpu_is_told_on_the_pool_with_the_largest_gpu(scene: Scene) -> None:
    variant = {
        "name": "huge",
        "gpus": 1,
        "memoryMiB": {"awake": 500_000, "asleep": 2048, "host": 17000},
        "watts": {"busy": 430, "idle": 95},
    }
    async with applied(scene, INFERENCE_POOL, pool("too-big", variants=[variant])):
        message = await told(scene, INFERENCE_POOL, "too-big", "Accepted", "False", "VariantFitsNoGPU")
        assert "500000 MiB" in message
        assert "lower memoryMiB.awake" in message
        answer = await scene.clients["team"].ask("test/too-big")
        assert answer.status == 503, answer


async def test_of_two_pools_with_one_model_name_the_older_keeps_it_and_the_newer_is_told(
    scene: Scene,
) -> None:
    model = "meta-llama/Llama-3.1-8B-Instruct"
    async with applied(scene, INFERENCE_POOL, pool("namesake", model=model)):
        message = await told(scene, INFERENCE_POOL, "namesake", "Accepted", "True", "ModelConflicted")
        assert "chat/llama-8b" in message
        answer = await scene.clients["team"].ask(model)
        assert answer.good, answer
        assert not scene.engines("namesake")


async def test_a_budget_below_the_minimum_limits_is_told_with_the_watts_it_needs(scene: Scene) -> None:
    await scene.stack.api.merge_patch(POWER_BUDGET, BUDGET, {"spec": {"watts": 3000}})
    try:
        message = await told(scene, POWER_BUDGET, BUDGET, "Accepted", "False", "BelowMinimumLimits", None)
        assert "6700" in message
    finally:
        await scene.stack.api.merge_patch(POWER_BUDGET, BUDGET, {"spec": {"watts": HALL_W}})
    await told(scene, POWER_BUDGET, BUDGET, "Accepted", "True", "Accepted", None)

    def cap_is_back() -> bool:
        return (scene.budgets.store[("", BUDGET)].get("status") or {}).get("capWatts") == HALL_W

    await scene.until("the cap to be back", cap_is_back)


async def test_a_policy_that_names_a_missing_pool_is_told_and_denies(scene: Scene) -> None:
    policy = {
        "apiVersion": ROUTING_POLICY.api_version,
        "kind": ROUTING_POLICY.kind,
        "metadata": {"name": "lost", "namespace": NAMESPACE},
        "spec": {
            "models": ["llama-8b"],
            "permissions": [{"name": "all", "allow": "true"}],
            "fallback": {"pool": "no-such-pool"},
        },
    }
    async with applied(scene, ROUTING_POLICY, policy):
        message = await told(scene, ROUTING_POLICY, "lost", "Accepted", "False", "PoolNotFound")
        assert "no-such-pool" in message

        async def denied() -> bool:
            return (await scene.clients["team"].ask("llama-8b", tokens=1)).status == 403

        await scene.until("the policy to deny", denied, 10)

    async def allowed() -> bool:
        return (await scene.clients["team"].ask("llama-8b", tokens=1)).good

    await scene.until("the policy to be gone", allowed, 20)


@pytest.mark.timeout(90)
async def test_an_engine_that_never_becomes_ready_is_told_and_leaves_no_claim(scene: Scene) -> None:
    wrong = pool("never-ready", template={"env": [{"name": "LAB_FAULT", "value": "never_ready"}]})
    wrong["spec"]["engine"]["startSeconds"] = 2
    async with applied(scene, INFERENCE_POOL, wrong):
        asked = asyncio.create_task(scene.clients["team"].ask("test/never-ready"))
        message = await told(scene, INFERENCE_POOL, "never-ready", "Ready", "False", "EngineNeverReady")
        assert "engine never-ready-" in message
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
