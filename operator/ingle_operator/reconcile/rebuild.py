"""A node's ledger from what the agent reads, and from the pods that run there when the ledger was lost."""

from __future__ import annotations

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
    fits,
    set_gpus,
)
from ingle_kit.objects import GPUNodeStatus, timestamp
from ingle_operator.parse import EnginePod

HOST_SHARE_FOR_SLEEPERS_PERCENT = 90


def taken_over(ledger: Ledger, status: GPUNodeStatus) -> list[Op]:
    """The ledger's GPUs and zones as the agent reads them; foreign memory is not ours to give."""
    gpus = [
        Gpu(
            uuid=g.uuid,
            allocatable_mib=0
            if g.health != "Healthy" or g.mig
            else max(0, g.memory_mib.total - g.memory_mib.reserved - g.memory_mib.foreign),
            floor_watts=g.watts.max or 0 if g.health == "Lost" else g.watts.min or 0,
        )
        for g in status.gpus
    ]
    zones = [
        Zone(zone=z.zone, allocatable_mib=z.memory_mib.total * HOST_SHARE_FOR_SLEEPERS_PERCENT // 100)
        for z in status.numa
    ]
    return set_gpus(ledger, gpus, zones)


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
    return _whole(ledger, after) if after != ledger else []


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


def _whole(before: Ledger, after: Ledger) -> list[Op]:
    spec = after.to_dict()
    return [
        {"op": "test", "path": "/spec/revision", "value": before.revision},
        {"op": "replace", "path": "/spec/revision", "value": before.revision + 1},
        *({"op": "add", "path": f"/spec/{name}", "value": spec[name]} for name in ("gpus", "zones", "pods")),
    ]
