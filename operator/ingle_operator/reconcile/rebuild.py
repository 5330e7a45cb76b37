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
from ingle_core.warmpool.tiers import Level
from ingle_kit.objects import GPUNodeStatus, GpuStatus, timestamp
from ingle_operator.holders import takes_claims
from ingle_operator.parse import EnginePod

HOST_SHARE_FOR_SLEEPERS_PERCENT = 90
RAISED_BY_MIN_MIB = 64


def taken_over(ledger: Ledger, status: GPUNodeStatus, managed: bool) -> list[Op]:
    """The ledger's GPUs and zones as the agent reads them; foreign memory is not ours to give, nor GPUs that the kubelet
    gave to others. `managed`: the node has the label `ingle.dev/managed`.

    Less memory is taken over at once, more only by `RAISED_BY_MIN_MIB`, or readings that flicker would be writes.
    """
    known = {gpu.uuid: gpu.allocatable_mib for gpu in ledger.gpus}
    gpus = [_gpu(g, known.get(g.uuid, 0), managed) for g in status.gpus]
    zones = [
        Zone(zone=z.zone, allocatable_mib=z.memory_mib.total * HOST_SHARE_FOR_SLEEPERS_PERCENT // 100)
        for z in status.numa
    ]
    return set_gpus(ledger, gpus, zones)


def _gpu(gpu: GpuStatus, known_mib: int, managed: bool) -> Gpu:
    memory = gpu.memory_mib
    usable = gpu.health == "Healthy" and not gpu.mig and takes_claims(gpu.held_by, managed)
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
    ledger: Ledger, status: GPUNodeStatus, managed: bool, pods: list[EnginePod], epoch: int, now_s: float
) -> list[Op]:
    """GPUs, zones and the claims of every pod that runs there, in one change.

    Each is charged as awake: what it does is found out, and then the charge falls as after any sleep. A sleeper beside
    others that leave no room for that is charged as asleep, after those that serve.
    """
    lost = [pod for pod in pods if ledger.holder(pod.uid) is None]
    ops = taken_over(ledger, _with_ours(status, lost), managed)
    after = applied(ledger, ops)
    zone_of = {gpu.uuid: gpu.numa for gpu in status.gpus}
    for pod in sorted(pods, key=lambda pod: pod.ready and not pod.gate):
        zone = zone_of.get(pod.gpus[0]) if pod.gpus else None
        wish = _claimed(after, pod, zone, epoch, now_s)
        after = applied(after, wish)
    return difference(ledger, after)


def _with_ours(status: GPUNodeStatus, lost: list[EnginePod]) -> GPUNodeStatus:
    """The status without the memory of engines that the ledger does not know: to the agent they are strangers.

    Real strangers beside them are seen again as soon as the ledger has the claims.
    """
    ours = {g.uuid: sum(pod.need.awake_mib for pod in lost if g.uuid in pod.gpus) for g in status.gpus}
    gpus = []
    for gpu in status.gpus:
        foreign = max(0, gpu.memory_mib.foreign - ours[gpu.uuid])
        gpus.append(
            gpu.model_copy(update={"memory_mib": gpu.memory_mib.model_copy(update={"foreign": foreign})})
        )
    return status.model_copy(update={"gpus": gpus})


def _claimed(ledger: Ledger, pod: EnginePod, zone: int | None, epoch: int, now_s: float) -> list[Op]:
    """The pod's claim, without host memory or watts where those do not fit; none where its GPU is not known."""
    state: State = "Starting" if not pod.ready else "Awake" if pod.gate else "Sleeping"
    host, need = pod.need.host_mib if zone is not None else 0, pod.need
    charges = [(need.awake_mib, host, need.busy_w), (need.awake_mib, 0, need.busy_w), (need.awake_mib, 0, 0)]
    if state == "Sleeping" or (need.level is Level.SPARE and not pod.gate):
        charges += [(need.asleep_mib, host, 0), (need.asleep_mib, 0, 0)]
    for memory_mib, host_mib, watts in charges:
        try:
            ops = claim(
                ledger,
                PodRef(pod.uid, pod.pool),
                pod.gpus,
                memory_mib=memory_mib,
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
