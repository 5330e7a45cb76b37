"""A node's ledger from what the agent reads, and from the pods that run there when the ledger was lost."""

from __future__ import annotations

import msgspec

from ingle_core.ledger import (
    Gpu,
    Ledger,
    LedgerError,
    Op,
    PodRef,
    State,
    Zone,
    applied,
    claim,
    difference,
    fits,
    set_gpus,
)
from ingle_kit.objects import GPUNodeStatus, GpuStatus, timestamp
from ingle_operator.parse import EnginePod

HOST_SHARE_FOR_SLEEPERS_PERCENT = 90
RAISED_BY_MIN_MIB = 64


def taken_over(ledger: Ledger, status: GPUNodeStatus) -> list[Op]:
    """The ledger's GPUs and zones as the agent reads them; foreign memory is not ours to give.

    Less memory is taken over at once, more only by `RAISED_BY_MIN_MIB`, or readings that flicker would be writes.
    """
    known = {gpu.uuid: gpu.allocatable_mib for gpu in ledger.gpus}
    gpus = [_gpu(g, known.get(g.uuid, 0)) for g in status.gpus]
    zones = [
        Zone(zone=z.zone, allocatable_mib=z.memory_mib.total * HOST_SHARE_FOR_SLEEPERS_PERCENT // 100)
        for z in status.numa
    ]
    return set_gpus(ledger, gpus, zones)


def _gpu(gpu: GpuStatus, known_mib: int) -> Gpu:
    memory = gpu.memory_mib
    usable = gpu.health == "Healthy" and not gpu.mig
    now_mib = max(0, memory.total - memory.reserved - memory.foreign) if usable else 0
    kept = known_mib <= now_mib < known_mib + RAISED_BY_MIN_MIB and known_mib > 0
    floor_w = gpu.watts.max if gpu.health == "Lost" else gpu.watts.min
    return Gpu(
        uuid=gpu.uuid,
        allocatable_mib=known_mib if kept else now_mib,
        floor_watts=floor_w or 0,
        parent=gpu.parent or msgspec.UNSET,
    )


def rebuilt(
    ledger: Ledger, status: GPUNodeStatus, pods: list[EnginePod], epoch: int, now_s: float
) -> list[Op]:
    """GPUs, zones and the claims of every pod that runs there, in one change.

    Each is charged as awake: what it does is found out, and then the charge falls as after any sleep.
    """
    ops = taken_over(ledger, status)
    after = applied(ledger, ops)
    zone_of = {gpu.uuid: gpu.numa for gpu in status.gpus}
    for pod in pods:
        zone = zone_of.get(pod.gpus[0]) if pod.gpus else None
        wish = _claimed(after, pod, zone, epoch, now_s)
        after = applied(after, wish)
    return difference(ledger, after)


def _claimed(ledger: Ledger, pod: EnginePod, zone: int | None, epoch: int, now_s: float) -> list[Op]:
    """The pod's claim, without host memory or watts where those do not fit; none where its GPU is not known."""
    state: State = "Starting" if not pod.ready else "Awake" if pod.gate else "Sleeping"
    host = pod.need.host_mib if zone is not None else 0
    for host_mib, watts in ((host, pod.need.busy_w), (0, pod.need.busy_w), (0, 0)):
        try:
            ops = claim(
                ledger,
                PodRef(pod.uid, pod.pool),
                pod.gpus,
                memory_mib=pod.need.awake_mib,
                watts=watts,
                state=state,
                host_zone=zone,
                host_mib=host_mib,
                epoch=epoch,
                at=timestamp(now_s),
            )
        except LedgerError:
            continue
        if fits(ledger, ops) is None:
            return ops
    return []
