"""Bodies of the nodes and pods that the benchmark makes; pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ingle_kit import names

Body = dict[str, Any]
AWAKE_MIB = 60_000
ALLOCATABLE_MIB = 80_000
NAMESPACE = "default"


@dataclass(frozen=True)
class Shape:
    """A node: `gpus` GPUs in two NUMA zones, all linked; W allotted for 300 W each. `silent`: no agent for a day."""

    name: str
    gpus: int = 8
    product: str = "H100"
    allocatable_mib: int = ALLOCATABLE_MIB
    silent: bool = False

    @property
    def uuids(self) -> list[str]:
        return [f"GPU-{self.name}-{i}" for i in range(self.gpus)]


def shapes(count: int, first: int = 0) -> list[Shape]:
    """Equal nodes n00000, n00001, ..."""
    return [Shape(f"n{i:05d}") for i in range(first, first + count)]


def stamp(ago_s: float = 0.0) -> str:
    """RFC 3339, in UTC."""
    return (datetime.now(UTC) - timedelta(seconds=ago_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


def kube_node(shape: Shape) -> Body:
    """A Node that reports ready, with plenty of CPU and memory."""
    room = {"cpu": "128", "memory": "1024Gi", "pods": "110"}
    ready = {"type": "Ready", "status": "True", "reason": "Made", "message": ""}
    ready |= {"lastHeartbeatTime": stamp(), "lastTransitionTime": stamp()}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": shape.name, "labels": {"kubernetes.io/hostname": shape.name}},
        "status": {"conditions": [ready], "capacity": room, "allocatable": room},
    }


def gpu_node(shape: Shape) -> Body:
    """An empty ledger."""
    gpus = [
        {"uuid": uuid, "allocatableMiB": shape.allocatable_mib, "floorWatts": 100, "claims": []}
        for uuid in shape.uuids
    ]
    zones = [{"zone": z, "allocatableMiB": 500_000, "claims": []} for z in range(2)]
    spec = {"revision": 1, "wattsAllotted": 300 * shape.gpus, "gpus": gpus, "zones": zones, "pods": []}
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
            "numa": 2 * i // shape.gpus,
            "nvlinkPeers": [peer for peer in shape.uuids if peer != uuid],
        }
        for i, uuid in enumerate(shape.uuids)
    ]
    heard = stamp(10 * 86_400 if shape.silent else 0)
    return {"status": {"bootID": "b", "observedRevision": 1, "heartbeatAt": heard, "gpus": gpus}}


def plain_pod(name: str, *, scheduler: str = names.SCHEDULER_NAME) -> Body:
    """A pod that asks for CPU and memory only."""
    requests = {"cpu": "100m", "memory": "128Mi"}
    return _pod(name, scheduler, {"requests": requests}, annotations={}, labels={})


def engine_pod(
    name: str,
    *,
    memory_mib: int = AWAKE_MIB,
    host_mib: int = 20_000,
    watts: int = 300,
    products: Sequence[str] = (),
    scheduler: str = names.SCHEDULER_NAME,
    extra: Body | None = None,
) -> Body:
    """A pod as the operator makes it: one GPU. `extra` goes into the placement annotation."""
    ask = {
        "pool": f"{NAMESPACE}/p",
        "variant": "v",
        "gpus": 1,
        "memoryMiB": {"awake": memory_mib, "asleep": 1600, "host": host_mib},
        "watts": watts,
        "products": list(products),
        "priority": "Normal",
    }
    amount = {names.RESOURCE_GPU_MEMORY: str(memory_mib)}
    requests = {"cpu": "100m", "memory": "128Mi"}
    resources = {"requests": {**requests, **amount}, "limits": amount}
    annotations = {names.ANNOTATION_PLACEMENT: json.dumps(ask | (extra or {}))}
    return _pod(name, scheduler, resources, annotations=annotations, labels={names.LABEL_POOL: "p"})


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
