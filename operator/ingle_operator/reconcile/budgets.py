"""PowerBudgets: their watts split over nodes, lowered first, raised only after read-back."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

from ingle_core.ledger import Ledger, charged_watts, set_allotment
from ingle_core.power.split import Allotment, NodePower, Split, split
from ingle_core.power.trail import Trail, follow, held_w
from ingle_kit.kube import KubeError
from ingle_kit.names import POWER_BUDGET
from ingle_kit.objects import PowerBudgetSpec
from ingle_kit.objects.reasons import Reason
from ingle_operator.parse import Budget, GpuNode, NodeRecord
from ingle_operator.status import conditions_of, current, write_status
from ingle_operator.world import World

CHECK_S = 1.0
DRAW_STEP_PERCENT = 5

log = logging.getLogger(__name__)


async def reconcile_budgets(world: World, _: str) -> float | None:
    """All budgets together: publishes what each guarantees, then writes allotments; called with every fact that changes.

    A node in several budgets gets the least that any of them gives it. Where a budget cannot be published, the nodes in
    it keep what they have.
    """
    parts: dict[str, list[Allotment]] = {}
    held: set[str] = set()
    problem: KubeError | None = None
    for budget in sorted(world.budgets.store.values(), key=lambda b: b.name):
        if budget.spec is None:
            await _tell_unreadable(world, budget)
            continue
        names = [node.name for node in _selected(world, budget.spec)]
        facts = [fact for fact in (_node_power(world, name) for name in names) if fact is not None]
        result = split(budget.spec.watts, budget.spec.host_watts, facts)
        for part in result.nodes:
            parts.setdefault(part.name, []).append(part)
        try:
            shown = current(world, budget)
            await write_status(world, POWER_BUDGET, shown, _status(world, shown, budget.spec, result, facts))
        except KubeError as error:
            held |= set(names)
            problem = error
    unreadable = any(budget.spec is None for budget in world.budgets.store.values())
    for name, allotments in parts.items():
        if name not in held:
            least = min(part.allot_w for part in allotments)
            ledger = world.ledger(name)
            if unreadable and ledger and ledger.watts_allotted is not None:
                least = min(least, ledger.watts_allotted)  # it may be the unreadable one that keeps it low
            await _allot(world, name, least, min(least, *(part.safe_w for part in allotments)))
    await _lift(world)
    if problem is not None:
        raise problem
    return CHECK_S if world.budgets.store else None


async def _tell_unreadable(world: World, budget: Budget) -> None:
    wrong = (False, Reason.INVALID_SPEC, budget.error)
    conditions = conditions_of(current(world, budget), time.time(), accepted=wrong, ready=wrong)
    try:
        await write_status(world, POWER_BUDGET, budget, budget.status | {"conditions": conditions})
    except KubeError as error:
        log.warning("the status of PowerBudget %s cannot be written: %s", budget.name, error)


async def _allot(world: World, node: str, watts: int | None, safe: int | None) -> None:
    ledger = world.ledger(node)
    if ledger is not None and set_allotment(ledger, watts, safe):
        await world.write_ledger(node, partial(set_allotment, watts=watts, safe=safe))


async def _lift(world: World) -> None:
    """Nodes that no budget covers any more are free again; none is while a budget cannot be read."""
    if any(b.spec is None for b in world.budgets.store.values()):
        return
    covered = {n.name for b in world.budgets.store.values() if b.spec for n in _selected(world, b.spec)}
    for _, name in list(world.gpu_nodes.store):
        if name not in covered:
            world.notes.trails.pop(name, None)
            await _allot(world, name, None, None)


def _selected(world: World, spec: PowerBudgetSpec) -> list[NodeRecord]:
    """Nodes with GPUs whose labels match."""
    wanted = spec.node_selector.match_labels.items()
    found = [n for n in world.nodes.store.values() if ("", n.name) in world.gpu_nodes.store]
    return sorted((n for n in found if wanted <= n.labels.items()), key=lambda n: n.name)


def _node_power(world: World, name: str) -> NodePower | None:
    gpu_node: GpuNode = world.gpu_nodes.store[("", name)]
    ledger = world.ledger(name)
    if ledger is None or not gpu_node.status.gpus:
        return None
    max_w = sum(g.watts.max or 0 for g in gpu_node.status.gpus)
    measurement = world.measurement(name)
    observed = measurement.observed_revision if measurement else gpu_node.status.observed_revision
    trail = follow(world.notes.trails.get(name, Trail()), ledger.revision, ledger.watts_allotted, observed)
    world.notes.trails[name] = trail
    claimed_w = charged_watts(ledger)
    return NodePower(
        name=name,
        floor_w=sum(g.floor_watts for g in ledger.gpus),
        claimed_w=claimed_w,
        wanted_w=claimed_w + _wanted_w(world, ledger, name),
        max_w=max_w,
        allotted_w=ledger.watts_allotted,
        enforced_w=_enforced_w(world, name),
        last_enforced_w=sum(g.watts.enforced or g.watts.max or 0 for g in gpu_node.status.gpus),
        held_w=held_w(trail, max_w),
        obeys=not any(c.type == "Stalled" and c.status == "True" for c in gpu_node.status.conditions),
    )


def _wanted_w(world: World, ledger: Ledger, name: str) -> int:
    """Watts above today's charge that engines on this node were refused: per GPU, only what its floor lacks."""
    extra_w = 0
    for uid, (node, watts) in world.notes.wanted_w.items():
        gpus = [g for g in ledger.gpus if any(c.pod_uid == uid for c in g.claims)]
        if node == name and gpus:
            each_w = -(-watts // len(gpus))
            extra_w += sum(max(g.floor_watts, g.claimed_watts + each_w) - g.charged_watts for g in gpus)
    return extra_w


def _enforced_w(world: World, name: str) -> int | None:
    measurement = world.measurement(name)
    return None if measurement is None else int(sum(-(-g.enforced_w // 1) for g in measurement.gpus))


def _status(
    world: World, budget: Budget, spec: PowerBudgetSpec, result: Split, facts: list[NodePower]
) -> dict[str, Any]:
    reason, state = Reason.WITHIN_CAP, "Normal"
    if not facts:
        reason = Reason.NO_NODES_SELECTED
    elif not result.feasible:
        reason, state = Reason.BELOW_MINIMUM_LIMITS, "BelowMinimumLimits"
    elif result.cap_w > spec.watts:
        reason, state = Reason.LOWERING, "Lowering"
    message = "; ".join(f"{r.subject}: {r.message}".removeprefix(": ") for r in result.reasons[:8])
    holds = result.cap_w <= spec.watts
    unmet = (True, Reason.RECONCILED, "") if result.feasible else (False, reason, message)
    draw_w = _draw_w(world, facts, spec.host_watts)
    old_w = budget.status.get("drawWatts")
    if draw_w is not None and old_w and abs(draw_w - old_w) * 100 < spec.watts * DRAW_STEP_PERCENT:
        draw_w = int(old_w)
    status = {
        "observedGeneration": budget.generation,
        "capWatts": result.cap_w if facts else spec.watts,
        "drawWatts": draw_w,
        "allottedWatts": sum(p.allot_w for p in result.nodes) + spec.host_watts * len(facts),
        "nodes": len(facts),
        "state": state,
        "conditions": conditions_of(
            budget,
            time.time(),
            accepted=(True, Reason.ACCEPTED, "") if result.feasible else (False, reason, message),
            ready=(holds, reason, "" if holds else message),
            reconciling=(
                not result.settled,
                Reason.PROGRESSING if not result.settled else Reason.RECONCILED,
                "",
            ),
            stalled=(not unmet[0], unmet[1], unmet[2]),
        ),
    }
    return {name: value for name, value in status.items() if value is not None}


def _draw_w(world: World, facts: list[NodePower], host_w: int) -> int | None:
    """Measured watts of all nodes together, None while one is silent."""
    measurements = [world.measurement(fact.name) for fact in facts]
    if any(m is None for m in measurements) or not facts:
        return None
    return int(sum(g.draw_w for m in measurements if m for g in m.gpus)) + host_w * len(facts)
