"""What one node is charged in watts: by its ledger and its agent, or by its agent alone while it has no ledger."""

from __future__ import annotations

from dataclasses import replace

from ingle_core.ledger import Ledger, charged_watts
from ingle_core.power.split import NodePower
from ingle_core.power.trail import Trail, follow, held_w
from ingle_kit.objects import PowerBudgetSpec
from ingle_operator.parse import GpuNode
from ingle_operator.world import World

FIRST_REVISION = 1


def selected(world: World, spec: PowerBudgetSpec) -> list[str]:
    """Nodes with GPUs whose labels match: those with a GPUNode, and those whose agent speaks."""
    wanted = spec.node_selector.match_labels.items()
    found = [n for n in world.nodes.store.values() if wanted <= n.labels.items()]
    return sorted(n.name for n in found if ("", n.name) in world.gpu_nodes.store or world.measurement(n.name))


def covered(world: World, name: str) -> bool:
    """Whether a budget selects the node."""
    specs = [budget.spec for budget in world.budgets.store.values() if budget.spec is not None]
    return any(name in selected(world, spec) for spec in specs)


def enforced_watts(world: World, name: str) -> int | None:
    """Sum of the limits in force, rounded up for each GPU; None while the agent is silent."""
    measurement = world.measurement(name)
    return None if measurement is None else int(sum(-(-g.enforced_w // 1) for g in measurement.gpus))


def node_power(world: World, name: str) -> NodePower | None:
    """The node's watts for a split; None where nothing is known of it yet."""
    gpu_node: GpuNode | None = world.gpu_nodes.store.get(("", name))
    ledger = world.ledger(name)
    if gpu_node is None or ledger is None or not gpu_node.status.gpus:
        return _without_ledger(world, name, ledger)
    max_w = sum(g.watts.max or 0 for g in gpu_node.status.gpus)
    measurement = world.measurement(name)
    observed = measurement.observed_revision if measurement else gpu_node.status.observed_revision
    trail = follow(_trail(world, gpu_node, ledger), ledger.revision, ledger.watts_allotted, observed)
    world.notes.trails[name] = (gpu_node.raw["metadata"]["uid"], trail)
    claimed_w = charged_watts(ledger)
    return NodePower(
        name=name,
        floor_w=sum(g.floor_watts for g in ledger.gpus),
        claimed_w=claimed_w,
        wanted_w=claimed_w + _wanted_w(world, ledger, name),
        max_w=max_w,
        allotted_w=ledger.watts_allotted,
        enforced_w=enforced_watts(world, name),
        last_enforced_w=sum(g.watts.enforced or g.watts.max or 0 for g in gpu_node.status.gpus),
        held_w=held_w(trail, max_w),
        obeys=not any(c.type == "Stalled" and c.status == "True" for c in gpu_node.status.conditions),
    )


def _trail(world: World, gpu_node: GpuNode, ledger: Ledger) -> Trail:
    """The allotments of this GPUNode; a new one begins with what it was created with, the limits in force."""
    uid, trail = world.notes.trails.get(gpu_node.name, ("", Trail()))
    if uid == gpu_node.raw["metadata"]["uid"]:
        return trail
    started = ledger.revision == FIRST_REVISION and ledger.watts_allotted is not None
    return Trail(((ledger.revision, ledger.watts_allotted),)) if started else Trail()


def _without_ledger(world: World, name: str, ledger: Ledger | None) -> NodePower | None:
    """An agent without a filled GPUNode changes no limits: the node is charged those in force."""
    measurement = world.measurement(name)
    enforced_w = enforced_watts(world, name)
    if measurement is None or enforced_w is None or not measurement.gpus:
        return None
    floor_w = int(sum(g.min_w for g in measurement.gpus))
    max_w = int(sum(g.max_w for g in measurement.gpus))
    power = NodePower(name, floor_w, floor_w, floor_w, max_w, enforced_w, enforced_w, enforced_w, enforced_w)
    known_w = ledger.watts_allotted if ledger is not None else None
    return power if known_w is None else replace(power, held_w=max(enforced_w, known_w))


def _wanted_w(world: World, ledger: Ledger, name: str) -> int:
    """Watts above today's charge that engines on this node were refused: per GPU, only what its floor lacks."""
    extra_w = 0
    for uid, (node, watts) in world.notes.wanted_w.items():
        gpus = [g for g in ledger.gpus if any(c.pod_uid == uid for c in g.claims)]
        if node == name and gpus:
            each_w = -(-watts // len(gpus))
            extra_w += sum(max(g.floor_watts, g.claimed_watts + each_w) - g.charged_watts for g in gpus)
    return extra_w
