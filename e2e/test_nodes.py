"""Nodes register with what their agents read through NVML."""

from __future__ import annotations

from typing import Any

from ingle_lab.demo.scene import Scene

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
