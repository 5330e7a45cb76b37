"""One budget over its nodes: lower, wait for read-back, only then raise.

Level-triggered: call it whenever a fact changes and write what differs. The sum of what nodes may draw stays
within the budget at every instant; after a cut it only falls until it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ingle_core.power.fill import fill, fill_levels
from ingle_core.power.reasons import BELOW_CLAIMS, BELOW_MINIMUM_LIMITS, LOWERING, RAISING, SILENT, Reason


@dataclass(frozen=True, slots=True)
class NodePower:
    """One node, in whole watts without its host's share.

    `floor_w`: Σ minimum limits of its GPUs (a lost GPU counts its maximum). `claimed_w`: what its claims need,
    at least the floor. `wanted_w`: claims and what waits to start there. `max_w`: Σ maximum limits.
    `allotted_w`: in its ledger now, None if none. `enforced_w`: Σ enforced limits as last read, None while the
    node is silent; it is then charged `last_enforced_w` (None: its maximum) and never raised. `held_w`: the
    largest older allotment it may still act on (`trail.held_w`). `obeys`: False where its limits cannot be
    set; it is then planned for like a silent one.
    """

    name: str
    floor_w: int
    claimed_w: int
    wanted_w: int
    max_w: int
    allotted_w: int | None
    enforced_w: int | None
    last_enforced_w: int | None = None
    held_w: int = 0
    obeys: bool = True

    @property
    def charged_w(self) -> int:
        """The most that the GPUs of this node may draw now: max(allotted, older allotments, enforced)."""
        enforced = self.last_enforced_w if self.enforced_w is None else self.enforced_w
        allotted = self.max_w if self.allotted_w is None else self.allotted_w
        return max(allotted, self.held_w, self.max_w if enforced is None else enforced)

    @property
    def movable(self) -> bool:
        """Whether a lower allotment can be expected to become a lower draw."""
        return self.obeys and self.enforced_w is not None


@dataclass(frozen=True, slots=True)
class Allotment:
    """`allot_w`, `safe_w`: for the ledger, now. `target_w`: where `allot_w` goes. `charged_w`: see NodePower."""

    name: str
    allot_w: int
    safe_w: int
    target_w: int
    charged_w: int


@dataclass(frozen=True, slots=True)
class Split:
    """`cap_w`: what is guaranteed from now on, hosts included; publish it before writing the allotments.

    It is the budget, or while a cut is on its way, or cannot be met, the higher sum still charged. `feasible`:
    the minimum limits and the hosts fit. `settled`: every node has its target and all of it was read back.
    """

    nodes: tuple[Allotment, ...]
    cap_w: int
    feasible: bool
    settled: bool
    reasons: tuple[Reason, ...]


def split(budget_w: int, host_w: int, nodes: Sequence[NodePower], safe_budget_w: int | None = None) -> Split:
    """Share `budget_w` (`host_w` of it for each node's host) by floors, claims, wants, then evenly.

    `safe_budget_w`: the least budget of the coming windows, for `safe_w`; None means `budget_w`.
    Raises ValueError where two nodes share a name or a watt figure is negative.
    """
    ordered = sorted((_bounded(node) for node in nodes), key=lambda node: node.name)
    if len({node.name for node in ordered}) < len(ordered):
        raise ValueError("power.split: two nodes have the same name")
    gpus_w = budget_w - host_w * len(ordered)
    targets = _targets(gpus_w, ordered)
    safe = _share(gpus_w if safe_budget_w is None else safe_budget_w - host_w * len(ordered), ordered)
    allots = _next(gpus_w, ordered, targets)
    parts = tuple(
        Allotment(node.name, allot, min(allot, low), target, node.charged_w)
        for node, allot, low, target in zip(ordered, allots, safe, targets, strict=True)
    )
    charged_w = sum(max(part.charged_w, part.allot_w) for part in parts)
    short_w = sum(node.floor_w for node in ordered) - gpus_w
    settled = all(p.allot_w == p.target_w == p.charged_w for p in parts)
    return Split(
        nodes=parts,
        cap_w=max(budget_w, charged_w + host_w * len(ordered)),
        feasible=short_w <= 0,
        settled=settled,
        reasons=tuple(_reasons(budget_w, short_w, ordered, parts)),
    )


def _bounded(node: NodePower) -> NodePower:
    """Claims and wants within [floor, maximum], each level at least the one below."""
    if min(node.floor_w, node.claimed_w, node.wanted_w, node.max_w, node.held_w) < 0:
        raise ValueError(f"power.split: negative watts for node {node.name}")
    top = max(node.max_w, node.floor_w)
    claimed = min(top, max(node.floor_w, node.claimed_w))
    return replace(node, max_w=top, claimed_w=claimed, wanted_w=min(top, max(claimed, node.wanted_w)))


def _share(gpus_w: int, nodes: Sequence[NodePower]) -> list[int]:
    """Floors, claims, wants; then what each has already, so that a claim that fits moves nobody; then evenly."""
    has = [max(n.wanted_w, min(n.max_w, n.allotted_w or 0)) for n in nodes]
    levels = ([n.claimed_w for n in nodes], [n.wanted_w for n in nodes], has, [n.max_w for n in nodes])
    return fill_levels(gpus_w, [n.floor_w for n in nodes], levels)


def _targets(gpus_w: int, nodes: Sequence[NodePower]) -> list[int]:
    """Shares of all, but what a node that does not move holds too much is taken from those that do."""
    fair = _share(gpus_w, nodes)
    stuck_w = sum(node.charged_w for node in nodes if not node.movable)
    movers = [node for node in nodes if node.movable]
    moved = dict(zip((n.name for n in movers), _share(gpus_w - stuck_w, movers), strict=True))
    return [moved.get(node.name, part) for node, part in zip(nodes, fair, strict=True)]


def _next(gpus_w: int, nodes: Sequence[NodePower], targets: Sequence[int]) -> list[int]:
    """Lower at once; raise only by what is free after everything still charged, and nobody who is silent."""
    room_w = gpus_w - sum(node.charged_w for node in nodes)
    wants = [
        target - node.charged_w if node.movable else 0 for node, target in zip(nodes, targets, strict=True)
    ]
    grants = fill(room_w, wants)
    allots = []
    for node, target, grant in zip(nodes, targets, grants, strict=True):
        ceiling = (
            node.charged_w + grant
            if node.movable
            else (target if node.allotted_w is None else node.allotted_w)
        )
        allots.append(max(0, min(target, ceiling)))
    return allots


def _reasons(
    budget_w: int, short_w: int, nodes: Sequence[NodePower], parts: Sequence[Allotment]
) -> list[Reason]:
    reasons = []
    if short_w > 0:
        text = f"minimum limits of the GPUs and the hosts need {budget_w + short_w} W, the budget is {budget_w} W"
        reasons.append(Reason(BELOW_MINIMUM_LIMITS, text))
    for node, part in zip(nodes, parts, strict=True):
        if not node.movable:
            text = f"charged {part.charged_w} W: " + (
                "no reading" if node.obeys else "its limits cannot be set"
            )
            reasons.append(Reason(SILENT, text, node.name))
        elif part.charged_w > part.allot_w:
            reasons.append(Reason(LOWERING, f"from {part.charged_w} W to {part.allot_w} W", node.name))
        elif part.allot_w < part.target_w:
            reasons.append(
                Reason(RAISING, f"{part.allot_w} W now, {part.target_w} W when room is read back", node.name)
            )
        if node.claimed_w > part.target_w:
            text = f"claims need {node.claimed_w} W, {part.target_w} W can be allotted"
            reasons.append(Reason(BELOW_CLAIMS, text, node.name))
    return reasons
