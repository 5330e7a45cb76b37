"""Kubernetes JSON to the records that the reconcilers read; only what they use is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from ingle_kit.drains import drains
from ingle_kit.kube import Object
from ingle_kit.names import (
    ANNOTATION_GPUS,
    ANNOTATION_PLACEMENT,
    GATE_AWAKE,
    LABEL_COMPONENT,
    LABEL_POOL,
    LABEL_REVISION,
    LABEL_VARIANT,
    RESOURCE_NVIDIA_GPU,
)
from ingle_kit.objects import GPUNodeStatus, InferencePoolSpec, PowerBudgetSpec, RoutingPolicySpec, faults
from ingle_kit.whatif import Taint
from ingle_operator.need import Need, need_of

S = TypeVar("S", bound=BaseModel)
Key = tuple[str, str]


def seconds_of(stamp: str | None) -> float:
    """Unix seconds of an RFC 3339 time, 0 for none."""
    return datetime.fromisoformat(stamp).timestamp() if stamp else 0.0


@dataclass(frozen=True)
class Custom(Generic[S]):
    """One of our objects. `spec` None: it does not fit our model, and `error` says where and why."""

    key: Key
    uid: str
    generation: int
    created_at: str
    spec: S | None
    error: str
    status: dict[str, Any]
    raw: Object

    @property
    def name(self) -> str:
        return "/".join(part for part in self.key if part)


def _custom(obj: Object, model: type[S]) -> Custom[S]:
    metadata = obj["metadata"]
    spec: S | None = None
    error = ""
    try:
        spec = model.model_validate(obj.get("spec") or {})
    except ValidationError as problem:
        error = faults(problem)[0]
    return Custom(
        key=(metadata.get("namespace", ""), metadata["name"]),
        uid=metadata["uid"],
        generation=int(metadata.get("generation", 1)),
        created_at=metadata.get("creationTimestamp", ""),
        spec=spec,
        error=error,
        status=obj.get("status") or {},
        raw=obj,
    )


Pool = Custom[InferencePoolSpec]
Policy = Custom[RoutingPolicySpec]
Budget = Custom[PowerBudgetSpec]


def pool_of(obj: Object) -> Pool:
    return _custom(obj, InferencePoolSpec)


def policy_of(obj: Object) -> Policy:
    return _custom(obj, RoutingPolicySpec)


def budget_of(obj: Object) -> Budget:
    return _custom(obj, PowerBudgetSpec)


@dataclass(frozen=True)
class GpuNode:
    """A GPUNode: the raw object for the ledger, and the agent's status."""

    name: str
    raw: Object
    status: GPUNodeStatus

    def gpus_key(self) -> object:
        """What decides whether a variant fits: changes with GPUs that come, go or fall ill, not with their use."""
        return [(g.uuid, g.product, g.memory_mib.total, g.health, g.mig, g.held_by) for g in self.status.gpus]


def gpu_node_of(obj: Object) -> GpuNode:
    return GpuNode(obj["metadata"]["name"], obj, GPUNodeStatus.model_validate(obj.get("status") or {}))


@dataclass(frozen=True)
class EnginePod:
    """A pod of a pool. `trouble`: why it cannot be placed, or what its container ended with.

    `placement`: the annotation that says what it asks for.
    """

    key: Key
    uid: str
    pool: str
    variant: str
    revision: str
    node: str
    address: str
    gpus: tuple[str, ...]
    phase: str
    ready: bool
    gate: bool
    deleting: bool
    created_at_s: float
    need: Need
    trouble: str = ""
    ready_changed_at_s: float = 0.0
    placement: str = ""

    @property
    def ended(self) -> bool:
        return self.phase in ("Failed", "Succeeded")


