"""JSON between kube-scheduler and us: keys are Go field names, capitalised; unused fields come as null."""

from __future__ import annotations

import msgspec

from ingle_core.placement import Ask, ask_from_amount, ask_from_annotation
from ingle_kit.drains import drains
from ingle_kit.names import ANNOTATION_GPUS, ANNOTATION_PLACEMENT, LABEL_POOL, RESOURCE_GPU_MEMORY
from ingle_kit.whatif import Taint

_SUFFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


class PodMeta(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    namespace: str = "default"
    uid: str = ""
    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    deletion_timestamp: str | None = None


class Resources(msgspec.Struct, frozen=True):
    requests: dict[str, str | int] | None = None
    limits: dict[str, str | int] | None = None


class Container(msgspec.Struct, frozen=True):
    resources: Resources = Resources()


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    node_name: str = ""
    node_selector: dict[str, str] | None = None
    containers: tuple[Container, ...] = ()


class Pod(msgspec.Struct, frozen=True):
    """A pod, the part that we read."""

    metadata: PodMeta
    spec: PodSpec = PodSpec()

    @property
    def key(self) -> tuple[str, str]:
        return self.metadata.namespace, self.metadata.name

    @property
    def pool(self) -> str:
        """namespace/pool, by label; the pod's own name where it belongs to no pool."""
        labels = self.metadata.labels or {}
        return f"{self.metadata.namespace}/{labels.get(LABEL_POOL, self.metadata.name)}"

    @property
    def gpus(self) -> tuple[str, ...]:
        """GPU UUIDs that its Binding carried."""
        text = (self.metadata.annotations or {}).get(ANNOTATION_GPUS, "")
        return tuple(text.split(",")) if text else ()

    def ask(self) -> Ask:
        """What it asks for: the annotation, else the amount of the extended resource. ValueError says what is wrong."""
        text = (self.metadata.annotations or {}).get(ANNOTATION_PLACEMENT)
        if text is not None:
            return ask_from_annotation(text)
        amount = sum(_amount(container.resources) for container in self.spec.containers)
        if amount < 1:
            raise ValueError(f"neither annotation {ANNOTATION_PLACEMENT} nor resource {RESOURCE_GPU_MEMORY}")
        return ask_from_amount(amount)


class NodeCondition(msgspec.Struct, frozen=True):
    type: str
    status: str


class KubeNodeMeta(msgspec.Struct, frozen=True):
    labels: dict[str, str] | None = None


class KubeNodeSpec(msgspec.Struct, frozen=True):
    unschedulable: bool = False
    taints: tuple[Taint, ...] | None = None


class KubeNodeStatus(msgspec.Struct, frozen=True):
    conditions: tuple[NodeCondition, ...] = ()


class KubeNode(msgspec.Struct, frozen=True):
    """A Kubernetes Node, the part that we read."""

    metadata: KubeNodeMeta = KubeNodeMeta()
    spec: KubeNodeSpec = KubeNodeSpec()
    status: KubeNodeStatus = KubeNodeStatus()

    @property
    def cordoned(self) -> bool:
        """Cordoned by somebody, or its GPU driver is being upgraded."""
        return drains(self.spec.unschedulable, self.metadata.labels or {})

    @property
    def ready(self) -> bool:
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)


class FilterArgs(msgspec.Struct, frozen=True, rename="pascal"):
    pod: Pod
    node_names: tuple[str, ...] | None = None


class FilterResult(msgspec.Struct, frozen=True, rename="pascal"):
    """`node_names` must be a list, never null: null is read as no node without an error."""

    node_names: list[str]
    failed_and_unresolvable_nodes: dict[str, str] = {}
    failed_nodes: dict[str, str] = {}
    error: str = ""


class BindArgs(
    msgspec.Struct,
    frozen=True,
    rename={"pod_name": "PodName", "pod_namespace": "PodNamespace"} | {"pod_uid": "PodUID", "node": "Node"},
):
    pod_name: str
    pod_namespace: str
    pod_uid: str
    node: str


class BindResult(msgspec.Struct, frozen=True, rename="pascal"):
    error: str = ""


def _amount(resources: Resources) -> int:
    for amounts in (resources.requests, resources.limits):
        if amounts and RESOURCE_GPU_MEMORY in amounts:
            return quantity(str(amounts[RESOURCE_GPU_MEMORY]))
    return 0


def quantity(text: str) -> int:
    """A whole Kubernetes quantity: the API server writes 42000 as 42k. ValueError for anything else."""
    digits = text.rstrip("kKMGi")
    suffix = text[len(digits) :]
    if suffix not in _SUFFIXES or not digits.isdigit():
        raise ValueError(f"{RESOURCE_GPU_MEMORY}: {text!r} is not a whole number")
    return int(digits) * _SUFFIXES[suffix]
