"""Engines of each kind that drop their weights when they sleep: told so, woken whole, and never served from without them."""

from __future__ import annotations

import contextlib

from ingle_kit.kube import Object
from ingle_kit.names import INFERENCE_POOL
from ingle_lab.demo.scene import NAMESPACE, Scene

from .pools import ENGINE_PORT, applied, bound, placed, serving

IMAGES = {"VLLM": "vllm/vllm-openai:lab", "SGLang": "lmsysorg/sglang:lab"}


def dropping(kind: str) -> Object:
    warm = {"asleep": 1, "idleSeconds": 1, "level": "L2"}
    engine = {"kind": kind, "image": IMAGES[kind], "startSeconds": 120}
    return placed(f"drops-{kind.lower()}", 20_000, engine=engine, warm=warm)


def state(scene: Scene, pool: Object) -> list[str]:
    live = scene.pools.store.get((NAMESPACE, pool["metadata"]["name"])) or {}
    return [engine["state"] for engine in (live.get("status") or {}).get("engines") or ()]


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
            wanted = {"spec": {"replicas": {"min": 1}}}
            await scene.stack.api.merge_patch(INFERENCE_POOL, pool["metadata"]["name"], wanted, NAMESPACE)
            pod = await serving(scene, pool)
            assert pod["metadata"]["uid"] == uid
            body = {"model": pool["spec"]["model"], "prompt": "of rivers", "max_tokens": 2}
            url = f"http://{pod['status']['podIP']}:{ENGINE_PORT}/v1/completions"
            async with scene.session.post(url, json=body) as reply:
                assert reply.status == 200
            assert await without_weights(scene, pod) == 0
