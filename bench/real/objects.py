"""Bodies of the nodes and pods that the benchmark makes; pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ingle_core.facts.gpunode import COMPILE_CACHE, WEIGHTS
from ingle_kit import names

Body = dict[str, Any]
AWAKE_MIB = 60_000
ALLOCATABLE_MIB = 80_000
NAMESPACE = "default"
LABEL_PRODUCT = "nvidia.com/gpu.product"
_NAMED_BY = {WEIGHTS: "model", COMPILE_CACHE: "key"}


@dataclass(frozen=True)
class Shape:
    """A node: `gpus` GPUs, 0 to 8, all linked; W allotted for 300 W each. `silent`: no agent for days.

    `zones` 0: nothing is told of NUMA zones and links. `held_mib`: what a neighbour that is awake holds of each GPU,
    from the first. `warm`: kind and name of what lies on its disk.
    """

    name: str
    gpus: int = 8
    product: str = "H100"
    allocatable_mib: int = ALLOCATABLE_MIB
    silent: bool = False
    cpu_milli: int = 128_000
    pods: int = 110
    zones: int = 2
    held_mib: tuple[int, ...] = ()
    warm: tuple[tuple[str, str], ...] = ()

    @property
    def uuids(self) -> list[str]:
        return [f"GPU-{self.name}-{i}" for i in range(self.gpus)]

    @property
    def taken(self) -> int:
        """GPUs that the neighbour holds wholly."""
        return self.held_mib.count(self.allocatable_mib)


def shapes(count: int, first: int = 0) -> list[Shape]:
    """Equal nodes n00000, n00001, ..."""
    return [Shape(f"n{i:05d}") for i in range(first, first + count)]


def stamp(ago_s: float = 0.0) -> str:
    """RFC 3339, in UTC."""
    return (datetime.now(UTC) - timedelta(seconds=ago_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


def kube_node(shape: Shape) -> Body:
    """A Node that reports ready, with plenty of memory; the default scheduler sees its GPUs as whole devices."""
    room = {"cpu": f"{shape.cpu_milli}m", "memory": "1024Gi", "pods": str(shape.pods)}
    room |= {names.RESOURCE_NVIDIA_GPU: str(shape.gpus)}
    ready = {"type": "Ready", "status": "True", "reason": "Made", "message": ""}
    ready |= {"lastHeartbeatTime": stamp(), "lastTransitionTime": stamp()}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": shape.name,
            "labels": {"kubernetes.io/hostname": shape.name, LABEL_PRODUCT: shape.product},
        },
        "status": {"conditions": [ready], "capacity": room, "allocatable": room},
    }


def gpu_node(shape: Shape) -> Body:
    """A ledger with the neighbour's claims only."""
    holder = f"holder-{shape.name}"
    gpus: list[Body] = [
        {"uuid": uuid, "allocatableMiB": shape.allocatable_mib, "floorWatts": 100, "claims": []}
        for uuid in shape.uuids
    ]
    for gpu, held_mib in zip(gpus, shape.held_mib, strict=False):
        gpu["claims"] = [{"podUID": holder, "memoryMiB": held_mib, "watts": 0}] if held_mib else []
    zones = [{"zone": z, "allocatableMiB": 500_000, "claims": []} for z in range(shape.zones)]
    pods = [{"uid": holder, "pool": f"{NAMESPACE}/holder", "state": "Awake", "epoch": 0, "at": stamp()}]
    spec: Body = {"revision": 1, "wattsAllotted": 300 * shape.gpus, "gpus": gpus, "zones": zones}
    spec["pods"] = pods if any(shape.held_mib) else []
    head = {"apiVersion": names.GPU_NODE.api_version, "kind": names.GPU_NODE.kind}
    return {**head, "metadata": {"name": shape.name}, "spec": spec}


