"""A round's facts as the message of the stream, and whether it is worth sending at once."""

from __future__ import annotations

from dataclasses import dataclass

from ingle_agent.device import GpuSample, GpuShape
from ingle_agent.loop import Snapshot
from ingle_kit.streams import MIB, GpuProcess, GpuReading, Measurement


@dataclass(frozen=True)
class Sender:
    """Who measures: node name and the boot that counters belong to."""

    node: str
    boot_id: str


def measurement(sender: Sender, snapshot: Snapshot, sequence: int, at_s: float, stale: bool) -> Measurement:
    """`stale`: the readings are older than their deadline, so that every GPU counts as Unreadable."""
    return Measurement(
        node=sender.node,
        boot_id=sender.boot_id,
        sequence=sequence,
        at_s=at_s,
        gpus=tuple(
            _reading(shape, sample, snapshot.pods, stale)
            for shape, sample in zip(snapshot.shapes, snapshot.samples, strict=True)
        ),
        observed_revision=snapshot.in_force.revision,
        caps_in_force=snapshot.in_force.now and not stale,
    )


def _reading(shape: GpuShape, sample: GpuSample, pods: dict[int, str], stale: bool) -> GpuReading:
    return GpuReading(
        uuid=shape.uuid,
        index=shape.index,
        product=shape.product,
        memory_total_mib=sample.total_bytes // MIB,
        memory_reserved_mib=-(-sample.reserved_bytes // MIB),
        memory_free_mib=sample.free_bytes // MIB,
        draw_w=sample.draw_w,
        limit_w=sample.limit_w,
        enforced_w=sample.enforced_w,
        min_w=float(shape.min_w),
        max_w=float(shape.max_w),
        sm_mhz=sample.sm_mhz,
        energy_j=sample.energy_j,
        throttle=sample.throttle,
        health="Unreadable" if stale and sample.health == "Healthy" else sample.health,
        processes=tuple(
            GpuProcess(p.pid, -(-(p.memory_bytes or 0) // MIB), pods.get(p.pid, ""))
            for p in sample.processes or ()
        ),
    )


def worth_sending(old: Measurement | None, new: Measurement, memory_mib: int) -> bool:
    """Memory moved by `memory_mib` on a GPU, or limits, health, processes' pods or the caps in force changed."""
    if old is None or (old.observed_revision, old.caps_in_force) != (
        new.observed_revision,
        new.caps_in_force,
    ):
        return True
    if [_state(gpu) for gpu in old.gpus] != [_state(gpu) for gpu in new.gpus]:
        return True
    return any(_moved(a, b, memory_mib) for a, b in zip(old.gpus, new.gpus, strict=True))


def _state(gpu: GpuReading) -> tuple[object, ...]:
    return gpu.uuid, gpu.health, gpu.limit_w, gpu.enforced_w, {process.pod_uid for process in gpu.processes}


def _moved(old: GpuReading, new: GpuReading, memory_mib: int) -> bool:
    """Free memory of the GPU, or what one pod holds of it."""
    if abs(old.memory_free_mib - new.memory_free_mib) >= memory_mib:
        return True
    before, after = _held(old), _held(new)
    return any(abs(before.get(uid, 0) - held) >= memory_mib for uid, held in after.items())


def _held(gpu: GpuReading) -> dict[str, int]:
    held: dict[str, int] = {}
    for process in gpu.processes:
        held[process.pod_uid] = held.get(process.pod_uid, 0) + process.memory_mib
    return held
