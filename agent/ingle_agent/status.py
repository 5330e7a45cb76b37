"""A round's facts as GPUNode.status, and when it is worth a write."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from ingle_agent.attached import bounded, in_wrong_zone, on_wrong_gpu, zones_of_pods
from ingle_agent.device import GpuSample, GpuShape
from ingle_agent.ledger import Ledger
from ingle_agent.loop import Snapshot
from ingle_agent.podresources import Holding
from ingle_kit.objects import (
    Condition,
    GpuMemory,
    GPUNodeStatus,
    GpuStatus,
    GpuWatts,
    Misplaced,
    Reason,
    timestamp,
)
from ingle_kit.objects.conditions import ATTACHED, READY, STALLED, ConditionStatus
from ingle_kit.streams import MIB

MESSAGE_MAX = 1024


def status_of(
    snapshot: Snapshot,
    boot_id: str,
    now_s: float,
    stale: bool,
    wrong_zone: Collection[str] = (),
    holding: Holding | None = None,
) -> GPUNodeStatus:
    """Status without NUMA zones. `now_s`: Unix seconds, for the heartbeat and new conditions.

    `wrong_zone`: UIDs of pods found with most of their memory on another zone than their GPUs. `holding`: who the
    kubelet gave GPUs to; None where it is not asked.
    """
    gpus = [
        _gpu(shape, sample, snapshot, stale, holding)
        for shape, sample in zip(snapshot.shapes, snapshot.samples, strict=True)
    ]
    misplaced = _misplaced(snapshot, wrong_zone)
    return GPUNodeStatus(
        boot_id=boot_id,
        observed_revision=snapshot.in_force.revision,
        heartbeat_at=timestamp(now_s),
        gpus=gpus,
        misplaced=misplaced,
        driver_version=snapshot.driver_version or None,
        conditions=_conditions(snapshot, gpus, misplaced, now_s),
    )


def _misplaced(snapshot: Snapshot, wrong_zone: Collection[str]) -> list[Misplaced]:
    zones = zones_of_pods(snapshot.shapes, snapshot.ledger)
    return bounded(
        on_wrong_gpu(snapshot.shapes, snapshot.samples, snapshot.pods, snapshot.ledger),
        in_wrong_zone(wrong_zone, zones),
    )


def foreign_mib(sample: GpuSample, pods: dict[int, str], ledger: Ledger | None) -> int:
    """MiB used by others than pods of the ledger. Where processes cannot be seen, all that is used above the claims."""
    used_mib = -(-sample.used_bytes // MIB)
    if sample.processes is None or any(process.memory_bytes is None for process in sample.processes):
        return max(0, used_mib - (ledger.claimed_mib.get(sample.uuid, 0) if ledger else 0))
    ours = ledger.pods if ledger else frozenset()
    ours_bytes = sum(p.memory_bytes or 0 for p in sample.processes if pods.get(p.pid, "") in ours)
    return max(0, -(-(sample.used_bytes - ours_bytes) // MIB))


def _gpu(
    shape: GpuShape, sample: GpuSample, snapshot: Snapshot, stale: bool, holding: Holding | None
) -> GpuStatus:
    powered = shape.max_w > 0
    watts = GpuWatts(
        limit=math.ceil(sample.limit_w),
        enforced=math.ceil(sample.enforced_w),
        min=shape.min_w,
        max=shape.max_w,
        default=shape.default_w,
    )
    return GpuStatus(
        uuid=shape.uuid,
        index=shape.index,
        product=shape.product,
        memory_mib=GpuMemory(
            total=sample.total_bytes // MIB,
            reserved=-(-sample.reserved_bytes // MIB),
            free=sample.free_bytes // MIB,
            foreign=foreign_mib(sample, snapshot.pods, snapshot.ledger) if sample.health == "Healthy" else 0,
        ),
        numa=shape.numa,
        pcie=shape.pcie or None,
        nvlink_peers=list(shape.nvlink_peers),
        watts=watts if powered else GpuWatts(),
        mig=shape.mig,
        parent=shape.parent or None,
        health="Unreadable" if stale and sample.health == "Healthy" else sample.health,
        held_by=holding.held_by(shape.uuid) if holding else None,
    )


def _conditions(
    snapshot: Snapshot, gpus: Sequence[GpuStatus], misplaced: Sequence[Misplaced], now_s: float
) -> list[Condition]:
    generation = snapshot.ledger.generation if snapshot.ledger else 0

    def condition(type: str, value: ConditionStatus, reason: Reason, message: str) -> Condition:
        return Condition(
            type=type,
            status=value,
            reason=reason.value,
            message=message[:MESSAGE_MAX],
            observed_generation=generation,
            last_transition_time=timestamp(now_s),
        )

    missing = sorted(set(snapshot.ledger.claimed_w if snapshot.ledger else ()) - {gpu.uuid for gpu in gpus})
    bad = [f"{gpu.uuid} is {gpu.health}" for gpu in gpus if gpu.health != "Healthy"]
    bad += [f"{uuid} is in the ledger and not seen" for uuid in missing]
    ready = condition(READY, "False", Reason.GPU_LOST, "; ".join(bad)) if bad else None
    fault = snapshot.in_force.fault
    stalled = condition(STALLED, "True", Reason.LIMITS_NOT_SET, fault) if fault else None
    return [
        ready or condition(READY, "True", Reason.REPORTING, f"{len(gpus)} GPUs"),
        stalled or condition(STALLED, "False", Reason.RECONCILED, ""),
        condition(ATTACHED, *_attached(gpus, misplaced, snapshot.ledger)),
    ]


def _attached(
    gpus: Sequence[GpuStatus], misplaced: Sequence[Misplaced], ledger: Ledger | None
) -> tuple[ConditionStatus, Reason, str]:
    """Status, reason and message of `Attached`; the worst that is known."""
    if misplaced:
        return "False", Reason(misplaced[0].reason), "; ".join(item.message for item in misplaced)
    claimed = {uuid for uuid, pods in ledger.holders.items() if pods} if ledger else set()
    taken = [gpu.uuid for gpu in gpus if gpu.held_by == "Other" and gpu.uuid in claimed]
    if taken:
        return "False", Reason.GPU_NOT_HELD, f"the kubelet gave {', '.join(taken)} to a pod that is not ours"
    if any(gpu.held_by == "Unknown" for gpu in gpus):
        return "Unknown", Reason.KUBELET_SILENT, "the kubelet does not say which GPUs our holder pods got"
    return "True", Reason.AS_CLAIMED, ""


def worth_writing(old: GPUNodeStatus | None, new: GPUNodeStatus, foreign_step_mib: int) -> bool:
    """Decisions wait for it: foreign memory moved by a step, or what is there, its health or conditions changed."""
    if old is None or (old.boot_id, old.driver_version) != (new.boot_id, new.driver_version):
        return True
    if [_shape(gpu) for gpu in old.gpus] != [_shape(gpu) for gpu in new.gpus]:
        return True
    if [(c.type, c.status, c.message) for c in old.conditions] != [
        (c.type, c.status, c.message) for c in new.conditions
    ]:
        return True
    if old.misplaced != new.misplaced or old.warm != new.warm:
        return True
    pairs = zip(old.gpus, new.gpus, strict=True)
    return any(abs(a.memory_mib.foreign - b.memory_mib.foreign) >= foreign_step_mib for a, b in pairs)


def worth_writing_later(old: GPUNodeStatus, new: GPUNodeStatus) -> bool:
    """Limits or the observed revision changed: who decides by them reads the stream of measurements."""
    return old.observed_revision != new.observed_revision or [gpu.watts for gpu in old.gpus] != [
        gpu.watts for gpu in new.gpus
    ]


def _shape(gpu: GpuStatus) -> tuple[object, ...]:
    fixed = (gpu.uuid, gpu.watts.max, gpu.watts.min, gpu.mig, gpu.parent, gpu.nvlink_peers, gpu.numa)
    return *fixed, gpu.health, gpu.held_by
