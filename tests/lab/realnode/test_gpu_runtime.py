"""The stand-in for NVIDIA's container runtime: who gets GPUs, and what comes with them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from ingle_lab.realnode.gpu_runtime import GPU_DIR, LIBRARY_DIR, give_gpus

LIBRARY, GPUS = Path("/cache/gpu/libnvidia-ml.so.1"), Path("/lab/gpus")


def spec(*env: str) -> dict[str, Any]:
    return {
        "process": {"args": ["run"], "env": ["PATH=/bin", *env]},
        "mounts": [{"destination": "/proc"}],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "network", "path": "/net"}]},
    }


@pytest.mark.parametrize("env", [(), ("NVIDIA_VISIBLE_DEVICES=",), ("NVIDIA_VISIBLE_DEVICES=void",)])
def test_a_container_that_asks_for_no_gpus_is_left_as_it_is(env: tuple[str, ...]) -> None:
    asked = spec(*env)
    assert give_gpus(copy.deepcopy(asked), LIBRARY, GPUS, 0.1) == asked


def test_one_that_asks_gets_the_library_and_the_nodes_gpus() -> None:
    given = give_gpus(spec("NVIDIA_VISIBLE_DEVICES=GPU-1"), LIBRARY, GPUS, 0.1)
    mounts = {mount["destination"]: mount.get("source") for mount in given["mounts"]}
    assert mounts == {"/proc": None, LIBRARY_DIR: "/cache/gpu", GPU_DIR: "/lab/gpus"}
    assert f"LD_LIBRARY_PATH={LIBRARY_DIR}" in given["process"]["env"]
    assert "NVIDIA_VISIBLE_DEVICES=GPU-1" in given["process"]["env"]
    assert given["process"]["args"] == ["run"]


def test_it_shares_the_nodes_process_ids_and_nothing_else() -> None:
    given = give_gpus(spec("NVIDIA_VISIBLE_DEVICES=all"), LIBRARY, GPUS, 0.1)
    assert given["linux"]["namespaces"] == [{"type": "network", "path": "/net"}]
