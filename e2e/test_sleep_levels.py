"""Engines of each kind that drop their weights, or end, when they sleep: woken whole, and never served from before."""

from __future__ import annotations

import contextlib

from ingle_kit.kube import Object
from ingle_kit.names import INFERENCE_POOL
from ingle_lab.demo.scene import NAMESPACE, Scene

from .pools import ENGINE_PORT, applied, bound, placed, serving

IMAGES = {"VLLM": "vllm/vllm-openai:lab", "SGLang": "lmsysorg/sglang:lab"}


def dropping(kind: str, level: str = "L2") -> Object:
    warm = {"asleep": 1, "idleSeconds": 1, "level": level}
    engine = {"kind": kind, "image": IMAGES[kind], "startSeconds": 120}
    return placed(f"{level.lower()}-{kind.lower()}", 20_000, engine=engine, warm=warm)


def state(scene: Scene, pool: Object) -> list[str]:
    live = scene.pools.store.get((NAMESPACE, pool["metadata"]["name"])) or {}
    return [engine["state"] for engine in (live.get("status") or {}).get("engines") or ()]


def charged_mib(scene: Scene, uid: str) -> list[int]:
    """What the ledgers charge the engine on each GPU."""
    gpus = [gpu for node in scene.gpu_nodes.store.values() for gpu in node["spec"]["gpus"]]
    return [c["memoryMiB"] for gpu in gpus for c in gpu.get("claims") or () if c["podUID"] == uid]


async def asked_for(scene: Scene, pool: Object, replicas: int) -> None:
    wanted = {"spec": {"replicas": {"min": replicas}}}
    await scene.stack.api.merge_patch(INFERENCE_POOL, pool["metadata"]["name"], wanted, NAMESPACE)


async def answers(scene: Scene, pool: Object, pod: Object) -> bool:
    body = {"model": pool["spec"]["model"], "prompt": "of rivers", "max_tokens": 2}
    url = f"http://{pod['status']['podIP']}:{ENGINE_PORT}/v1/completions"
    async with scene.session.post(url, json=body) as reply:
        return reply.status == 200


async def without_weights(scene: Scene, pod: Object) -> float:
    """Answers that the engine gave without its weights."""
    async with scene.session.get(f"http://{pod['status']['podIP']}:{ENGINE_PORT}/metrics") as reply:
        lines = (await reply.text()).splitlines()
    return next(
        float(line.split()[-1]) for line in lines if "answers_without_weights" in line and line[0] != "#"
    )


async def test_sleepers_that_dropped_their_weights_have_them_again_when_they_serve(scene: Scene) -> None:
    pools = [dropping(kind) for kind in IMAGES]
    async with contextlib.AsyncExitStack() as stack:
        for pool in pools:
            await stack.enter_async_context(applied(scene, INFERENCE_POOL, pool))
        for pool in pools:
            await scene.until(
                "it to sleep at level 2", lambda pool=pool: state(scene, pool) == ["AsleepL2"], 60
            )
        uids = [(await bound(scene, pool))["metadata"]["uid"] for pool in pools]
        zones = [
            claim
            for node in scene.gpu_nodes.store.values()
            for z in node["spec"]["zones"]
            for claim in z["claims"]
        ]
        assert not [claim for claim in zones if claim["podUID"] in uids]
        for pool, uid in zip(pools, uids, strict=True):
            await asked_for(scene, pool, 1)
            pod = await serving(scene, pool)
            assert pod["metadata"]["uid"] == uid
            assert await answers(scene, pool, pod)
            assert await without_weights(scene, pod) == 0


async def test_spares_hold_nothing_of_a_gpu_until_somebody_asks_and_afterwards(scene: Scene) -> None:
    pools = [dropping(kind, "Spare") for kind in IMAGES]
    async with contextlib.AsyncExitStack() as stack:
        for pool in pools:
            await stack.enter_async_context(applied(scene, INFERENCE_POOL, pool))
        for pool in pools:
            await scene.until("a spare", lambda pool=pool: state(scene, pool) == ["Spare"], 60)
            uid = (await bound(scene, pool))["metadata"]["uid"]
            assert charged_mib(scene, uid) == [0]
            await asked_for(scene, pool, 1)
            pod = await serving(scene, pool)
            assert pod["metadata"]["uid"] == uid
            assert charged_mib(scene, uid) == [20_000]
            assert await answers(scene, pool, pod)
            await asked_for(scene, pool, 0)
            await scene.until("a spare again", lambda pool=pool: state(scene, pool) == ["Spare"], 60)
            assert charged_mib(scene, uid) == [0]
            again = await bound(scene, pool)
            assert again["metadata"]["uid"] == uid
            assert [c["restartCount"] for c in again["status"]["containerStatuses"]] == [0]
