"""GPUNode: the ledger of one node (spec: operator and scheduler) and what its agent reads (status)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ingle_kit.objects.base import (
    ATOMIC,
    REQUIRED_ATOMIC,
    ApiModel,
    Counter,
    GpuUuid,
    Mib,
    Rule,
    Timestamp,
    Uid,
    Watts,
)
from ingle_kit.objects.conditions import Conditions

MAX_GPUS = 16
MAX_CLAIMS = 32
MAX_ZONES = 16
MAX_PODS = MAX_GPUS * MAX_CLAIMS
MAX_MISPLACED = 32
MAX_WARM = 256
MAX_WARM_NAME = 256

LedgerState = Literal["Starting", "Awake", "Sleeping", "Asleep", "Waking", "Stopping"]
HeldBy = Literal["Holder", "Other", "Nobody", "Unknown"]


class GpuClaim(ApiModel):
    """What one pod holds on one GPU."""

    pod_uid: Uid = Field(description="UID of the pod.")
    memory_mib: Mib = Field(description="MiB held on this GPU.")
    watts: Watts = Field(description="Watts held on this GPU; 0 while asleep.")


class LedgerGpu(ApiModel):
    """One GPU in the ledger."""

    uuid: GpuUuid = Field(description="UUID of the GPU as NVML names it.")
    allocatable_mib: Mib = Field(
        description="MiB that claims may hold together (total less reserved and foreign use)."
    )
    floor_watts: Watts = Field(
        description="Watts charged while claims hold less: the least limit its firmware can enforce under a "
        "Guaranteed budget, else its idle draw."
    )
    claims: Annotated[list[GpuClaim], Field(max_length=MAX_CLAIMS, json_schema_extra=REQUIRED_ATOMIC)] = (
        Field(default_factory=list, description="What pods hold here; empty when nobody does.")
    )
    parent: GpuUuid | None = Field(
        default=None,
        description="UUID of the GPU that this MIG instance is part of; the watts of its pods are claimed there. "
        "Absent: a whole GPU.",
    )


class HostClaim(ApiModel):
    """Host memory one sleeping pod holds in one NUMA zone."""

    pod_uid: Uid = Field(description="UID of the pod.")
    memory_mib: Mib = Field(description="MiB held in this zone.")


class LedgerZone(ApiModel):
    """Host memory of one NUMA zone in the ledger."""

    zone: Annotated[int, Field(ge=0, le=1023)] = Field(description="Number of the NUMA zone.")
    allocatable_mib: Mib = Field(description="MiB that sleepers may hold together.")
    claims: Annotated[list[HostClaim], Field(max_length=256, json_schema_extra=REQUIRED_ATOMIC)] = Field(
        default_factory=list, description="What pods hold here; empty when nobody does."
    )


class LedgerPod(ApiModel):
    """A pod that holds something above."""

    uid: Uid = Field(description="UID of the pod.")
    pool: Annotated[str, Field(min_length=1, max_length=317)] = Field(description="Its pool, namespace/name.")
    state: LedgerState = Field(description="What it is charged for.")
    epoch: Counter = Field(description="Lease epoch it was written under; for people to read.")
    at: Timestamp = Field(description="When this state began (RFC 3339).")


_WATTS = "{x}.gpus.map(g, [g.floorWatts, g.claims.map(c, c.watts).sum()].max()).sum()"
_MEMORY = "{g}.claims.map(c, c.memoryMiB).sum()"


def _fits_cel(items: str, key: str) -> str:
    new, old = _MEMORY.format(g="g"), _MEMORY.format(g="o")
    return (
        f"self.{items}.all(g, {new} <= g.allocatableMiB || (oldSelf.hasValue() &&"
        f" oldSelf.value().{items}.exists(o, o.{key} == g.{key} && {new} <= {old})))"
    )


_WATTS_CEL = (
    f"!has(self.wattsAllotted) || {_WATTS.format(x='self')} <= self.wattsAllotted || (oldSelf.hasValue() &&"
    f" {_WATTS.format(x='self')} <= {_WATTS.format(x='oldSelf.value()')})"
)


class GPUNodeSpec(ApiModel):
    """The ledger: who holds which memory and watts. Nobody writes it by hand."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            _fits_cel("gpus", "uuid"),
            "claims on a GPU exceed its allocatableMiB: claim less, or another GPU, or release claims first",
            field_path=".gpus",
            optional_old_self=True,
        ),
        Rule(
            _fits_cel("zones", "zone"),
            "claims in a NUMA zone exceed its allocatableMiB of host memory: claim less or release claims first",
            field_path=".zones",
            optional_old_self=True,
        ),
        Rule(
            _WATTS_CEL,
            "watts claimed on the node exceed wattsAllotted: claim less, release claims, or raise the PowerBudget",
            field_path=".wattsAllotted",
            optional_old_self=True,
        ),
        Rule(
            "self.revision > oldSelf.revision || (self.revision == oldSelf.revision && self.gpus == oldSelf.gpus"
            " && self.zones == oldSelf.zones && self.pods == oldSelf.pods)",
            "revision must grow with every change of gpus, zones or pods: read the object again and add 1",
            field_path=".revision",
        ),
        Rule(
            "self.gpus.all(g, self.gpus.exists_one(o, o.uuid == g.uuid))",
            "a GPU stands twice in gpus: remove one entry",
            lambda s: len({g.uuid for g in s.gpus}) == len(s.gpus),
            ".gpus",
        ),
        Rule(
            "self.zones.all(z, self.zones.exists_one(o, o.zone == z.zone))",
            "a NUMA zone stands twice in zones: remove one entry",
            lambda s: len({z.zone for z in s.zones}) == len(s.zones),
            ".zones",
        ),
    )
    revision: Counter = Field(
        description="Grows with every change; the first operation of every patch tests it."
    )
    watts_allotted: Watts | None = Field(
        default=None,
        description="Watts its GPUs may be limited to together. Absent: no PowerBudget covers the node.",
    )
    watts_safe: Watts | None = Field(
        default=None,
        description="Watts the agent falls to after 60 s without the operator. Absent: it keeps its limits.",
    )
    gpus: Annotated[list[LedgerGpu], Field(max_length=MAX_GPUS, json_schema_extra=REQUIRED_ATOMIC)] = Field(
        default_factory=list, description="The node's GPUs and what pods hold on them."
    )
    zones: Annotated[list[LedgerZone], Field(max_length=MAX_ZONES, json_schema_extra=REQUIRED_ATOMIC)] = (
        Field(default_factory=list, description="Host memory for sleepers, by NUMA zone.")
    )
    pods: Annotated[list[LedgerPod], Field(max_length=MAX_PODS, json_schema_extra=REQUIRED_ATOMIC)] = Field(
        default_factory=list, description="The pods that hold something above, once each."
    )


