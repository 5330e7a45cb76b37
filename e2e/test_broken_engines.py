"""Engines that fail: told on the pool, replaced, and never served from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from ingle_kit.kube import Object
from ingle_kit.names import ANNOTATION_GPUS, EVENT
from ingle_lab.demo.scene import NAMESPACE, Scene
from ingle_lab.gpu import inject

from .pools import answering, fault

POOL = "llama-8b"


async def replaced(scene: Scene, pod: Object) -> Object:
    """Waits until another engine stands in the pod's place."""
    uid = pod["metadata"]["uid"]

    def other() -> Object | None:
        pods = scene.engines(POOL)
        return pods[0] if len(pods) == 1 and pods[0]["metadata"]["uid"] != uid else None

    found: Object = await scene.until("the engine to be replaced", other, 60)
    await scene.until("its claim to be gone", lambda: not scene.holder(uid))
    return found


async def told(scene: Scene, reason: str, pod: Object) -> None:
    """Waits for the event on the pool that names the engine."""
    name = pod["metadata"]["name"]

    async def seen() -> bool:
        events, _ = await scene.stack.api.list(EVENT, NAMESPACE, field_selector=f"reason={reason}")
        return any(e["involvedObject"]["name"] == POOL and name in e["message"] for e in events)

    await scene.until(f"the event {reason} about {name}", seen, 30)


async def test_an_engine_that_crashes_while_it_answers_is_replaced(scene: Scene) -> None:
    (pod,) = scene.engines(POOL)
    asked = asyncio.create_task(scene.clients["team"].ask(POOL, tokens=2000))
    await scene.until("it to answer", lambda: answering(scene, pod))
    await fault(scene, pod, kind="crash")
    answer = await asked
    assert answer.fault, answer
    await told(scene, "EngineLost", pod)
    await replaced(scene, pod)
    assert (await scene.clients["team"].ask(POOL)).good


async def test_a_sleeper_that_fails_to_wake_once_is_replaced_and_the_request_still_answered(
    scene: Scene,
) -> None:
    (pod,) = scene.engines(POOL)
    await fault(scene, pod, kind="fail_wake", times=1)
    answer = await scene.clients["team"].ask(POOL)
    assert answer.good, answer
    await told(scene, "WakeFailed", pod)
    await replaced(scene, pod)


async def test_an_engine_that_keeps_memory_after_sleep_stays_charged_and_is_replaced(scene: Scene) -> None:
    (pod,) = scene.engines(POOL)
    uid = pod["metadata"]["uid"]
    assert (await scene.clients["team"].ask(POOL)).good
    await fault(scene, pod, kind="keep_memory_after_sleep", mib=20_000)
    await told(scene, "SleepKeptMemory", pod)
    await replaced(scene, pod)
    assert not scene.holder(uid)


@pytest_asyncio.fixture(loop_scope="session")
async def lost_gpu(scene: Scene) -> AsyncIterator[Object]:
    """The engine of the pool, whose GPU falls off the bus; it is back at the end."""
    (pod,) = scene.engines(POOL)
    node, uuid = pod["spec"]["nodeName"], pod["metadata"]["annotations"][ANNOTATION_GPUS]
    gpus = scene.gpu_nodes.store[("", node)]["status"]["gpus"]
    index = next(g["index"] for g in gpus if g["uuid"] == uuid)
    state = scene.stack.lab / "nodes" / node / "gpus.state"
    inject(state, index, "GpuIsLost")
    yield pod
    inject(state, index, clear=True)
    await scene.until("the GPU to be healthy again", lambda: health(scene, node, uuid) == "Healthy", 30)


def health(scene: Scene, node: str, uuid: str) -> str:
    gpus = scene.gpu_nodes.store[("", node)]["status"]["gpus"]
    return str(next(g["health"] for g in gpus if g["uuid"] == uuid))


@pytest.mark.timeout(100)
async def test_an_engine_that_loses_its_gpu_is_replaced_on_another(scene: Scene, lost_gpu: Object) -> None:
    node, uuid = lost_gpu["spec"]["nodeName"], lost_gpu["metadata"]["annotations"][ANNOTATION_GPUS]
    await scene.until("the agent to tell of it", lambda: health(scene, node, uuid) == "Lost", 30)
    await told(scene, "GPULost", lost_gpu)
    other = await replaced(scene, lost_gpu)

    def placed() -> str:
        pods = scene.engines(POOL)
        return str((pods[0]["metadata"].get("annotations") or {}).get(ANNOTATION_GPUS, "")) if pods else ""

    assert await scene.until("it to be placed", placed) != uuid
    assert other["metadata"]["uid"] != lost_gpu["metadata"]["uid"]
    assert (await scene.clients["team"].ask(POOL)).good
