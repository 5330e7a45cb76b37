"""Times of one engine's way to readiness, handed to the meter where they are known."""

from __future__ import annotations

import time

from ingle_core.placement import ask_from_annotation
from ingle_core.warmpool.facts import State
from ingle_core.warmpool.lifecycle import EngineFacts
from ingle_operator.meter import Path
from ingle_operator.parse import EnginePod
from ingle_operator.world import World


def follow(world: World, pod: EnginePod, facts: EngineFacts, goal: State | None) -> None:
    """Notes that an engine is on its way to be awake, or no longer."""
    start: tuple[Path, float] = ("cold", pod.created_at_s)
    if facts.state is State.STARTING and _weights_on_node(world, pod):
        start = ("warm", pod.created_at_s)
    wake: Path = "warm" if facts.spare else "hot"
    world.notes.meter.follow(pod.uid, pod.pool, facts.state, goal is State.AWAKE, start, time.time(), wake)


def _weights_on_node(world: World, pod: EnginePod) -> bool:
    """Whether its node's agent told of the model's weights on disk."""
    node = world.gpu_nodes.store.get(("", pod.node))
    try:
        weights = ask_from_annotation(pod.placement).stored
    except ValueError:
        return False
    return (
        bool(weights)
        and node is not None
        and any(one.model == weights and not one.partial for one in node.status.warm)
    )
