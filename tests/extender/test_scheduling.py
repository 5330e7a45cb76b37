"""Pods through a real kube-scheduler, our extender and a real API server."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from ingle_extender.filtering import stamp
from ingle_kit import names

if TYPE_CHECKING:
    from tests.extender.conftest import Cluster


async def test_a_pod_is_bound_with_its_gpu_in_the_annotation_and_in_the_ledger(cluster: Cluster) -> None:
    await cluster.node("a", gpus=2)
    pod = await cluster.bound((await cluster.pod("one", host=17000))["metadata"]["name"])
    gpu = pod["metadata"]["annotations"][names.ANNOTATION_GPUS]
    ledger = await cluster.ledger("a")
    uid = pod["metadata"]["uid"]
    held = {g["uuid"]: g["claims"] for g in ledger["gpus"]}
    assert held.pop(gpu) == [{"podUID": uid, "memoryMiB": 40000, "watts": 300}]
    assert list(held.values()) == [[]]
    assert ledger["zones"][0]["claims"] == [{"podUID": uid, "memoryMiB": 17000}]
    assert [(p["uid"], p["pool"], p["state"]) for p in ledger["pods"]] == [(uid, "default/p", "Starting")]
    assert ledger["revision"] == 2


async def test_a_burst_of_pods_takes_each_gpu_once_and_the_rest_are_told_why(cluster: Cluster) -> None:
    for name in ("a", "b"):
        await cluster.node(name, gpus=3)
    await asyncio.gather(*(cluster.pod(f"p{i}", awake=60000) for i in range(9)))
    messages: list[str] = []
    bound: list[str] = []

    async def settled(name: str) -> None:
        while True:
            pod = await cluster.live(name)
            if pod["spec"].get("nodeName"):
                bound.append(pod["metadata"]["annotations"][names.ANNOTATION_GPUS])
                return
            conditions = pod.get("status", {}).get("conditions", [])
            told = [
                c["message"] for c in conditions if c["type"] == "PodScheduled" and c["status"] == "False"
            ]
            if told and "2 too little free GPU memory" in told[0]:
                messages.append(told[0])
                return
            await asyncio.sleep(0.05)

    async with asyncio.timeout(30):
        await asyncio.gather(*(settled(f"p{i}") for i in range(9)))
    assert len(bound) == len(set(bound)) == 6
    assert len(messages) == 3
    for name in ("a", "b"):
        assert [len(gpu["claims"]) for gpu in (await cluster.ledger(name))["gpus"]] == [1, 1, 1]


async def test_an_unschedulable_pod_says_why_in_fixed_words(cluster: Cluster) -> None:
    await cluster.node("small", mib=20000)
    await cluster.node("other", product="A100")
    await cluster.node("silent", silent_s=1000)
    await cluster.pod("big", products=("H100",))
    message = await cluster.refused("big")
    assert "0/3 nodes are available" in message
    assert "1 too little free GPU memory" in message
    assert "1 too few GPUs of a wanted product" in message
    assert "1 node's Ingle agent is silent" in message


async def test_explain_shows_the_last_answer_and_figures_of_each_node(cluster: Cluster) -> None:
    await cluster.node("small", mib=20000)
    await cluster.pod("big")
    await cluster.refused("big")
    status, text = await cluster.get("/explain/default/big")
    answer = json.loads(text)
    assert status == 200
    assert answer["last"]["filter"]["reasons"][0]["reason"] == "InsufficientMemory"
    assert answer["now"]["nodes"][0]["gpus"][0]["headroomMiB"] == 20000
    assert (await cluster.get("/explain/default/nobody"))[0] == 404


async def test_explain_asks_only_nodes_that_the_pod_selects(cluster: Cluster) -> None:
    await cluster.node("empty")
    await cluster.node("small", mib=20000)
    await cluster.kube.merge_patch(names.NODE, "small", {"metadata": {"labels": {"row": "a"}}})
    await cluster.pod("picky", selector={"row": "a"})
    await cluster.refused("picky")
    now = json.loads((await cluster.get("/explain/default/picky"))[1])["now"]
    verdicts = {one["node"]: one["reason"] for one in now["nodes"]}
    assert verdicts == {"empty": "NodeNotSelected", "small": "InsufficientMemory"}
    assert now["node"] is None


async def test_four_gpus_of_a_dgx_shaped_node_share_what_they_need(cluster: Cluster) -> None:
    await cluster.node("dgx", gpus=8, numa=[3, 3, 1, 1, 7, 7, 5, 5])
    await cluster.pod("pair", gpus=2, numa="Required", nvlink="Required", host=20000)
    pod = await cluster.bound("pair")
    gpus = pod["metadata"]["annotations"][names.ANNOTATION_GPUS].split(",")
    assert gpus == ["GPU-dgx-0", "GPU-dgx-1"]
    zones = {z["zone"]: len(z["claims"]) for z in (await cluster.ledger("dgx"))["zones"]}
    assert zones == {1: 0, 3: 1, 5: 0, 7: 0}
    await cluster.pod("four", gpus=4, numa="Required")
    assert "no NUMA zone has enough free GPUs" in await cluster.refused("four")


async def test_memory_of_strangers_is_not_given_away(cluster: Cluster) -> None:
    await cluster.node("shared", foreign_mib=50000)
    await cluster.pod("one")
    assert "too little free GPU memory" in await cluster.refused("one")


async def test_a_pod_goes_where_it_has_a_reservation(cluster: Cluster) -> None:
    await cluster.node("a", gpus=2)
    await cluster.node("b", gpus=2)
    pod = await cluster.pod("one", gates=True)
    uid = pod["metadata"]["uid"]
    spec = await cluster.ledger("b")
    spec["gpus"][1]["claims"] = [{"podUID": uid, "memoryMiB": 40000, "watts": 300}]
    spec["pods"] = [{"uid": uid, "pool": "default/p", "state": "Starting", "epoch": 1, "at": stamp()}]
    await cluster.kube.merge_patch(names.GPU_NODE, "b", {"spec": {**spec, "revision": 2}})
    await cluster.kube.merge_patch(names.POD, "one", {"spec": {"schedulingGates": None}}, "default")
    bound = await cluster.bound("one")
    assert bound["spec"]["nodeName"] == "b"
    assert bound["metadata"]["annotations"][names.ANNOTATION_GPUS] == "GPU-b-1"
    ledger = await cluster.ledger("b")
    assert ledger["revision"] == 3
    assert ledger["pods"][0]["epoch"] == 0  # so that the operator cannot give it back any more


async def test_watts_that_are_not_allotted_are_not_given_away(cluster: Cluster) -> None:
    await cluster.node("a", gpus=4, watts=700)
    for name in ("one", "two"):
        await cluster.pod(name)
    names_bound = set()

    async def one_bound_one_refused() -> bool:
        pods = [await cluster.live(name) for name in ("one", "two")]
        names_bound.update(p["metadata"]["name"] for p in pods if p["spec"].get("nodeName"))
        told = [c.get("message", "") for p in pods for c in p.get("status", {}).get("conditions", [])]
        return len(names_bound) == 1 and any("too few watts allotted" in text for text in told)

    await cluster.until(one_bound_one_refused, "one pod bound, one without watts")
