"""The annotation beside the GPUs that a way of attachment wants in the Binding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from ingle_extender.attaching import Attaching
from ingle_extender.wire import Pod
from ingle_kit import names

if TYPE_CHECKING:
    from tests.extender.conftest import Cluster

CDI = {"key": "cdi.k8s.io/ingle_gpus", "prefix": "nvidia.com/gpu="}


def body(name: str, scheduler: str, extra: dict[str, str] | None, gpus: int = 2) -> dict[str, Any]:
    ask = {
        "pool": "default/p",
        "gpus": gpus,
        "memoryMiB": {"awake": 40000},
        "watts": 300,
        "gpuAnnotation": extra,
    }
    amount = {names.RESOURCE_GPU_MEMORY: "80000"}
    container = {"name": "engine", "image": "x", "resources": {"requests": amount, "limits": amount}}
    metadata = {
        "name": name,
        "namespace": "default",
        "labels": {names.LABEL_POOL: "p"},
        "annotations": {names.ANNOTATION_PLACEMENT: orjson.dumps(ask).decode()},
    }
    spec = {"schedulerName": scheduler, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


async def test_the_scheduler_binds_with_the_devices_by_name_beside_the_gpus(cluster: Cluster) -> None:
    await cluster.node("a", gpus=2)
    await cluster.kube.create(names.POD, body("one", names.SCHEDULER_NAME, CDI))
    annotations = (await cluster.bound("one"))["metadata"]["annotations"]
    uuids = annotations[names.ANNOTATION_GPUS].split(",")
    assert sorted(uuids) == ["GPU-a-0", "GPU-a-1"]
    assert annotations[CDI["key"]] == ",".join(f"nvidia.com/gpu={uuid}" for uuid in uuids)


async def test_a_binder_that_never_saw_the_pod_asks_the_api_server_for_it(cluster: Cluster) -> None:
    await cluster.node("a", gpus=2)
    pod = await cluster.kube.create(names.POD, body("one", "nobody", CDI))

    async def bound() -> bool:
        return await cluster.bind(pod, "a") == ""

    await cluster.until(bound, "bound without a filter call before")
    annotations = (await cluster.live("one"))["metadata"]["annotations"]
    assert annotations[CDI["key"]].startswith("nvidia.com/gpu=GPU-a-")


def pod_of(uid: str, extra: dict[str, str] | None) -> Pod:
    made = body(uid, "x", extra)
    made["metadata"]["uid"] = uid
    return msgspec.convert(made, Pod)


def test_a_pod_that_wants_none_is_known_and_the_oldest_are_forgotten() -> None:
    seen = Attaching(limit=2)
    for uid, extra in (("a", CDI), ("b", None), ("c", CDI)):
        seen.saw(pod_of(uid, extra))
    assert [seen.knows(uid) for uid in "abc"] == [False, True, True]
    assert seen.wanted("b") is None
    found = seen.wanted("c")
    assert found is not None
    assert found.value(["g0", "g1"]) == "nvidia.com/gpu=g0,nvidia.com/gpu=g1"


def test_an_ask_that_cannot_be_read_wants_none() -> None:
    made = body("a", "x", None)
    made["metadata"] |= {"uid": "a", "annotations": {names.ANNOTATION_PLACEMENT: "{"}}
    seen = Attaching(limit=2)
    seen.saw(msgspec.convert(made, Pod))
    assert seen.wanted("a") is None