def engine_pod_of(obj: Object) -> EnginePod:
    """Raises ValueError or KeyError for a pod that bears a pool's label without being an engine of ours."""
    metadata, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    gpus = annotations.get(ANNOTATION_GPUS, "")
    gate = conditions.get(GATE_AWAKE) or {}
    containers = conditions.get("ContainersReady") or {}
    namespace = metadata["namespace"]
    return EnginePod(
        key=(namespace, metadata["name"]),
        uid=metadata["uid"],
        pool=f"{namespace}/{labels.get(LABEL_POOL, '')}",
        variant=labels.get(LABEL_VARIANT, ""),
        revision=labels.get(LABEL_REVISION, ""),
        node=spec.get("nodeName", ""),
        address=f"http://{status['podIP']}:{_port(spec)}" if status.get("podIP") else "",
        gpus=tuple(uuid for uuid in gpus.split(",") if uuid),
        phase=status.get("phase", "Pending"),
        ready=containers.get("status") == "True",
        ready_changed_at_s=seconds_of(containers.get("lastTransitionTime")),
        gate=gate.get("status") == "True",
        deleting="deletionTimestamp" in metadata,
        created_at_s=seconds_of(metadata.get("creationTimestamp")),
        need=need_of(annotations, spec),
        trouble=_trouble(status, conditions),
        placement=annotations.get(ANNOTATION_PLACEMENT, ""),
    )


def engine_pod_or_none(obj: Object) -> EnginePod | None:
    """None for a pod that is no engine of ours."""
    try:
        return engine_pod_of(obj)
    except (ValueError, KeyError):
        return None


def _port(spec: dict[str, Any]) -> int:
    ports = spec["containers"][0].get("ports") or [{"containerPort": 8000}]
    return int(ports[0]["containerPort"])


def trouble_of(status: dict[str, Any]) -> str:
    """Why a pod failed or cannot be placed, empty where it did not and can."""
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    return _trouble(status, conditions)


def _ended_text(status: dict[str, Any]) -> str:
    """What a pod that failed ended with."""
    for container in status.get("containerStatuses") or ():
        ended = (container.get("state") or {}).get("terminated")
        if ended:
            code = ended.get("exitCode")
            return f"{ended.get('reason', 'Error')}, exit code {code}: {ended.get('message', '')}".rstrip(
                ": "
            )
    return f"{status.get('reason', 'Failed')}: {status.get('message', '')}".rstrip(": ")


def _trouble(status: dict[str, Any], conditions: dict[str, Any]) -> str:
    if status.get("phase") == "Failed":
        return _ended_text(status)
    scheduled = conditions.get("PodScheduled") or {}
    return str(scheduled.get("message", "")) if scheduled.get("status") == "False" else ""


@dataclass(frozen=True)
class Component:
    """A pod of ours: an agent or a router. `address` empty until it has one; `leaving`: it is being deleted."""

    key: Key
    uid: str
    component: str
    node: str
    address: str
    running: bool
    leaving: bool


def component_of(obj: Object) -> Component:
    metadata, status = obj["metadata"], obj.get("status") or {}
    return Component(
        key=(metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        component=metadata["labels"][LABEL_COMPONENT],
        node=obj["spec"].get("nodeName", ""),
        address=status.get("podIP", ""),
        running=status.get("phase") == "Running",
        leaving="deletionTimestamp" in metadata,
    )


@dataclass(frozen=True)
class NodeRecord:
    """A Node: labels for selectors, and whether it takes new work. `gpus`: allocatable `nvidia.com/gpu`.

    `cordoned`: by somebody, or while its GPU driver is upgraded.
    """

    name: str
    uid: str
    labels: dict[str, str] = field(default_factory=dict)
    cordoned: bool = False
    ready: bool = False
    gpus: int = 0
    taints: tuple[Taint, ...] = ()


def node_of(obj: Object) -> NodeRecord:
    conditions = {c["type"]: c["status"] for c in (obj.get("status") or {}).get("conditions") or ()}
    labels = obj["metadata"].get("labels") or {}
    return NodeRecord(
        name=obj["metadata"]["name"],
        uid=obj["metadata"]["uid"],
        labels=labels,
        cordoned=drains(bool(obj["spec"].get("unschedulable")), labels),
        ready=conditions.get("Ready") == "True",
        gpus=int(((obj.get("status") or {}).get("allocatable") or {}).get(RESOURCE_NVIDIA_GPU, 0)),
        taints=tuple(
            Taint(t["key"], t["effect"], t.get("value", "")) for t in obj["spec"].get("taints") or ()
        ),
    )
