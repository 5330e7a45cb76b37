"""How fast demand becomes a wake call: many wakes, each timed from the client's sending to the engine's receiving."""

from __future__ import annotations

import asyncio

import aiohttp

from ingle_kit.kube import Object
from ingle_kit.names import INFERENCE_POOL
from ingle_lab.demo.scene import NAMESPACE, WARM_POOLS, Scene, StepFailed

ROUNDS_A_POOL = 34
METRIC = "lab:last_wake_call_at_seconds"


async def many_wakes(scene: Scene) -> None:
    """At least 100 wakes of three pools whose engines sleep after a second."""
    scene.head(
        f"Wakes: {ROUNDS_A_POOL * len(WARM_POOLS)} of them, from sending a request to the engine's wake call"
    )
    for name in WARM_POOLS:
        await scene.stack.api.merge_patch(INFERENCE_POOL, name, _idle(1), NAMESPACE)
    delays_ms: list[float] = []
    await asyncio.gather(*(_rounds(scene, name, delays_ms) for name in WARM_POOLS))
    delays_ms.sort()
    scene.figures["wakes"] = len(delays_ms)
    for percent in (50, 95):
        value = delays_ms[min(len(delays_ms) - 1, len(delays_ms) * percent // 100)]
        scene.figures[f"demand_to_wake_ms_p{percent}"] = round(value, 1)
    scene.say(
        f"{len(delays_ms)} wakes, p50 {scene.figures['demand_to_wake_ms_p50']} ms, "
        f"p95 {scene.figures['demand_to_wake_ms_p95']} ms"
    )
    for name in WARM_POOLS:
        await scene.stack.api.merge_patch(INFERENCE_POOL, name, _idle(8), NAMESPACE)


def _idle(seconds: int) -> Object:
    return {"spec": {"warm": {"idleSeconds": seconds}}}


async def _rounds(scene: Scene, pool: str, delays_ms: list[float]) -> None:
    for number in range(ROUNDS_A_POOL):
        await scene.until(f"{pool} to sleep", lambda: _state(scene, pool) == "Asleep")
        answer = await scene.clients["team"].ask(pool, tokens=1)
        if not answer.good:
            raise StepFailed(f"{pool}, wake {number}: {answer.status} {answer.fault} {answer.message}")
        await scene.until(f"{pool} to be seen awake", lambda: _state(scene, pool) != "Asleep")
        called_at_s = await _wake_call_at_s(scene, pool)
        if called_at_s < answer.sent_at_s:
            raise StepFailed(f"{pool}, wake {number}: answered without a wake call after the request")
        delays_ms.append(1000 * (called_at_s - answer.sent_at_s))
        if pool == WARM_POOLS[0] and number % 10 == 9:
            scene.say(f"{number + 1} of {ROUNDS_A_POOL} rounds")


def _state(scene: Scene, pool: str) -> str:
    """The ledger's word on the pool's only engine; it is written before anything is done."""
    engines = scene.engines(pool)
    return str(scene.holder(engines[0]["metadata"]["uid"]).get("state", "")) if len(engines) == 1 else ""


async def _wake_call_at_s(scene: Scene, pool: str) -> float:
    address = scene.engines(pool)[0]["status"]["podIP"]
    limit = aiohttp.ClientTimeout(total=5)
    async with scene.session.get(f"http://{address}:8000/metrics", timeout=limit) as reply:
        text = await reply.text()
    return next(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(METRIC))