class GpuMemory(ApiModel):
    """Memory of one GPU in MiB."""

    total: Mib = Field(description="MiB of the GPU.")
    reserved: Mib = Field(default=0, description="MiB kept by driver and firmware. Absent: 0.")
    free: Mib = Field(description="MiB free when last reported.")
    foreign: Mib = Field(
        default=0, description="MiB held by processes that belong to no engine of ours. Absent: 0."
    )


class GpuWatts(ApiModel):
    """Power limits of one GPU in watts, rounded up."""

    limit: Watts | None = Field(default=None, description="Limit that was set. Absent: cannot be read.")
    enforced: Watts | None = Field(
        default=None, description="Limit in force, the least of all. Absent: cannot be read."
    )
    min: Watts | None = Field(
        default=None, description="Least limit that can be set. Absent: cannot be read."
    )
    max: Watts | None = Field(
        default=None, description="Highest limit that can be set. Absent: cannot be read."
    )
    default: Watts | None = Field(default=None, description="Limit after a reboot. Absent: cannot be read.")


class GpuStatus(ApiModel):
    """One GPU as its agent reads it."""

    uuid: GpuUuid = Field(description="UUID as NVML names it.")
    index: Annotated[int, Field(ge=0, le=1023)] = Field(description="Index in NVML's order (by PCI address).")
    product: Annotated[str, Field(max_length=128)] = Field(description="Product as NVML names it.")
    memory_mib: GpuMemory = Field(description="Memory in MiB.")
    numa: Annotated[int, Field(ge=0, le=1023)] | None = Field(
        default=None, description="NUMA zone it hangs on. Absent: not known."
    )
    pcie: Annotated[str, Field(max_length=32)] | None = Field(
        default=None, description="PCI address. Absent: not known."
    )
    nvlink_peers: Annotated[list[GpuUuid], Field(max_length=MAX_GPUS, json_schema_extra=ATOMIC)] = Field(
        default_factory=list, description="GPUs it reaches by NVLink. Absent: none."
    )
    watts: GpuWatts = Field(default_factory=GpuWatts, description="Power limits in watts.")
    mig: bool = Field(
        default=False,
        description="Whether it is split by MIG; only its instances are used then. Absent: false.",
    )
    parent: GpuUuid | None = Field(
        default=None, description="UUID of the GPU that this MIG instance is part of. Absent: a whole GPU."
    )
    health: Literal["Healthy", "Lost", "Unreadable"] = Field(
        default="Healthy", description="Healthy; Lost (fell off the bus); Unreadable. Absent: Healthy."
    )
    held_by: HeldBy | None = Field(
        default=None,
        description="Who the kubelet gave it to: Holder (a holder pod of ours), Other (another pod), Nobody, or Unknown "
        "(the kubelet does not answer). No new claims on Other and Unknown, nor on Nobody where the Node has the label "
        "ingle.dev/managed. Absent: the agent is not told to ask (INGLE_POD_RESOURCES_SOCKET).",
    )


