"""Whether pods sit where the ledger has them: on their GPUs, and with their memory on those GPUs' NUMA zone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from ingle_agent.device import GpuSample, GpuShape
from ingle_agent.ledger import Ledger
from ingle_kit.objects import Misplaced, Reason
from ingle_kit.objects.gpunode import MAX_MISPLACED


def on_wrong_gpu(
    shapes: Sequence[GpuShape], samples: Sequence[GpuSample], pods: Mapping[int, str], ledger: Ledger | None
) -> list[Misplaced]:
    """Pods of the ledger with a process on a GPU where they claim nothing, in the order of GPUs.

    A pod that the ledger does not know is foreign use, and counted there. The claim comes before the process and both
    in one revision, so a ledger that lags behind accuses nobody. GPUs split by MIG are left out: their claims are on
    instances.
    """
    if ledger is None:
        return []
    found: dict[str, list[str]] = {}
    for shape, sample in zip(shapes, samples, strict=True):
        claimed = ledger.holders.get(shape.uuid, frozenset())
        here = {pods.get(process.pid, "") for process in sample.processes or ()} & ledger.pods
        for uid in sorted(here - claimed) if not shape.mig else ():
            found.setdefault(uid, []).append(shape.uuid)
    return [
        Misplaced(pod_uid=uid, reason=Reason.WRONG_GPU.value, message=_wrong_gpu(uid, gpus, ledger))
        for uid, gpus in found.items()
    ]


def _wrong_gpu(uid: str, gpus: Iterable[str], ledger: Ledger) -> str:
    own = sorted(gpu for gpu, holders in ledger.holders.items() if uid in holders)
    return f"pod {uid} uses {', '.join(gpus)}, its GPUs are {', '.join(own) or 'none'}"


def zones_of_pods(shapes: Sequence[GpuShape], ledger: Ledger | None) -> dict[str, int]:
    """Pod UID -> the one zone that all its GPUs hang on; pods with GPUs of several or unknown zones are left out."""
    zones: dict[str, set[int | None]] = {}
    for shape in shapes:
        for uid in ledger.holders.get(shape.uuid, ()) if ledger else ():
            zones.setdefault(uid, set()).add(shape.numa)
    single = {uid: next(iter(found)) for uid, found in zones.items() if len(found) == 1}
    return {uid: zone for uid, zone in single.items() if zone is not None}


def in_wrong_zone(uids: Collection[str], zones: Mapping[str, int]) -> list[Misplaced]:
    """`uids`: pods found with most of their memory elsewhere; those that have left the ledger since are left out."""
    return [
        Misplaced(
            pod_uid=uid,
            reason=Reason.WRONG_ZONE.value,
            message=f"pod {uid} has less than half of its memory on zone {zones[uid]}, that of its GPUs",
        )
        for uid in sorted(uids)
        if uid in zones
    ]


def bounded(*found: list[Misplaced]) -> list[Misplaced]:
    """One entry a pod, the first; as many as the status may hold."""
    by_pod: dict[str, Misplaced] = {}
    for item in (item for items in found for item in items):
        by_pod.setdefault(item.pod_uid, item)
    return list(by_pod.values())[:MAX_MISPLACED]
