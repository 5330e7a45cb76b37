"""One node's allotment over its GPUs: the limit each should have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ingle_core.power.fill import fill_levels
from ingle_core.power.reasons import BELOW_CLAIMS, BELOW_MINIMUM_LIMITS, Reason


@dataclass(frozen=True, slots=True)
class GpuPower:
    """One GPU in whole watts.

    `min_w`, `max_w`: what its driver accepts as a limit. `limit_w`: asked of the driver now. `enforced_w`: in
    force, may be lower than asked. `claimed_w`: Σ of its claims. `own_w`: the limit it had before we changed
    it; it goes back there when nothing is allotted; None where that is not known, then it is left alone.
    `lost`: it cannot be set or read, may still draw, and is charged `max_w`.
    """

    uuid: str
    min_w: int
    max_w: int
    limit_w: int
    enforced_w: int
    claimed_w: int
    own_w: int | None = None
    lost: bool = False

    @property
    def charged_w(self) -> int:
        """The most it may draw now."""
        return self.max_w if self.lost else max(self.limit_w, self.enforced_w)


@dataclass(frozen=True, slots=True)
class Caps:
    """`limits_w`: by UUID, without lost GPUs. `total_w`: their sum plus what lost ones are charged.

    `feasible`: `total_w` is within the allotment (always, where there is none).
    """

    limits_w: dict[str, int]
    total_w: int
    feasible: bool
    reasons: tuple[Reason, ...]


def caps(gpus: Sequence[GpuPower], allotted_w: int | None) -> Caps:
    """The limit of each GPU: its claims' watts within [min, max]; fewer, above the minima, where they do not fit.

    `allotted_w` None: each GPU's own limit.
    """
    ordered = sorted(gpus, key=lambda gpu: gpu.uuid)
    alive = [gpu for gpu in ordered if not gpu.lost]
    lost_w = sum(gpu.max_w for gpu in ordered if gpu.lost)
    if allotted_w is None:
        own = {gpu.uuid: _within(gpu, gpu.limit_w if gpu.own_w is None else gpu.own_w) for gpu in alive}
        return Caps(own, sum(own.values()) + lost_w, True, ())
    wanted = [_within(gpu, gpu.claimed_w) for gpu in alive]
    parts = fill_levels(allotted_w - lost_w, [gpu.min_w for gpu in alive], [wanted])
    total_w = sum(parts) + lost_w
    reasons = []
    if total_w > allotted_w:
        text = f"the GPUs need at least {total_w} W, {allotted_w} W are allotted"
        reasons.append(Reason(BELOW_MINIMUM_LIMITS, text))
    for gpu, want, part in zip(alive, wanted, parts, strict=True):
        if part < want:
            reasons.append(Reason(BELOW_CLAIMS, f"claims need {want} W, its limit is {part} W", gpu.uuid))
    limits = {gpu.uuid: part for gpu, part in zip(alive, parts, strict=True)}
    return Caps(limits, total_w, total_w <= allotted_w, tuple(reasons))


def _within(gpu: GpuPower, watts: int) -> int:
    return min(gpu.max_w, max(gpu.min_w, watts))
