"""A GPUNode as it comes from the API, and the facts about it that placement looks at. MiB and W throughout."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from ingle_core.ledger import TRANSITIONS, Claim, Gpu, Holder, Ledger
from ingle_core.warmpool.cachekey import bases_for, hardware_of

UNKNOWN_ZONE: Final = -1
GPU_LOST: Final = "GPULost"
WEIGHTS: Final = "Weights"
COMPILE_CACHE: Final = "CompileCache"


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
    pcie: str = ""
    nvlink_peers: tuple[str, ...] = ()
    mig: bool = False
    parent: str = ""
    health: str = "Healthy"


class Condition(msgspec.Struct, frozen=True):
    type: str
    status: str
    reason: str = ""


class Warm(msgspec.Struct, frozen=True):
    """Something on the node's disk that makes a start shorter: weights of `model`, or a compile cache under `key`.

    `partial`: a copy under way.
    """

    kind: str = ""
    model: str = ""
    key: str = ""
    partial: bool = False


class NodeStatus(
    msgspec.Struct,
    frozen=True,
    rename={
        "observed_revision": "observedRevision",
        "heartbeat_at": "heartbeatAt",
        "driver_version": "driverVersion",
    },
):
    """`GPUNode.status`, the part that placement reads."""

    observed_revision: int = 0
    heartbeat_at: str = ""
    gpus: tuple[GpuStatus, ...] = ()
    conditions: tuple[Condition, ...] = ()
    warm: tuple[Warm, ...] = ()
    driver_version: str = ""

    def hardware(self, gpus: Collection[str]) -> str:
        """For compile caches, of these GPUs (by UUID): the products that one replica runs on are one and the same."""
        products = sorted({gpu.product for gpu in self.gpus if gpu.uuid in gpus})
        return hardware_of("+".join(products), self.driver_version)

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
class Resident:
    """A pod that holds memory on a GPU: its pool (namespace/name), MiB that it claims there now."""

    pool: str
    memory_mib: int
    asleep: bool = False


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """One GPU. `headroom_mib` is what a new claim may take; below 0 where the GPU is over-committed.

    A MIG instance is a GPU of its own with the UUID of its `parent`; its watts and floor are the parent's, so they
    are counted once a parent, and its health is no better than the parent's.
    """

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
    pcie: str = ""
    parent: str = ""
    residents: tuple[Resident, ...] = ()


@dataclass(frozen=True, slots=True)
class ZoneFacts:
    """Host memory of a NUMA zone that sleepers may still claim."""

    zone: int
    headroom_mib: int


@dataclass(frozen=True, slots=True)
class GpuNodeFacts:
    """One node. `allotted_w` None: watts are not limited. `heard_at_s`: when its agent was last heard.

    `whole` False: an engine runs here that the ledger does not know, so nobody knows what it will take.
    `weights`: names whose weights are whole on its disk; `compiled`: bases of the compile caches there that were made
    for its GPUs and driver. `fetches`: engines that start there now, and so load weights.
    """

    gpus: tuple[GpuFacts, ...]
    zones: tuple[ZoneFacts, ...] = ()
    allotted_w: int | None = None
    heard_at_s: float = 0.0
    reporting: bool = True
    ready: bool = True
    cordoned: bool = False
    whole: bool = True
    weights: frozenset[str] = frozenset()
    compiled: frozenset[str] = frozenset()
    fetches: int = 0


def node_facts(
    node: GpuNode, *, heard_at_s: float, ready: bool = True, cordoned: bool = False, whole: bool = True
) -> GpuNodeFacts:
    """Joins ledger and measurement of one node. A GPU that is not reported counts as unhealthy, one with MIG too:
    only its instances are used. A MIG instance whose parent has no entry in the ledger counts as unhealthy."""
    holders = {pod.uid: pod for pod in node.spec.pods}
    reported = {gpu.uuid: gpu for gpu in node.status.gpus}
    current = node.status.observed_revision >= node.spec.revision
    entries = {gpu.uuid: gpu for gpu in node.spec.gpus}
    found = (_gpu_facts(gpu, reported.get(gpu.uuid), holders, current) for gpu in node.spec.gpus)
    return GpuNodeFacts(
        gpus=tuple(_of_parent(facts, entries, reported) if facts.parent else facts for facts in found),
        zones=tuple(ZoneFacts(z.zone, z.allocatable_mib - z.claimed_mib) for z in node.spec.zones),
        allotted_w=node.spec.watts_allotted,
        heard_at_s=heard_at_s,
        reporting=node.status.reporting,
        ready=ready,
        cordoned=cordoned,
        whole=whole,
        weights=frozenset(one.model for one in node.status.warm if one.kind == WEIGHTS and not one.partial),
        compiled=_compiled(node.status) if node.status.warm else frozenset(),
        fetches=sum(pod.state == "Starting" for pod in node.spec.pods),
    )


def _compiled(status: NodeStatus) -> frozenset[str]:
    keys = [one.key for one in status.warm if one.kind == COMPILE_CACHE]
    products = {gpu.product for gpu in status.gpus} if keys else ()
    return bases_for(keys, (hardware_of(product, status.driver_version) for product in products))


def memory_headroom_mib(allocatable_mib: int, claimed_mib: int, measured: GpuMemory, current: bool) -> int:
    """MiB that a new claim may take: min(allocatable − Σ claims, measured free − claimed but not yet taken).

    `current`: the measurement is not older than the claims. Only then does memory that our processes hold beyond
    their claims count against the newcomer; else it is what a process gave back just before its claim fell.
    """
    untaken = claimed_mib - measured.ours
    free = measured.free - (max(0, untaken) if current else untaken)
    return min(allocatable_mib - claimed_mib, free)


def _gpu_facts(
    gpu: Gpu, reported: GpuStatus | None, holders: Mapping[str, Holder], current: bool
) -> GpuFacts:
    claimed_mib = gpu.claimed_mib
    seen = reported or GpuStatus(gpu.uuid)
    claims = [(claim, holders.get(claim.pod_uid)) for claim in gpu.claims]
    here = [holder for _, holder in claims if holder is not None]
    return GpuFacts(
        uuid=gpu.uuid,
        product=seen.product,
        allocatable_mib=gpu.allocatable_mib,
        headroom_mib=memory_headroom_mib(gpu.allocatable_mib, claimed_mib, seen.memory, current),
        healthy=reported is not None
        and seen.health == "Healthy"
        and not seen.mig
        and seen.parent == (gpu.parent or ""),
        busy=any(one.state in TRANSITIONS for one in here),
        numa=UNKNOWN_ZONE if seen.numa is None else seen.numa,
        floor_w=gpu.floor_watts,
        claimed_w=gpu.claimed_watts,
        nvlink_peers=seen.nvlink_peers,
        pcie=seen.pcie,
        parent=gpu.parent or "",
        residents=tuple(_resident(claim, holder) for claim, holder in claims if claim.memory_mib),
    )


def _resident(claim: Claim, holder: Holder | None) -> Resident:
    if holder is None:
        return Resident("", claim.memory_mib)
    return Resident(holder.pool, claim.memory_mib, asleep=holder.state == "Asleep")


def _of_parent(facts: GpuFacts, entries: Mapping[str, Gpu], reported: Mapping[str, GpuStatus]) -> GpuFacts:
    """A MIG instance with its parent's watts, and its parent's zone where it names none itself."""
    entry, seen = entries.get(facts.parent), reported.get(facts.parent)
    if entry is None or seen is None:
        return replace(facts, healthy=False)
    zone = UNKNOWN_ZONE if seen.numa is None else seen.numa
    return replace(
        facts,
        healthy=facts.healthy and seen.health == "Healthy",
        numa=facts.numa if facts.numa != UNKNOWN_ZONE else zone,
        floor_w=entry.floor_watts,
        claimed_w=entry.claimed_watts,
    )
