"""What-if equals what is decided later by a real kube-scheduler and the extender, and leaves nothing behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ingle_kit import names

from .conftest import placement

if TYPE_CHECKING:
    from tests.extender.conftest import Cluster


async def ask(cluster: Cluster, replicas: int = 1, **question: Any) -> dict[str, Any]:
    """The answer, once the extender has seen all Nodes and GPUNodes that are there."""
    extra = {key: question.pop(key) for key in ("nodeSelector", "tolerations") if key in question}
    whole = {"ask": placement(**question), "replicas": replicas, "id": "test", **extra}
    nodes = {obj["metadata"]["name"] for obj in (await cluster.kube.list(names.GPU_NODE))[0]}

    async def all_seen() -> bool:
        status, text = await cluster.get("/v1/whatif?q=" + quote(json.dumps({**whole, "replicas": 64})))
        assert status == 200, text
        told = json.loads(text)
        known = sum(one["nodes"] for one in told["refused"]) + told["leftOut"]
        gone = {one["example"]["node"] for one in told["refused"]} - nodes
        return known == len(nodes) and not gone

    await cluster.until(all_seen, "all nodes seen")
    return await cluster.post("v1/whatif", whole)


async def versions(cluster: Cluster) -> dict[str, str]:
    listed = [o["metadata"] for k in (names.GPU_NODE, names.POD) for o in (await cluster.kube.list(k))[0]]
    return {one["uid"]: one["resourceVersion"] for one in listed}


async def site(cluster: Cluster) -> None:
    await cluster.node("a", gpus=2, watts=700)
    await cluster.node("b", gpus=4, numa=[0, 0, 1, 1], foreign_mib=20000)
    await cluster.node("c", gpus=2, product="A100")
    await cluster.node("d", gpus=8, numa=[3, 3, 1, 1, 7, 7, 5, 5], mib=60000)


async def test_pods_go_where_what_if_said_node_by_node_and_gpu_by_gpu(cluster: Cluster) -> None:
    await site(cluster)
    wanted = {"products": ("H100",), "awake": 30000, "host": 20000}
    told = await ask(cluster, 6, **wanted)
    before = [(one["node"], one["gpus"], one["hostZone"]) for one in told["replicas"]]
    later = []
    for i in range(6):
        await cluster.pod(f"p{i}", **wanted)
        pod = await cluster.bound(f"p{i}")
        gpus = pod["metadata"]["annotations"][names.ANNOTATION_GPUS].split(",")
        zones = (await cluster.ledger(pod["spec"]["nodeName"]))["zones"]
        uid = pod["metadata"]["uid"]
        zone = next(z["zone"] for z in zones if any(c["podUID"] == uid for c in z["claims"]))
        later.append((pod["spec"]["nodeName"], gpus, zone))

    assert len(before) == 6
    assert later == before


async def test_tensor_parallel_pods_go_where_what_if_said(cluster: Cluster) -> None:
    await site(cluster)
    wanted: dict[str, Any] = {"gpus": 2, "numa": "Required", "nvlink": "Required"}
    told = await ask(cluster, 4, **wanted)
    later = []
    for i in range(4):
        await cluster.pod(f"p{i}", **wanted)
        pod = await cluster.bound(f"p{i}")
        gpus = pod["metadata"]["annotations"][names.ANNOTATION_GPUS].split(",")
        later.append((pod["spec"]["nodeName"], gpus))

    assert later == [(one["node"], one["gpus"]) for one in told["replicas"]]


async def test_a_pool_goes_where_what_if_said_before_it_was_part_of_what_is_typically_asked(
    cluster: Cluster,
) -> None:
    await cluster.node("full", mib=56000)
    await cluster.node("other", mib=80000)
    few, many = pool_body("few", 24000, 1), pool_body("many", 56000, 9)
    await cluster.kube.create(names.INFERENCE_POOL, few)

    async def chosen(**asked: Any) -> str:
        told = await cluster.post("v1/whatif", {"ask": placement(awake=24000), "id": "test", **asked})
        return str(told["replicas"][0]["node"])

    await ask(cluster, awake=24000)  # all nodes are seen
    assert await chosen() == "full"
    foretold = await chosen(pool={"variants": [{"awakeMiB": 56000}], "engines": 9})
    assert foretold == "other"
    assert await chosen() == "full"
    await cluster.kube.create(names.INFERENCE_POOL, many)

    async def counted() -> bool:
        return await chosen() == foretold

    await cluster.until(counted, "the mix of both pools")
    await cluster.pod("p", awake=24000)
    assert (await cluster.bound("p"))["spec"]["nodeName"] == foretold


def pool_body(name: str, awake: int, replicas: int) -> dict[str, Any]:
    """A pool that may have so many engines of one GPU."""
    memory = {"awake": awake, "asleep": 2000, "host": 0}
    variant = {"name": "v", "gpus": 1, "memoryMiB": memory, "watts": {"busy": 300, "idle": 60}}
    spec = {"model": f"model-{name}", "engine": {"kind": "VLLM", "image": "i"}, "variants": [variant]}
    head = {"apiVersion": names.INFERENCE_POOL.api_version, "kind": "InferencePool"}
    metadata = {"name": name, "namespace": "default"}
    return {**head, "metadata": metadata, "spec": {**spec, "replicas": {"max": replicas}}}


async def test_what_if_writes_and_remembers_nothing(cluster: Cluster) -> None:
    await site(cluster)
    before = await versions(cluster)
    first = await ask(cluster, 5)
    again = await ask(cluster, 5)

    assert first == again
    assert "ingle_extender_assumed_pods 0.0" in (await cluster.get("/metrics"))[1]
    assert await versions(cluster) == before


async def test_what_fits_nowhere_is_counted_by_reason_beside_what_came_before(cluster: Cluster) -> None:
    await cluster.node("a", watts=500)
    await cluster.node("b", mib=20000)
    told = await ask(cluster, 3, watts=300)

    assert [(one["node"], one["wattsGrowth"], one["wattsSpare"]) for one in told["replicas"]] == [
        ("a", 200, 200)
    ]
    refused = {one["reason"]: one["nodes"] for one in told["refused"]}
    assert refused == {"InsufficientMemory": 1, "InsufficientWatts": 1}
    figures = {one["example"]["node"]: one["example"] for one in told["refused"]}
    assert figures["a"]["gpus"][0]["headroomMiB"] == 40000


async def test_labels_and_taints_keep_nodes_out(cluster: Cluster) -> None:
    for name in ("a", "b"):
        await cluster.node(name)
    taint = {"key": "team", "value": "x", "effect": "NoSchedule"}
    await cluster.kube.merge_patch(names.NODE, "a", {"spec": {"taints": [taint]}})
    await cluster.kube.merge_patch(names.NODE, "b", {"metadata": {"labels": {"zone": "b"}}})

    async def out() -> bool:
        return (await ask(cluster, 4))["leftOut"] == 1

    await cluster.until(out, "the taint seen")
    tolerant = await ask(cluster, 4, tolerations=[{"key": "team", "operator": "Exists"}])
    picky = await ask(cluster, 4, nodeSelector={"zone": "b"})
    assert {one["node"] for one in tolerant["replicas"]} == {"a", "b"}
    assert {one["node"] for one in picky["replicas"]} == {"b"}


async def test_a_question_that_cannot_be_read_is_told_with_its_field(cluster: Cluster) -> None:
    asked = {"ask": placement(), "replicas": 0}
    told = await cluster.post("v1/whatif", asked)
    status, text = await cluster.get("/v1/whatif?q=" + quote(json.dumps({"ask": {"gpus": 1}})))

    assert "replicas must be between 1 and 256" in told["error"]
    assert status == 400
    assert "memoryMiB" in text
