"""The bind call against a real API server, kube-scheduler left out: we send what it would send."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from ingle_core.ledger import set_allotment
from ingle_extender.filtering import stamp
from ingle_kit import names
from ingle_kit.ledger import Written, write

if TYPE_CHECKING:
    from tests.extender.conftest import Cluster


async def test_filter_answers_one_node_or_a_text_for_each(cluster: Cluster) -> None:
    await cluster.node("a")
    await cluster.node("b")
    pod = await cluster.pod("one", gates=True)

    async def seen() -> bool:
        return (await cluster.filter(pod, "a", "b", "stranger"))["NodeNames"] == ["a"]

    await cluster.until(seen, "node a chosen: equal nodes are taken by name")
    assert (await cluster.filter(pod, "a", "b", "stranger"))["FailedAndUnresolvableNodes"] == {}
    answer = await cluster.filter(pod, "stranger")
    assert answer["FailedAndUnresolvableNodes"] == {"stranger": "node has no GPUs managed by Ingle"}
    assert answer["Error"] == ""
    assert (await cluster.filter(pod))["NodeNames"] == []
    assert (await cluster.post("filter", {"Pod": None}))["Error"].startswith(
        "filter arguments cannot be read"
    )


async def test_a_choice_counts_until_it_is_claimed(cluster: Cluster) -> None:
    await cluster.node("a")
    one, two = await cluster.pod("one", gates=True), await cluster.pod("two", gates=True)

    async def chosen() -> bool:
        return (await cluster.filter(one, "a"))["NodeNames"] == ["a"]

    await cluster.until(chosen, "node a chosen")
    refused = await cluster.filter(two, "a")
    assert refused["NodeNames"] == []
    assert (await cluster.filter(one, "a"))["NodeNames"] == ["a"]


async def test_an_unreadable_annotation_is_a_reason_not_an_error(cluster: Cluster) -> None:
    await cluster.node("a")
    pod = await cluster.pod("one", gates=True)
    pod["metadata"]["annotations"][names.ANNOTATION_PLACEMENT] = '{"gpus": 0}'
    answer = await cluster.filter(pod, "a")
    assert answer["FailedAndUnresolvableNodes"] == {
        "a": "pod's placement annotation or resource cannot be read"
    }
    assert answer["Error"] == ""


async def test_bind_twice_is_the_same_as_once(cluster: Cluster) -> None:
    await cluster.node("a", gpus=2)
    pod = await unscheduled(cluster, "one")
    answers = await asyncio.gather(*(cluster.bind(pod, "a") for _ in range(4)))
    assert answers == [""] * 4
    ledger = await cluster.ledger("a")
    held = await cluster.claims("a")
    assert sorted(map(len, held.values())) == [0, 1]
    assert ledger["revision"] == 2
    bound = await cluster.live("one")
    assert held[bound["metadata"]["annotations"][names.ANNOTATION_GPUS]] == [pod["metadata"]["uid"]]


async def test_a_claim_that_no_longer_fits_is_refused_by_the_api_server_and_leaves_nothing(
    cluster: Cluster,
) -> None:
    await cluster.node("a")
    pod = await unscheduled(cluster, "one")
    assert (await cluster.filter(pod, "a"))["NodeNames"] == ["a"]
    spec = await cluster.ledger("a")
    spec["gpus"][0]["claims"] = [{"podUID": "other", "memoryMiB": 60000, "watts": 300}]
    spec["pods"] = [
        {"uid": "other", "pool": "default/p", "state": "Awake", "epoch": 0, "at": "2026-01-01T00:00:00Z"}
    ]
    await cluster.kube.merge_patch(names.GPU_NODE, "a", {"spec": {**spec, "revision": 2}})
    assert await cluster.bind(pod, "a") == "too little free GPU memory"
    assert await cluster.claims("a") == {"GPU-a-0": ["other"]}
    assert (await cluster.filter(pod, "a"))["NodeNames"] == []


async def test_a_pod_that_is_gone_or_replaced_is_not_bound_and_holds_nothing(cluster: Cluster) -> None:
    await cluster.node("a")
    pod = await unscheduled(cluster, "one")
    assert (await cluster.filter(pod, "a"))["NodeNames"] == ["a"]
    await cluster.kube.delete(names.POD, "one", "default", grace_s=0)
    await unscheduled(cluster, "one")
    error = await cluster.bind(pod, "a")
    assert error == "pod is gone or is another one of the same name"
    assert await cluster.claims("a") == {"GPU-a-0": []}


async def test_a_gated_pod_is_not_bound_and_holds_nothing(cluster: Cluster) -> None:
    await cluster.node("a")
    pod = await cluster.pod("one", gates=True)

    async def refused() -> bool:
        return await cluster.bind(pod, "a") == "API server refuses the Binding"

    await cluster.until(refused, "Binding of a gated pod refused")
    assert await cluster.claims("a") == {"GPU-a-0": []}


async def test_kill_9_between_claim_and_binding_loses_nothing(cluster: Cluster) -> None:
    await cluster.node("a", gpus=2)
    pod = await unscheduled(cluster, "one")
    uid = pod["metadata"]["uid"]
    spec = await cluster.ledger("a")
    spec["gpus"][1]["claims"] = [{"podUID": uid, "memoryMiB": 40000, "watts": 300}]
    spec["pods"] = [{"uid": uid, "pool": "default/p", "state": "Starting", "epoch": 0, "at": stamp()}]
    cluster.extender.kill()
    await cluster.kube.merge_patch(names.GPU_NODE, "a", {"spec": {**spec, "revision": 2}})
    cluster.extender.start()
    await cluster.healthy()
    assert (await cluster.filter(pod, "a"))["NodeNames"] == ["a"]
    assert await cluster.bind(pod, "a") == ""
    assert (await cluster.live("one"))["metadata"]["annotations"][names.ANNOTATION_GPUS] == "GPU-a-1"
    assert (await cluster.ledger("a"))["revision"] == 2


async def test_a_claim_that_is_old_is_made_younger_before_its_pod_is_bound(cluster: Cluster) -> None:
    await cluster.node("a", gpus=2)
    pod = await unscheduled(cluster, "one")
    uid, spec, old = pod["metadata"]["uid"], await cluster.ledger("a"), "2026-01-01T00:00:00Z"
    spec["gpus"][1]["claims"] = [{"podUID": uid, "memoryMiB": 40000, "watts": 300}]
    spec["pods"] = [{"uid": uid, "pool": "default/p", "state": "Starting", "epoch": 0, "at": old}]
    await cluster.kube.merge_patch(names.GPU_NODE, "a", {"spec": {**spec, "revision": 2}})
    assert await cluster.bind(pod, "a") == ""
    ledger = await cluster.ledger("a")
    assert ledger["pods"][0]["at"] > old
    assert (ledger["revision"], ledger["gpus"]) == (3, spec["gpus"])


async def test_pods_that_the_scheduler_binds_while_the_extender_is_killed_are_all_bound_once(
    cluster: Cluster,
) -> None:
    await cluster.node("a", gpus=8)
    await asyncio.gather(*(cluster.pod(f"p{i}", awake=60000) for i in range(8)))
    for _ in range(2):
        cluster.extender.kill()
        cluster.extender.start()
        await cluster.healthy()
    pods = [await cluster.bound(f"p{i}") for i in range(8)]
    told = {pod["metadata"]["annotations"][names.ANNOTATION_GPUS]: [pod["metadata"]["uid"]] for pod in pods}
    assert told == await cluster.claims("a")


async def test_claims_of_many_pods_race_with_another_writer(cluster: Cluster) -> None:
    await cluster.node("a", gpus=4)
    pods = [await unscheduled(cluster, f"p{i}") for i in range(4)]

    async def disturb() -> None:
        for watts in range(2000, 2010):
            plan = partial(set_allotment, watts=watts, safe=None)
            assert isinstance(await write(cluster.kube, "a", plan, attempts=20), Written)

    binds = [cluster.bind(pod, "a") for pod in pods]
    answers = await asyncio.gather(*binds, disturb())
    assert answers[:4] == [""] * 4
    assert [len(held) for held in (await cluster.claims("a")).values()] == [1, 1, 1, 1]


async def test_metrics_have_what_a_person_watches(cluster: Cluster) -> None:
    text = (await cluster.get("/metrics"))[1]
    for name in (
        "ingle_extender_filter_seconds_bucket",
        "ingle_extender_bind_seconds_bucket",
        "ingle_ledger_conflicts_total",
        "ingle_watch_age_seconds",
        "ingle_extender_assumed_pods",
    ):
        assert name in text


async def unscheduled(cluster: Cluster, name: str) -> dict[str, Any]:
    """A pod for another scheduler than ours, once the extender knows that node a is there and ready."""
    pod = await cluster.pod(name, scheduler="nobody")
    huge = {"name": "huge", "annotations": {names.ANNOTATION_PLACEMENT: '{"memoryMiB": {"awake": 9000000}}'}}

    async def known() -> bool:
        answer = await cluster.filter({"metadata": huge}, "a")
        return "too little free GPU memory" in answer["FailedAndUnresolvableNodes"].get("a", "")

    await cluster.until(known, "node a known")
    return pod
