"""Weights come to nodes' disks before an engine needs them: who copies where, what stops it, what a failure says."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from ingle_agent.warm import Budget, inventory
from ingle_core.warmpool.cachekey import weights_name
from ingle_kit import names
from ingle_kit.kube import Object
from ingle_kit.objects import dump, timestamp
from ingle_operator.metrics import OperatorMetrics
from ingle_operator.prefetch import copier_of, pause_after_s

HERE = {"cache_host_path": "/var/lib/ingle/cache", "cache_image": "ours:1", "fetch_reserve_mib": 10}
WEIGHTS = {"claimName": "models", "path": "llama", "sizeMiB": 100}
NAME = weights_name("default", "model-p", "models", "llama")
ENGINE = {"kind": "VLLM", "image": "i", "startSeconds": 60, "weights": WEIGHTS}
NONE_KEPT = {"asleep": 0, "idleSeconds": 1}


async def told(site: Any, node: str, **status: Any) -> None:
    """What the node's agent says of its disk."""
    patch = {"status": {"diskMiB": {"total": 10_000, "free": 5_000}} | status}
    await site.kube.merge_patch(names.GPU_NODE, node, patch, subresource="status")


async def with_node(site: Any, node: str) -> None:
    """A node whose agent has told its GPUs and its disk."""
    await site.node(node)

    async def there() -> bool:
        found = (await site.kube.list(names.GPU_NODE))[0]
        return any(n["metadata"]["name"] == node and n.get("status", {}).get("gpus") for n in found)

    await site.until(there, f"GPUNode {node} is told")
    await told(site, node)


async def copiers(site: Any) -> list[Object]:
    label = f"{names.LABEL_COMPONENT}={names.COMPONENT_FETCH}"
    found: list[Object] = (await site.kube.list(names.POD, "default", label_selector=label))[0]
    return found


async def one_copier(site: Any) -> Object:
    async def check() -> Object | None:
        found = await copiers(site)
        return found[0] if len(found) == 1 else None

    found: Object = await site.until(check, "one copier")
    return found


async def no_copier(site: Any) -> None:
    async def check() -> bool:
        return not await copiers(site)

    await site.until(check, "no copier")


async def ended(site: Any, pod: Object, phase: str, code: int, message: str = "") -> None:
    """The kubelet's word when the copier's process has ended."""
    over = {"exitCode": code, "reason": "Error", "message": message, "finishedAt": site.stamp()}
    state = {"name": "fetch", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
    status = {"phase": phase, "containerStatuses": [state | {"state": {"terminated": over}}]}
    await site.set_status(pod["metadata"]["name"], status)


async def run(pod: Object, folders: dict[str, Path]) -> int:
    """Runs what the pod would, with its mounts in these folders."""
    (container,) = pod["spec"]["containers"]
    words = [str(folders.get(word, word)) for word in container["command"][1:]]
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "ingle_kit.fetch", *words)
    return await process.wait()


async def test_weights_are_copied_to_a_node_once_and_the_copier_goes_when_the_agent_has_seen_them(
    site: Any, operators: Any, bodies: Any, tmp_path: Path
) -> None:
    (tmp_path / "claim" / "llama").mkdir(parents=True)
    (tmp_path / "claim" / "llama" / "w.safetensors").write_bytes(b"0" * 100)
    async with operators.running(**HERE) as world:
        await with_node(site, "a")
        await site.kube.create(names.INFERENCE_POOL, bodies.pool(engine=ENGINE, warm=NONE_KEPT))
        pod = await one_copier(site)
        assert copier_of(pod).job == (NAME, "a")
        assert pod["metadata"]["ownerReferences"][0]["name"] == "p"
        folders = {"/from": tmp_path / "claim", "/to": tmp_path / "cache" / "weights"}
        assert await run(pod, {**folders, "10": Path("0")}) == 0
        await ended(site, pod, "Succeeded", 0)
        items = inventory(tmp_path / "cache", Budget(float("inf")), 0.0)
        assert [item.model for item in items] == [NAME]
        await told(site, "a", warm=[dump(item) for item in items])
        await no_copier(site)
        await site.until(lambda: not world.copiers.store, "the operator knows")
        shown = generate_latest(OperatorMetrics(world).registry).decode()
        assert "ingle_weights_copiers 0.0" in shown


