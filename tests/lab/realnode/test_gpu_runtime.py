"""What NVIDIA's container runtime reads on the real node, and what is changed for simulated GPUs."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from ingle_lab.realnode.gpu_runtime import GPU_DIR, LIBRARY_DIR, cdi, config, share_process_ids

UUIDS = ("GPU-a", "GPU-b")


def specification() -> dict[str, Any]:
    return cdi(UUIDS, Path("/cache/gpu/libnvidia-ml.so.1"), Path("/lab/gpus"), 0.1)


def test_a_gpu_is_named_by_its_uuid_and_brings_its_own_device_alone() -> None:
    devices = {
        device["name"]: [node["path"] for node in device["containerEdits"]["deviceNodes"]]
        for device in specification()["devices"]
    }
    assert devices == {
        "GPU-a": ["/dev/nvidia0"],
        "GPU-b": ["/dev/nvidia1"],
        "all": ["/dev/nvidia0", "/dev/nvidia1"],
    }


def test_with_any_of_them_comes_the_simulated_driver() -> None:
    edits = specification()["containerEdits"]
    mounts = {mount["containerPath"]: mount["hostPath"] for mount in edits["mounts"]}
    assert mounts == {LIBRARY_DIR: "/cache/gpu", GPU_DIR: "/lab/gpus"}
    assert f"LD_LIBRARY_PATH={LIBRARY_DIR}" in edits["env"]


def test_the_runtime_takes_requests_by_variable_and_by_annotation() -> None:
    read = tomllib.loads(config(Path("/low-level"), Path("/cdi")))["nvidia-container-runtime"]
    assert (read["mode"], read["runtimes"]) == ("cdi", ["/low-level"])
    assert read["modes"]["cdi"] == {
        "default-kind": "nvidia.com/gpu",
        "spec-dirs": ["/cdi"],
        "annotation-prefixes": ["cdi.k8s.io/"],
    }


def spec(*env: str, kind: str = "container") -> dict[str, Any]:
    return {
        "process": {"args": ["run"], "env": ["PATH=/bin", *env]},
        "annotations": {"io.kubernetes.cri.container-type": kind},
        "linux": {"namespaces": [{"type": "pid"}, {"type": "network", "path": "/net"}]},
    }


WITH_GPUS = f"INGLE_LAB_GPU_STATE={GPU_DIR}/gpus.state"


@pytest.mark.parametrize("asked", [spec(), spec(WITH_GPUS, kind="sandbox")])
def test_a_container_without_gpus_and_a_sandbox_are_left_as_they_are(asked: dict[str, Any]) -> None:
    assert share_process_ids(asked) == asked


def test_one_with_gpus_shares_the_nodes_process_ids_and_nothing_else() -> None:
    given = share_process_ids(spec(WITH_GPUS))
    assert given["linux"]["namespaces"] == [{"type": "network", "path": "/net"}]
    assert given["process"] == spec(WITH_GPUS)["process"]