class ZoneMemory(ApiModel):
    """Memory of one NUMA zone in MiB."""

    total: Mib = Field(description="MiB of the zone.")
    free: Mib = Field(description="MiB free when last reported.")


class NumaZone(ApiModel):
    """One NUMA zone of the node."""

    zone: Annotated[int, Field(ge=0, le=1023)] = Field(description="Its number.")
    cpus: Annotated[str, Field(max_length=1024)] = Field(
        default="", description="Its CPUs, for example 0-47,96-143."
    )
    memory_mib: ZoneMemory = Field(description="Its memory in MiB.")


class Misplaced(ApiModel):
    """A pod that does not sit where the ledger has it."""

    pod_uid: Uid = Field(description="UID of the pod.")
    reason: Literal["WrongGPU", "WrongZone"] = Field(
        description="WrongGPU (it uses a GPU where it claims nothing) or WrongZone (most of its memory is on another "
        "NUMA zone than its GPUs)."
    )
    message: Annotated[str, Field(max_length=1024)] = Field(description="The same for people.")


class WarmItem(ApiModel):
    """Something on the node's disk that makes a start shorter."""

    kind: Literal["Weights", "CompileCache"] = Field(
        description="Weights (of `model`) or CompileCache (under `key`)."
    )
    model: Annotated[str, Field(max_length=MAX_WARM_NAME)] | None = Field(
        default=None, description="Model whose weights they are. Absent: no weights."
    )
    key: Annotated[str, Field(max_length=MAX_WARM_NAME)] | None = Field(
        default=None, description="Key of the compile cache. Absent: no compile cache."
    )
    mib: Mib | None = Field(
        default=None,
        description="MiB that it takes on the disk, rounded up. Absent: not known, or under way.",
    )
    partial: bool | None = Field(
        default=None, description="True: a copy of weights that is under way. Absent: it is whole."
    )


class Disk(ApiModel):
    """The file system of the node's cache folder, in MiB."""

    total: Annotated[int, Field(ge=0, le=2**53 - 1)] = Field(description="Its size in MiB.")
    free: Annotated[int, Field(ge=0, le=2**53 - 1)] = Field(description="MiB that may still be written.")


class GPUNodeStatus(ApiModel):
    """What the node's agent reads; written on change, not for every reading."""

    boot_id: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="Changes when the node reboots. Absent: the agent has not written yet."
    )
    observed_revision: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Ledger revision whose power limits are in force. Absent: 0, none yet."
    )
    heartbeat_at: Timestamp | None = Field(
        default=None, description="When the agent last wrote (RFC 3339). Absent: never."
    )
    gpus: Annotated[list[GpuStatus], Field(max_length=MAX_GPUS, json_schema_extra=ATOMIC)] = Field(
        default_factory=list, description="The node's GPUs in NVML's order. Absent: none seen."
    )
    numa: Annotated[list[NumaZone], Field(max_length=MAX_ZONES, json_schema_extra=ATOMIC)] = Field(
        default_factory=list, description="The node's NUMA zones. Absent: not known."
    )
    misplaced: Annotated[list[Misplaced], Field(max_length=MAX_MISPLACED, json_schema_extra=ATOMIC)] = Field(
        default_factory=list, description="Pods that do not sit where the ledger has them. Absent: none seen."
    )
    warm: Annotated[list[WarmItem], Field(max_length=MAX_WARM, json_schema_extra=ATOMIC)] = Field(
        default_factory=list,
        description="Weights and compile caches on the node's disk, sorted; what is above the limit is left out. "
        "Absent: none.",
    )
    driver_version: Annotated[str, Field(max_length=80)] | None = Field(
        default=None, description="Version of the GPU driver. Absent: not told."
    )
    disk_mib: Disk | None = Field(
        default=None,
        description="Room of the cache folder's file system in MiB, at the last write. Absent: no such folder.",
    )
    conditions: Conditions = Field(
        default_factory=list, description="Accepted, Ready, Reconciling, Stalled, Attached."
    )
