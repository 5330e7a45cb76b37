"""Engines that give way to others, and what keeps pools from taking more than they may."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingle_kit.kube import Object
from ingle_kit.names import INFERENCE_POOL, POD, Kind
from ingle_lab.demo.scene import NAMESPACE, Scene

from .pools import (
    ASLEEP_MIB,
    answering,
    applied,
    bound,
    engines,
    event,
    fault,
    gpus_of,
    in_namespace,
    placed,
    pool,
    serving,
    told,
)

NODE = "gpu-3"
URGENT, TIGHT = "urgent", "tight"
MOST_MIB = 70_000  # of 81 337: no second one fits beside it
QUOTA = Kind("", "v1", "resourcequotas", "ResourceQuota", True)


@contextlib.asynccontextmanager
async def stranger(scene: Scene) -> AsyncIterator[Object]:
    """A pod of another team on the node, which Ingle has nothing to do with."""
    await in_namespace(scene, "others")
    container = {"name": "job", "image": "ingle.dev/ingle:lab", "command": ["sleep", "600"]}
    metadata = {"name": "job", "namespace": "others"}
    spec = {"nodeName": NODE, "containers": [container]}
    await scene.stack.api.create(POD, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    try:
        yield await scene.until("the stranger to run", lambda: running(scene))
    finally:
        await scene.stack.api.delete(POD, "job", "others", grace_s=0)


async def running(scene: Scene) -> Object | None:
    """The stranger's process as the API knows it, None before it runs."""
    pod = await scene.stack.api.get(POD, "job", "others")
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    up = [s for s in statuses if "running" in (s.get("state") or {})]
    return {"uid": pod["metadata"]["uid"], "id": up[0]["containerID"]} if up else None


def memory_of(scene: Scene, uuid: str) -> tuple[int, dict[str, int], int]:
    """Of one GPU: MiB in use as NVML says, claimed by pod UID, and allocatable."""
    assert scene.witness is not None
    gpus = scene.gpu_nodes.store[("", NODE)]["spec"]["gpus"]
    gpu = next(gpu for gpu in gpus if gpu["uuid"] == uuid)
    claimed = {claim["podUID"]: claim["memoryMiB"] for claim in gpu["claims"]}
    return scene.witness.used_mib(uuid), claimed, gpu["allocatableMiB"]


async def settled(scene: Scene, uuid: str, sleeper: str) -> tuple[int, dict[str, int], int] | None:
    """The memory of a GPU once its sleeper is charged its residue and no more."""
    found = memory_of(scene, uuid)
    return found if found[1][sleeper] == ASLEEP_MIB else None


@contextlib.asynccontextmanager
async def full_node(scene: Scene) -> AsyncIterator[tuple[Object, Object]]:
    """All GPUs are held: half by an idle engine, half by one of Low priority that works on a request throughout."""
    idle = placed("idle", MOST_MIB, 4, node=NODE)
    busy = placed("busy", MOST_MIB, 4, node=NODE, priority="Low")
    async with applied(scene, INFERENCE_POOL, idle), applied(scene, INFERENCE_POOL, busy):
        sitting, working = await asyncio.gather(serving(scene, idle), serving(scene, busy))
        await fault(scene, working, kind="slow", factor=1000.0)
        asked = asyncio.create_task(scene.clients["team"].ask("busy/quick", tokens=200))
        await scene.until("it to be busy", lambda: answering(scene, working))
        yield sitting, working
        assert not asked.done()
        await fault(scene, working, kind="clear")
        answer = await asked
        assert answer.good, answer


async def foretold_room(ingle: Any, folder: Path, pool: Object) -> dict[str, Any]:
    """What `ingle whatif` says has to give way for the pool's only engine."""
    file = folder / "pool.yaml"
    file.write_text(yaml.safe_dump(pool))
    code, out, err = await ingle("whatif", "-f", str(file), "-o", "json")
    assert code == 0, err
    said = json.loads(out)
    assert said["replicas"] == []
    room: dict[str, Any] = said["room"]
    return room


@pytest.mark.timeout(120)
async def test_an_idle_engine_gives_way_to_a_higher_priority_where_what_if_said_and_a_busy_one_answers_on(
    scene: Scene, ingle: Any, tmp_path: Path
) -> None:
    high = placed("high", 60_000, node=NODE, namespace=URGENT, priority="High")
    await in_namespace(scene, URGENT, **{"ingle.dev/allow-high": "true"})
    async with stranger(scene) as job, full_node(scene) as (sitting, working):
        uid, name = sitting["metadata"]["uid"], sitting["metadata"]["name"]
        room = await foretold_room(ingle, tmp_path, high)
        assert [(v["podUID"], v["to"]) for v in room["victims"]] == [(uid, "Asleep")]
        async with applied(scene, INFERENCE_POOL, high):
            pod = await bound(scene, high)
            assert (pod["spec"]["nodeName"], gpus_of(pod)) == (room["node"], sorted(room["gpus"]))
            states = [scene.holder(one["metadata"]["uid"])["state"] for one in (sitting, working)]
            assert states == ["Asleep", "Awake"]
            assert f"{name} of {NAMESPACE}/idle sleeps" in await event(scene, "MadeRoom", "high", URGENT)
            assert f"{name} sleeps on {NODE} for {URGENT}/high" in await event(scene, "GaveWay", "idle")
            await serving(scene, high)
            (gpu,) = gpus_of(pod)
            used_mib, claimed_mib, allocatable_mib = await scene.until(
                "the sleeper's claim to follow its memory", lambda: settled(scene, gpu, uid)
            )
            assert claimed_mib[pod["metadata"]["uid"]] == 60_000
            assert 50_000 < used_mib <= sum(claimed_mib.values()) <= allocatable_mib
        assert await running(scene) == job


async def test_high_is_refused_in_a_namespace_that_was_not_allowed_it(scene: Scene, kubectl: Any) -> None:
    code, _, err = await kubectl("apply", "-f", "-", text=yaml.safe_dump(pool("urgent", priority="High")))
    assert code != 0
    assert f"priority High is not allowed in namespace {NAMESPACE}" in err
    assert "ingle.dev/allow-high=true" in err


@pytest.mark.timeout(90)
async def test_a_quota_refuses_the_engine_beyond_it_in_its_own_words_and_lets_it_in_when_it_is_raised(
    scene: Scene,
) -> None:
    await in_namespace(scene, TIGHT)
    quota: Object = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "gpus", "namespace": TIGHT},
        "spec": {"hard": {"requests.ingle.dev/gpu-memory-mib": "30720"}},
    }

    async def counted() -> bool:
        found = await scene.stack.api.get(QUOTA, "gpus", TIGHT)
        return (found.get("status") or {}).get("hard") == found["spec"]["hard"]

    two = placed("two", 20_480, namespace=TIGHT, replicas={"min": 2, "max": 2})
    async with applied(scene, QUOTA, quota):
        await scene.until("the quota to be in force", counted)
        async with applied(scene, INFERENCE_POOL, two):
            message = await told(scene, INFERENCE_POOL, "two", "Ready", "False", "PodRefused", TIGHT)
            assert "exceeded quota: gpus" in message
            assert "requests.ingle.dev/gpu-memory-mib=20480" in message
            assert len(await engines(scene, two)) == 1
            hard = {"requests.ingle.dev/gpu-memory-mib": "40960"}
            await scene.stack.api.merge_patch(QUOTA, "gpus", {"spec": {"hard": hard}}, TIGHT)

            async def both() -> bool:
                return len(await engines(scene, two)) == 2

            await scene.until("the second to be made", both, 30)