def gpu_node_status(shape: Shape) -> Body:
    """What the node's agent would have written."""
    memory = {"total": shape.allocatable_mib, "reserved": 0, "free": shape.allocatable_mib, "foreign": 0}
    gpus = [
        {
            "uuid": uuid,
            "index": i,
            "product": shape.product,
            "memoryMiB": memory,
            **_near(shape, i),
        }
        for i, uuid in enumerate(shape.uuids)
    ]
    heard = stamp(10 * 86_400 if shape.silent else 0)
    warm = [{"kind": kind, _NAMED_BY[kind]: name} for kind, name in shape.warm]
    return {
        "status": {"bootID": "b", "observedRevision": 1, "heartbeatAt": heard, "gpus": gpus, "warm": warm}
    }


def _near(shape: Shape, place: int) -> Body:
    if not shape.zones:
        return {}
    peers = [peer for i, peer in enumerate(shape.uuids) if i != place]
    return {"numa": shape.zones * place // shape.gpus, "nvlinkPeers": peers}


def plain_pod(
    name: str,
    *,
    scheduler: str = names.SCHEDULER_NAME,
    cpu_milli: int = 100,
    whole_gpus: int = 0,
    node: str = "",
) -> Body:
    """A pod that asks for CPU, memory, and GPUs as devices. `node`: it is there already, placed by nobody."""
    devices = {names.RESOURCE_NVIDIA_GPU: str(whole_gpus)} if whole_gpus else {}
    resources = {"requests": _requests(cpu_milli) | devices, "limits": devices}
    body = _pod(name, scheduler, resources, annotations={}, labels={})
    if node:
        body["spec"]["nodeName"] = node
    return body


def engine_pod(
    name: str,
    *,
    pool: str = "p",
    gpus: int = 1,
    memory_mib: int = AWAKE_MIB,
    host_mib: int = 20_000,
    watts: int = 300,
    cpu_milli: int = 100,
    products: Sequence[str] = (),
    scheduler: str = names.SCHEDULER_NAME,
    extra: Body | None = None,
) -> Body:
    """A pod as the operator makes it; MiB and W per GPU, host memory per pod. `extra` goes into the annotation."""
    ask = {
        "pool": f"{NAMESPACE}/{pool}",
        "variant": "v",
        "gpus": gpus,
        "memoryMiB": {"awake": memory_mib, "asleep": min(1600, memory_mib - 1), "host": host_mib},
        "watts": watts,
        "products": list(products),
        "priority": "Normal",
    }
    amount = {names.RESOURCE_GPU_MEMORY: str(gpus * memory_mib)}
    resources = {"requests": _requests(cpu_milli) | amount, "limits": amount}
    annotations = {names.ANNOTATION_PLACEMENT: json.dumps(ask | (extra or {}))}
    return _pod(name, scheduler, resources, annotations=annotations, labels={names.LABEL_POOL: pool})


def pool_object(
    name: str,
    *,
    model: str,
    replicas: int = 1,
    gpus: int = 1,
    memory_mib: int = AWAKE_MIB,
    products: Sequence[str] = (),
) -> Body:
    """An InferencePool of one variant that may have up to `replicas` awake."""
    memory = {"awake": memory_mib, "asleep": min(1600, memory_mib - 1), "host": 0}
    variant = {"name": "v", "gpus": gpus, "memoryMiB": memory, "watts": {"busy": 300, "idle": 60}}
    return {
        "apiVersion": names.INFERENCE_POOL.api_version,
        "kind": names.INFERENCE_POOL.kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "model": model,
            "engine": {"kind": "VLLM", "image": "none"},
            "variants": [variant | {"gpuProducts": list(products)}],
            "replicas": {"min": 0, "max": replicas},
        },
    }


def _requests(cpu_milli: int) -> dict[str, str]:
    return {"cpu": f"{cpu_milli}m", "memory": "128Mi"}


def _pod(
    name: str, scheduler: str, resources: Body, *, annotations: dict[str, str], labels: dict[str, str]
) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels, "annotations": annotations},
        "spec": {
            "schedulerName": scheduler,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "engine", "image": "none", "resources": resources}],
        },
    }
