"""Weights and compile cache as pools get them: a copier fills the node's disk, engines read it and leave their cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ingle_agent.warm import Budget, inventory
from ingle_core.warmpool.cachekey import compile_key
from ingle_core.warmpool.prefetch import Job
from ingle_kit.names import ANNOTATION_GPUS, ANNOTATION_HARDWARE, INFERENCE_POOL
from ingle_kit.objects.asks import placement_ask
from ingle_lab.gpu import gpu_uuid
from ingle_lab.node.config import Image
from ingle_lab.stack.nodes import LabNode, base_environment, images, prepare_node
from ingle_operator.parse import pool_of
from ingle_operator.prefetch import copier_pod
from ingle_operator.render import engine_pod
from ingle_operator.settings import OperatorSettings

HARDWARE = "NVIDIA-H100_580"
POOL = {
    "apiVersion": INFERENCE_POOL.api_version,
    "kind": "InferencePool",
    "metadata": {"name": "p", "namespace": "default", "uid": "u"},
    "spec": {
        "model": "m",
        "engine": {
            "kind": "VLLM",
            "image": "vllm/vllm-openai:v0.14.0",
            "weights": {"claimName": "models", "path": "llama/8b", "sizeMiB": 1},
        },
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
CHOSEN = OperatorSettings(cache_host_path="/var/lib/ingle/cache", cache_image="ingle.dev/ingle:lab")


def parts(pod: dict[str, Any], **annotations: str) -> dict[str, Any]:
    """Spec and annotations, as placed."""
    pod["spec"].pop("readinessGates", None)
    return {"spec": pod["spec"], "annotations": pod["metadata"]["annotations"] | annotations}


def resolved(path: str | Path) -> Path:
    return Path(path).resolve()


async def test_a_copier_fills_the_disk_and_an_engine_reads_it_there_and_leaves_its_compile_cache(
    start_lab: Any, make_config: Callable[..., Any], tmp_path: Path
) -> None:
    env = base_environment() | prepare_node(tmp_path, LabNode("n", "h100x8"), 0.01)
    table = {
        name: Image(**entry) if isinstance(entry, dict) else entry
        for name, entry in images(tmp_path, Path("kube-scheduler")).items()
    }
    config = msgspec.structs.replace(make_config(env=env), images=table)
    lab_dir = resolved(config.lab_dir)
    claim = lab_dir / "claims" / "default" / "models" / "llama" / "8b"
    claim.mkdir(parents=True, exist_ok=True)
    (claim / "model.safetensors").write_bytes(b"0" * 4096)
    lab = await start_lab(config)
    cache = lab_dir / "nodes" / lab.node_names[0] / "host/var/lib/ingle/cache"
    pool = pool_of(POOL)
    assert pool.spec is not None
    assert pool.spec.engine.weights is not None
    ask = placement_ask(pool.name, pool.spec, pool.spec.variants[0])
    copier = copier_pod(pool, pool.spec.engine.weights, Job(ask["weights"], "n"), CHOSEN.cache, 0)  # type: ignore[arg-type]
    copies = await lab.create("copies", **parts(copier))
    await lab.until(copies, lambda pod: pod["status"].get("phase") == "Succeeded")

    engine = engine_pod(pool, pool.spec, pool.spec.variants[0], "p-0", cache=CHOSEN.cache)
    placed = {ANNOTATION_GPUS: gpu_uuid("n", 0), ANNOTATION_HARDWARE: HARDWARE}
    name = await lab.create("engine", **parts(engine, **placed))
    ready = await lab.until_ready(name)
    assert "llama/8b is read from the disk of this node" in lab.log(name, "weights")
    seen = lab_dir / "nodes" / lab.node_names[0] / "pods" / ready["metadata"]["uid"] / "volumes"
    weights = seen / "ingle-weights-seen" / "llama" / "8b" / "model.safetensors"
    assert cache / "weights" in resolved(weights).parents
    told = [item.key or item.model for item in inventory(cache, Budget(float("inf")), float("inf"))]
    assert told == [ask["weights"], compile_key(ask["compileKey"], HARDWARE)]
