"""PowerBudgets: their watts split over nodes, lowered first, raised only after read-back."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

from ingle_core.ledger import set_allotment
from ingle_core.power.split import Allotment, NodePower, Split, split
from ingle_kit.kube import KubeError
from ingle_kit.names import POWER_BUDGET
from ingle_kit.objects import PowerBudgetSpec
from ingle_kit.objects.reasons import Reason
from ingle_operator.parse import Budget
from ingle_operator.reconcile.nodepower import covered, node_power, selected
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
        names = selected(world, budget.spec)
        facts = [fact for fact in (node_power(world, name) for name in names) if fact is not None]
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
    for _, name in list(world.gpu_nodes.store):
        if not covered(world, name):
            world.notes.trails.pop(name, None)
            await _allot(world, name, None, None)


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
