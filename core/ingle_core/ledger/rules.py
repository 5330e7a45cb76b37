"""The rules that the API server holds on `GPUNode.spec`, mirrored so that callers know before it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from ingle_core.ledger.changes import Op, applied
from ingle_core.ledger.records import Ledger

Reason = Literal["InsufficientMemory", "InsufficientWatts", "InsufficientHostMemory"]


class Shortfall(NamedTuple):
    """Why a change does not fit; `message` says where and how much, `field` is the path in the object."""

    reason: Reason
    message: str
    field: str


def charged_watts(ledger: Ledger) -> int:
    """W that the node's GPUs are charged together: Σ over GPUs of max(floor, Σ claims)."""
    return sum(gpu.charged_watts for gpu in ledger.gpus)


def fits(ledger: Ledger, ops: Sequence[Op]) -> Shortfall | None:
    """None when the ledger may take `ops`; else the first rule they break."""
    return shortfall(ledger, applied(ledger, ops)) if ops else None


def shortfall(before: Ledger, after: Ledger) -> Shortfall | None:
    """The first rule that the step from `before` to `after` breaks.

    Each sum must fit its limit, or must not have grown: so a lowered limit can be recorded while claims are high.
    """
    return _memory(before, after) or _watts(before, after) or _host_memory(before, after)


def _memory(before: Ledger, after: Ledger) -> Shortfall | None:
    held = {gpu.uuid: gpu.claimed_mib for gpu in before.gpus}
    for i, gpu in enumerate(after.gpus):
        if gpu.claimed_mib > gpu.allocatable_mib and gpu.claimed_mib > held.get(gpu.uuid, -1):
            text = f"GPU {gpu.uuid}: claims of {gpu.claimed_mib} MiB exceed {gpu.allocatable_mib} MiB"
            return Shortfall("InsufficientMemory", text, f"spec.gpus[{i}]")
    return None


def _watts(before: Ledger, after: Ledger) -> Shortfall | None:
    limit = after.watts_allotted
    watts = charged_watts(after)
    if limit is None or watts <= limit or watts <= charged_watts(before):
        return None
    return Shortfall(
        "InsufficientWatts", f"GPUs would need {watts} W, allotted are {limit} W", "spec.wattsAllotted"
    )


def _host_memory(before: Ledger, after: Ledger) -> Shortfall | None:
    held = {zone.zone: zone.claimed_mib for zone in before.zones}
    for i, zone in enumerate(after.zones):
        if zone.claimed_mib > zone.allocatable_mib and zone.claimed_mib > held.get(zone.zone, -1):
            text = f"zone {zone.zone}: claims of {zone.claimed_mib} MiB exceed {zone.allocatable_mib} MiB"
            return Shortfall("InsufficientHostMemory", text, f"spec.zones[{i}]")
    return None