async def test_a_copier_stops_while_an_engine_loads_on_its_node_and_goes_on_after(
    site: Any, operators: Any, bodies: Any
) -> None:
    async with operators.running(**HERE):
        await with_node(site, "a")
        await site.kube.create(names.INFERENCE_POOL, bodies.pool(engine=ENGINE, warm=NONE_KEPT))
        before = await one_copier(site)
        site.faults["q"] = "NeverReady"
        loads = bodies.pool(
            "q", engine={"kind": "VLLM", "image": "i", "startSeconds": 60}, replicas={"min": 1, "max": 1}
        )
        await site.kube.create(names.INFERENCE_POOL, loads)
        await no_copier(site)
        await site.kube.delete(names.INFERENCE_POOL, "q", "default")

        async def no_engine() -> bool:
            for pod in (await site.kube.list(names.POD, "default", label_selector=names.LABEL_POOL))[0]:
                await site.kube.delete(names.POD, pod["metadata"]["name"], "default", grace_s=0)
            return not (await site.kube.get(names.GPU_NODE, "a"))["spec"]["pods"]

        await site.until(no_engine, "no engine loads")
        after = await one_copier(site)
        assert after["metadata"]["uid"] != before["metadata"]["uid"]


async def test_a_failed_copy_is_told_on_its_pool_and_left_alone_for_a_while(
    site: Any, operators: Any, bodies: Any
) -> None:
    async with operators.running(**HERE) as world:
        await with_node(site, "a")
        await site.kube.create(names.INFERENCE_POOL, bodies.pool(engine=ENGINE, warm=NONE_KEPT))
        await ended(site, await one_copier(site), "Failed", 3, "w needs 9 MiB, 3 MiB are free")
        await no_copier(site)

        async def events() -> list[str]:
            found = (await site.kube.list(names.EVENT, "default"))[0]
            return [e["message"] for e in found if e["reason"] == "FetchFailed"]

        (text,) = await site.until(events, "the failure is told")
        assert f"copy of weights {NAME} to node a: Error, exit code 3: w needs 9 MiB" in text
        await site.until(lambda: world.notes.fetch_waits == {NAME: "FailedLately"}, "it waits")


async def test_copiers_of_an_earlier_time_are_stopped_where_copying_is_off(
    site: Any, operators: Any, bodies: Any
) -> None:
    async with operators.running(**HERE):
        await with_node(site, "a")
        await site.kube.create(names.INFERENCE_POOL, bodies.pool(engine=ENGINE, warm=NONE_KEPT))
        await one_copier(site)
    async with operators.running():
        await no_copier(site)


def copier(status: Object, age_s: float) -> Any:
    """A copier's pod of that age at 1 000 000 s, as the operator reads it."""
    metadata = {
        "namespace": "default",
        "name": "x",
        "uid": "u",
        "creationTimestamp": timestamp(1e6 - age_s),
        "annotations": {names.ANNOTATION_FETCHES: '{"weights":"w","node":"a","pool":"default/p"}'},
    }
    return copier_of({"metadata": metadata, "status": status})


def test_a_copier_that_does_not_begin_is_given_up_after_a_while_with_the_reason_it_has() -> None:
    refused = {"type": "PodScheduled", "status": "False", "message": 'claim "models" not found'}
    waits = {"phase": "Pending", "conditions": [refused]}
    assert [copier(waits, age_s).stuck(1e6) for age_s in (599, 601)] == [False, True]
    assert copier(waits, 601).trouble == 'claim "models" not found'
    assert not copier({"phase": "Running"}, 601).stuck(1e6)


def test_pauses_after_failures_grow_to_half_an_hour() -> None:
    assert [pause_after_s(n) for n in (1, 2, 20)] == [30, 60, 1800]


@pytest.mark.parametrize("label", [{}, {names.ANNOTATION_FETCHES: "no json"}])
def test_a_pod_that_only_bears_the_label_is_no_copier(label: dict[str, str]) -> None:
    with pytest.raises((KeyError, ValueError)):
        copier_of({"metadata": {"namespace": "n", "name": "x", "uid": "u", "annotations": label}})
