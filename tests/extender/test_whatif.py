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
