"""Names that more than one process writes or reads: kinds, labels, annotations, ports."""

from __future__ import annotations

from typing import Final, NamedTuple

GROUP: Final = "ingle.dev"
VERSION: Final = "v1alpha1"
SYSTEM_NAMESPACE: Final = "ingle-system"
SCHEDULER_NAME: Final = "ingle"
AUDIENCE: Final = "ingle.dev"

LABEL_POOL: Final = "ingle.dev/pool"
LABEL_VARIANT: Final = "ingle.dev/variant"
LABEL_REVISION: Final = "ingle.dev/revision"
LABEL_COMPONENT: Final = "ingle.dev/component"
LABEL_MANAGED: Final = "ingle.dev/managed"
COMPONENT_HOLDER: Final = "holder"
COMPONENT_FETCH: Final = "fetch"

ANNOTATION_PLACEMENT: Final = "ingle.dev/placement"
ANNOTATION_GPUS: Final = "ingle.dev/gpus"
ANNOTATION_LEVEL: Final = "ingle.dev/level"
ANNOTATION_REQUEUE: Final = "ingle.dev/requeue"
ANNOTATION_HARDWARE: Final = "ingle.dev/hardware"
ANNOTATION_FETCHES: Final = "ingle.dev/fetches"
ANNOTATION_HOLDS: Final = "ingle.dev/holds-node"

GATE_AWAKE: Final = "ingle.dev/awake"
RESOURCE_GPU_MEMORY: Final = "ingle.dev/gpu-memory-mib"
RESOURCE_NVIDIA_GPU: Final = "nvidia.com/gpu"
PRIORITY_HOLDER: Final = "ingle-holder"

PORT_AGENT: Final = 9470
PORT_ROUTER: Final = 9471
PORT_PICKER: Final = 9002
PORT_PICKER_HEALTH: Final = 9003
PORT_WAITING_ROOM: Final = 9472
PORT_GATEWAY: Final = 8080
PORT_GATEWAY_INTERNAL: Final = 8081
PORT_OPERATOR: Final = 9480
PORT_EXTENDER: Final = 9490


class Kind(NamedTuple):
    """A kind of object as its API path needs it."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(
        self, namespace: str | None = None, name: str | None = None, subresource: str | None = None
    ) -> str:
        """URL path of the collection (no name) or of one object; all namespaces when namespace is None."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        where = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return (
            root
            + where
            + f"/{self.plural}"
            + (f"/{name}" if name else "")
            + (f"/{subresource}" if subresource else "")
        )


INFERENCE_POOL: Final = Kind(GROUP, VERSION, "inferencepools", "InferencePool", True)
ROUTING_POLICY: Final = Kind(GROUP, VERSION, "routingpolicies", "RoutingPolicy", True)
POWER_BUDGET: Final = Kind(GROUP, VERSION, "powerbudgets", "PowerBudget", False)
GPU_NODE: Final = Kind(GROUP, VERSION, "gpunodes", "GPUNode", False)
POD: Final = Kind("", "v1", "pods", "Pod", True)
NODE: Final = Kind("", "v1", "nodes", "Node", False)
NAMESPACE: Final = Kind("", "v1", "namespaces", "Namespace", False)
SERVICE_ACCOUNT: Final = Kind("", "v1", "serviceaccounts", "ServiceAccount", True)
EVENT: Final = Kind("", "v1", "events", "Event", True)
LEASE: Final = Kind("coordination.k8s.io", "v1", "leases", "Lease", True)
AUTOSCALER: Final = Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True)
TOKEN_REVIEW: Final = Kind("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", False)
CRD: Final = Kind(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False
)
