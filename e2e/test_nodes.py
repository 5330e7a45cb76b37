"""Nodes register with what their agents read through NVML."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ingle_kit.kube import Forbidden, Object
from ingle_kit.names import GPU_NODE
from ingle_lab.demo.scene import Scene

from .pools import answering, fault

DGX_A100_ZONES = [3, 3, 1, 1, 7, 7, 5, 5]


async def test_three_nodes_of_eight_gpus_are_registered_from_nvml_readings(scene: Scene) -> None:
    nodes = {name: node for (_, name), node in scene.gpu_nodes.store.items()}
    assert sorted(nodes) == ["gpu-1", "gpu-2", "gpu-3"]
    for node in nodes.values():
        gpus = node["status"]["gpus"]
        assert len({gpu["uuid"] for gpu in gpus}) == 8
        assert [gpu["uuid"] for gpu in node["spec"]["gpus"]] == [gpu["uuid"] for gpu in gpus]
    assert [gpu["numa"] for gpu in nodes["gpu-3"]["status"]["gpus"]] == DGX_A100_ZONES
    assert "A100" in nodes["gpu-3"]["status"]["gpus"][0]["product"]


async def test_kubectl_shows_every_kind_with_its_columns(scene: Scene, kubectl: Any) -> None:
    code, out, err = await kubectl("get", "ipool,rpol,pbud,gpun", "-A")
    assert code == 0, err
    for word in (
        "inferencepool.ingle.dev/llama-8b",
        "routingpolicy.ingle.dev/mistral",
        "powerbudget.ingle.dev/hall",
    ):
        assert word in out
    assert "gpunode.ingle.dev/gpu-3" in out
    for column in ("MODEL", "AWAKE", "ASLEEP", "READY", "CAP"):
        assert column in out, out


def claims_of(node: Object, uid: str) -> list[tuple[str, int]]:
    """(GPU, MiB) that a pod has in a node's ledger."""
    spec = node["spec"]
    return [(g["uuid"], c["memoryMiB"]) for g in spec["gpus"] for c in g["claims"] if c["podUID"] == uid]


async def test_a_deleted_ledger_comes_back_with_the_claims_of_engines_that_answer_and_no_old_copy_is_taken(
    scene: Scene,
) -> None:
    api = scene.stack.api
    (pod,) = scene.engines("llama-8b")
    name, uid = pod["spec"]["nodeName"], pod["metadata"]["uid"]
    old = await api.get(GPU_NODE, name)
    await fault(scene, pod, kind="slow", factor=20.0)
    asked = asyncio.create_task(scene.clients["team"].ask("llama-8b", tokens=100))
    await scene.until("it to work on the request", lambda: answering(scene, pod))
    await scene.until("it to be awake in the ledger", lambda: scene.holder(uid).get("state") == "Awake", 20)
    held = claims_of(scene.gpu_nodes.store[("", name)], uid)
    await api.delete(GPU_NODE, name)
    copy = {key: old[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": name}}
    with pytest.raises(Forbidden, match="ledger"):
        await api.create(GPU_NODE, copy)

    def back() -> Object | None:
        found = scene.gpu_nodes.store.get(("", name))
        is_new = found is not None and found["metadata"]["uid"] != old["metadata"]["uid"]
        return found if is_new and found["spec"]["gpus"] else None

    rebuilt = await scene.until("the ledger to be back", back, 20)
    assert claims_of(rebuilt, uid) == held
    answer = await asked
    assert answer.good, answer
    await scene.all_asleep("llama-8b")
    assert [p["metadata"]["uid"] for p in scene.engines("llama-8b")] == [uid]
