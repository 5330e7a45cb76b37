"""A GPUNode as it comes from the API, and the facts about it that placement looks at. MiB and W throughout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ingle_core.ledger import TRANSITIONS, Gpu, Ledger

UNKNOWN_ZONE: Final = -1
GPU_LOST: Final = "GPULost"


class GpuMemory(msgspec.Struct, frozen=True):
    """Measured by the driver: total = reserved + free + used; `foreign` is used by processes that are not ours."""

    total: int = 0
    reserved: int = 0
    free: int = 0
    foreign: int = 0

    @property
    def ours(self) -> int:
        return max(0, self.total - self.reserved - self.free - self.foreign)


class GpuStatus(msgspec.Struct, frozen=True, rename={"memory": "memoryMiB", "nvlink_peers": "nvlinkPeers"}):
    """One GPU as the agent reports it."""

    uuid: str
    index: int = 0
    product: str = ""
    memory: GpuMemory = GpuMemory()
    numa: int | None = None
    nvlink_peers: tuple[str, ...] = ()
    mig: bool = False
    health: str = "Healthy"


class Condition(msgspec.Struct, frozen=True):
    type: str
    status: str
    reason: str = ""


class NodeStatus(
    msgspec.Struct,
    frozen=True,
    rename={"observed_revision": "observedRevision", "heartbeat_at": "heartbeatAt"},
):
    """`GPUNode.status`, the part that placement reads."""

    observed_revision: int = 0
    heartbeat_at: str = ""
    gpus: tuple[GpuStatus, ...] = ()
    conditions: tuple[Condition, ...] = ()

    @property
    def reporting(self) -> bool:
        """False where a condition says that the agent cannot vouch for the node; a lost GPU is only its own fault."""
        unready = any(
            c.type == "Ready" and c.status == "False" and c.reason != GPU_LOST for c in self.conditions
        )
        return not unready and not any(c.type == "Stalled" and c.status == "True" for c in self.conditions)


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    uid: str = ""
    resource_version: str = ""


class GpuNode(msgspec.Struct, frozen=True):
    """A GPUNode object."""

    metadata: Metadata
    spec: Ledger = Ledger()
    status: NodeStatus = NodeStatus()

    @classmethod
    def from_dict(cls, obj: Mapping[str, Any]) -> GpuNode:
        """Reads the API's JSON; ValueError (msgspec.ValidationError) names the wrong field."""
        return msgspec.convert(obj, cls)


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """One GPU. `headroom_mib` is what a new claim may take; below 0 where the GPU is over-committed."""

    uuid: str
    product: str
    allocatable_mib: int
    headroom_mib: int
    healthy: bool = True
    busy: bool = False
    numa: int = UNKNOWN_ZONE
    floor_w: int = 0
    claimed_w: int = 0
    nvlink_peers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ZoneFacts:
    """Host memory of a NUMA zone that sleepers may still claim."""

    zone: int
    headroom_mib: int


@dataclass(frozen=True, slots=True)
class GpuNodeFacts:
    """One node. `allotted_w` None: watts are not limited. `heard_at_s`: when its agent was last heard."""

    gpus: tuple[GpuFacts, ...]
    zones: tuple[ZoneFacts, ...] = ()
    allotted_w: int | None = None
    heard_at_s: float = 0.0
    reporting: bool = True
    ready: bool = True
    cordoned: bool = False


def node_facts(
    node: GpuNode, *, heard_at_s: float, ready: bool = True, cordoned: bool = False
) -> GpuNodeFacts:
    """Joins ledger and measurement of one node. A GPU that is not reported counts as unhealthy, one with MIG too."""
    moving = {pod.uid for pod in node.spec.pods if pod.state in TRANSITIONS}
    reported = {gpu.uuid: gpu for gpu in node.status.gpus}
    current = node.status.observed_revision >= node.spec.revision
    return GpuNodeFacts(
        gpus=tuple(_gpu_facts(gpu, reported.get(gpu.uuid), moving, current) for gpu in node.spec.gpus),
        zones=tuple(ZoneFacts(z.zone, z.allocatable_mib - z.claimed_mib) for z in node.spec.zones),
        allotted_w=node.spec.watts_allotted,
        heard_at_s=heard_at_s,
        reporting=node.status.reporting,
        ready=ready,
        cordoned=cordoned,
    )


def memory_headroom_mib(allocatable_mib: int, claimed_mib: int, measured: GpuMemory, current: bool) -> int:
    """MiB that a new claim may take: min(allocatable − Σ claims, measured free − claimed but not yet taken).

    `current`: the measurement is not older than the claims. Only then does memory that our processes hold beyond
    their claims count against the newcomer; else it is what a process gave back just before its claim fell.
    """
    untaken = claimed_mib - measured.ours
    free = measured.free - (max(0, untaken) if current else untaken)
    return min(allocatable_mib - claimed_mib, free)


def _gpu_facts(gpu: Gpu, reported: GpuStatus | None, moving: set[str], current: bool) -> GpuFacts:
    claimed_mib = gpu.claimed_mib
    seen = reported or GpuStatus(gpu.uuid)
    return GpuFacts(
        uuid=gpu.uuid,
        product=seen.product,
        allocatable_mib=gpu.allocatable_mib,
        headroom_mib=memory_headroom_mib(gpu.allocatable_mib, claimed_mib, seen.memory, current),
        healthy=reported is not None and seen.health == "Healthy" and not seen.mig,
        busy=any(claim.pod_uid in moving for claim in gpu.claims),
        numa=UNKNOWN_ZONE if seen.numa is None else seen.numa,
        floor_w=gpu.floor_watts,
        claimed_w=gpu.claimed_watts,
        nvlink_peers=seen.nvlink_peers,
    )
