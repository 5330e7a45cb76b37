"""The launcher as pools get it: copied by an init container, then the engine on the CPUs of its GPUs' zone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ingle_kit.names import ANNOTATION_GPUS, INFERENCE_POOL
from ingle_lab.gpu import gpu_uuid
from ingle_lab.node.config import Image
from ingle_lab.stack.nodes import LabNode, base_environment, images, prepare_node
from ingle_operator.parse import pool_of
from ingle_operator.render import engine_pod
from ingle_operator.settings import OperatorSettings

CPUS = sorted(os.sched_getaffinity(0))
POOL = {
    "apiVersion": INFERENCE_POOL.api_version,
    "kind": "InferencePool",
    "metadata": {"name": "p", "namespace": "default", "uid": "u"},
    "spec": {
        "model": "meta-llama/Llama-3.1-8B-Instruct",
        "engine": {"kind": "VLLM", "image": "vllm/vllm-openai:v0.14.0"},
        "variants": [
            {
                "name": "v",
                "gpus": 1,
                "memoryMiB": {"awake": 40000, "asleep": 2000, "host": 0},
                "watts": {"busy": 400, "idle": 90},
            }
        ],
    },
}


def engine_on(gpu: str) -> dict[str, Any]:
    """Spec and annotations of the pod that the operator renders for the pool, as placed on a GPU."""
    pool = pool_of(POOL)
    assert pool.spec is not None
    chosen = OperatorSettings(launcher_image="ingle.dev/ingle:lab")
    pod = engine_pod(pool, pool.spec, pool.spec.variants[0], "p-0", chosen.attachment, chosen.launcher)
    del pod["spec"]["readinessGates"]
    return {"spec": pod["spec"], "annotations": pod["metadata"]["annotations"] | {ANNOTATION_GPUS: gpu}}


def words_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


@pytest.mark.parametrize("zone", [0, 1])
async def test_an_engine_runs_on_the_cpus_of_its_gpus_zone(
    zone: int, start_lab: Any, make_config: Callable[..., Any], tmp_path: Path
) -> None:
    env = base_environment() | prepare_node(tmp_path, LabNode("n", "h100x8"), 0.01)
    config = make_config(env=env)
    table = {
        name: Image(**entry) if isinstance(entry, dict) else entry
        for name, entry in images(tmp_path, Path("kube-scheduler")).items()
    }
    lab = await start_lab(msgspec.structs.replace(config, images=table))
    name = await lab.create("engine", **engine_on(gpu_uuid("n", zone * 4)))
    pod = await lab.until_ready(name)
    pid = int(pod["status"]["containerStatuses"][0]["containerID"].removeprefix("lab://"))
    assert sorted(os.sched_getaffinity(pid)) == (CPUS[zone::2] or [CPUS[zone % len(CPUS)]])
    assert words_of(pid)[1:4] == ["-m", "ingle_lab.engine", "serve"]
    assert f"ingle-launch: on zone {zone}, CPUs" in lab.log(name, "engine")
