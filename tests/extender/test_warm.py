"""The extender places by what nodes have on their disks and by when pools are wanted, both read from their objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ingle_agent.warm import Budget, inventory
from ingle_core.warmpool.cachekey import compile_key, folder_of, hardware_of, weights_name
from ingle_kit import fetch, names
from ingle_kit.objects import dump

DAY = [100] * 12 + [0] * 12
NIGHT = [0] * 12 + [100] * 12


async def pool(cluster: Any, name: str, percent: list[int]) -> None:
    """A pool that takes 50 000 MiB awake and is wanted in these hours."""
    memory = {"awake": 50000, "asleep": 2000, "host": 0}
    variant = {"name": "v", "gpus": 1, "memoryMiB": memory, "watts": {"busy": 300, "idle": 60}}
    spec = {"model": f"model-{name}", "engine": {"kind": "VLLM", "image": "i"}, "variants": [variant]}
    head = {"apiVersion": names.INFERENCE_POOL.api_version, "kind": "InferencePool"}
    metadata = {"name": name, "namespace": "default"}
    await cluster.kube.create(names.INFERENCE_POOL, {**head, "metadata": metadata, "spec": spec})
    status = {"demandPercentByHour": percent}
    await cluster.kube.merge_patch(
        names.INFERENCE_POOL, name, {"status": status}, "default", subresource="status"
    )


async def sleeper(cluster: Any, node: str, of: str, mib: int) -> None:
    """An engine of that pool sleeps on the node's GPU and holds this much."""
    uid = f"uid-{of}"
    spec = {
        "revision": 2,
        "gpus": [
            {
                "uuid": f"GPU-{node}-0",
                "allocatableMiB": 80000,
                "floorWatts": 100,
                "claims": [{"podUID": uid, "memoryMiB": mib, "watts": 0}],
            }
        ],
        "pods": [
            {"uid": uid, "pool": f"default/{of}", "state": "Asleep", "epoch": 1, "at": "2026-01-01T00:00:00Z"}
        ],
    }
    await cluster.kube.merge_patch(names.GPU_NODE, node, {"spec": spec})


async def placed(cluster: Any, pod: dict[str, Any], node: str) -> None:
    """Filter takes this node once it has read the objects."""

    async def check() -> bool:
        answer = await cluster.filter(pod, "full", "other")
        return bool(answer["NodeNames"] == [node])

    await cluster.until(check, f"{pod['metadata']['name']} on {node}")


async def test_a_pod_goes_where_its_models_weights_are_and_any_other_pod_to_the_fullest_node(
    cluster: Any,
) -> None:
    await cluster.node("full", mib=50000)
    await cluster.node("other", gpus=2)
    warm = {"warm": [{"kind": "Weights", "model": "qwen/qwen3-8b"}]}
    await cluster.kube.merge_patch(names.GPU_NODE, "other", {"status": warm}, subresource="status")
    await placed(cluster, await cluster.pod("knows", gates=True, model="qwen/qwen3-8b"), "other")
    await placed(cluster, await cluster.pod("not", gates=True, model="llama-8b"), "full")
    bound = await cluster.bound((await cluster.pod("real", model="qwen/qwen3-8b"))["metadata"]["name"])
    assert bound["spec"]["nodeName"] == "other"


HOPPER, OLDER = hardware_of("H100", "580.65.06"), hardware_of("H100", "570.1")


async def tell(cluster: Any, node: str, cache: Path) -> None:
    """The node's agent has looked into this cache folder."""
    items = inventory(cache, Budget(float("inf")), float("inf"))
    status = {"warm": [dump(item) for item in items], "driverVersion": "580.65.06"}
    await cluster.kube.merge_patch(names.GPU_NODE, node, {"status": status}, subresource="status")


async def loading(cluster: Any, node: str) -> None:
    """An engine starts there, on a GPU of its own."""
    spec = (await cluster.kube.get(names.GPU_NODE, node))["spec"]
    spec["gpus"][1]["claims"] = [{"podUID": "uid-loads", "memoryMiB": 60000, "watts": 0}]
    who = {"uid": "uid-loads", "pool": "default/x", "state": "Starting"}
    pods = [who | {"epoch": 1, "at": "2026-01-01T00:00:00Z"}]
    changed = {"revision": 2, "gpus": spec["gpus"], "pods": pods}
    await cluster.kube.merge_patch(names.GPU_NODE, node, {"spec": changed})


async def test_a_pod_goes_where_a_copy_was_made_or_a_cache_fits_its_driver_and_away_from_a_busy_nic(
    cluster: Any, tmp_path: Path
) -> None:
    claim, name = tmp_path / "claim", weights_name("default", "m", "c", "m")
    (claim / "m").mkdir(parents=True)
    (claim / "m" / "w").write_bytes(b"0" * 10)
    fetch.copy(claim, "m", tmp_path / "other" / "weights", folder_of(name), 0)
    for node, base, hardware in (("other", "k", HOPPER), ("full", "k", OLDER)):
        (tmp_path / node / "compile" / compile_key(base, hardware)).mkdir(parents=True)
        (tmp_path / node / "compile" / compile_key(base, hardware) / "graph").write_text("g")
    await cluster.node("full", mib=60000, gpus=2)
    await cluster.node("other", gpus=4)
    for node in ("full", "other"):
        await tell(cluster, node, tmp_path / node)
    neither = await cluster.pod("neither", gates=True, model="n")
    await placed(cluster, neither, "full")
    await loading(cluster, "full")
    await placed(cluster, neither, "other")
    await loading(cluster, "other")
    await placed(cluster, neither, "full")
    await placed(cluster, await cluster.pod("copied", gates=True, model="m", weights=name), "other")
    await placed(cluster, await cluster.pod("compiled", gates=True, compileKey="k"), "other")
    bound = await cluster.bound((await cluster.pod("real", compileKey="k"))["metadata"]["name"])
    assert bound["spec"]["nodeName"] == "other"
    assert bound["metadata"]["annotations"][names.ANNOTATION_HARDWARE] == HOPPER


async def test_a_pod_shares_a_gpu_with_a_sleeper_that_is_wanted_at_other_hours(cluster: Any) -> None:
    await cluster.node("full")
    await cluster.node("other")
    await sleeper(cluster, "full", "day", 10000)
    await sleeper(cluster, "other", "night", 2000)
    await pool(cluster, "day", DAY)
    await pool(cluster, "night", NIGHT)
    pod = await cluster.pod("new", gates=True, awake=50000)
    await placed(cluster, pod, "full")
    await pool(cluster, "p", DAY)
    await placed(cluster, pod, "other")
