"""One round of the agent: which limits to write now, given what the GPUs report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ingle_core.power.caps import Caps, GpuPower, caps
from ingle_core.power.reasons import NOT_ENFORCED, Reason

READS_UNTIL_NOT_ENFORCED = 2


@dataclass(frozen=True, slots=True)
class CapState:
    """For each GPU: in how many rounds in a row more was enforced than was asked of the driver."""

    misses: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CapWrite:
    """Set this GPU's limit to `limit_w`."""

    uuid: str
    limit_w: int


@dataclass(frozen=True, slots=True)
class Step:
    """`writes`: for now, all independent. `in_force`: every limit stands at its cap and was read back.

    `charged_w`: the most that the GPUs may draw now. `within`: that is no more than the allotment, if any.
    """

    writes: tuple[CapWrite, ...]
    state: CapState
    caps: Caps
    in_force: bool
    within: bool
    charged_w: int
    reasons: tuple[Reason, ...]


def step(state: CapState, gpus: Sequence[GpuPower], allotted_w: int | None) -> Step:
    """Lower at once; raise a GPU only when its raise fits beside everything still charged.

    Call it again with the readings that follow the writes, until it has no more to write. A raise waits for
    all lowers to be read back, or is given in part where a GPU never comes down.
    """
    target = caps(gpus, allotted_w)
    alive = sorted((gpu for gpu in gpus if not gpu.lost), key=lambda gpu: gpu.uuid)
    lowers = [CapWrite(g.uuid, target.limits_w[g.uuid]) for g in alive if g.limit_w > target.limits_w[g.uuid]]
    charged_w = sum(gpu.charged_w for gpu in gpus)
    misses = {g.uuid: state.misses.get(g.uuid, 0) + 1 for g in alive if g.enforced_w > g.limit_w}
    stuck = [uuid for uuid, count in misses.items() if count >= READS_UNTIL_NOT_ENFORCED]
    moving = bool(lowers) or len(stuck) < len(misses)
    room_w = None if allotted_w is None else allotted_w - charged_w
    raises = [] if moving else _raises(alive, target, room_w)
    read_back = all(g.limit_w == target.limits_w[g.uuid] and g.enforced_w <= g.limit_w for g in alive)
    notes = tuple(Reason(NOT_ENFORCED, "more is enforced than its limit", uuid) for uuid in stuck)
    return Step(
        writes=tuple(lowers or raises),
        state=CapState(misses),
        caps=target,
        in_force=read_back,
        within=allotted_w is None or charged_w <= allotted_w,
        charged_w=charged_w,
        reasons=target.reasons + notes,
    )


def _raises(alive: Sequence[GpuPower], target: Caps, room_w: int | None) -> list[CapWrite]:
    """Raises in order of UUID while `room_w` lasts (None: no bound); what is already charged costs nothing."""
    writes = []
    for gpu in alive:
        want = target.limits_w[gpu.uuid]
        if want <= gpu.limit_w:
            continue
        limit = want if room_w is None else min(want, gpu.charged_w + max(0, room_w))
        if limit > gpu.limit_w:
            writes.append(CapWrite(gpu.uuid, limit))
        if room_w is not None:
            room_w -= max(0, limit - gpu.charged_w)
    return writes
