"""Nodes with weights and compile caches on their disks, and pods of the models that have them. Pure, by seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Final

from bench.real.objects import (
    ALLOCATABLE_MIB,
    AWAKE_MIB,
    Body,
    Shape,
    engine_pod,
    plain_pod,
    pool_object,
    shapes,
)
from ingle_core.facts.gpunode import COMPILE_CACHE, WEIGHTS
from ingle_kit.names import SCHEDULER_NAME

NODES_OF_MODEL: Final = (3, 20)
FULL_CHANCE: Final = 0.3
CACHE_SHARE: Final = 0.25
HOURS_WANTED: Final = [50] * 24


@dataclass(frozen=True)
class Warmth:
    """`warm_on`: for each model the nodes that have its weights or its compile cache. `asked`: the model of each pod."""

    shapes: tuple[Shape, ...]
    warm_on: tuple[frozenset[str], ...]
    asked: tuple[int, ...]


def warmth(*, nodes: int, models: int, pods: int, seed: int) -> Warmth:
    """Each model is on 3 to 20 nodes, on a quarter of them as a compile cache only; 30 % of nodes are full. On the
    others some GPUs are taken, and of the free ones half hold something small, so that some are fuller than others."""
    luck = random.Random(seed)
    warm: dict[int, list[tuple[str, str]]] = {}
    warm_on = []
    for model in range(models):
        most = min(NODES_OF_MODEL[1], nodes)
        on = luck.sample(range(nodes), luck.randint(min(NODES_OF_MODEL[0], most), most))
        for node in on:
            cached = luck.random() < CACHE_SHARE
            item = (COMPILE_CACHE, key_of(model)) if cached else (WEIGHTS, model_of(model))
            warm.setdefault(node, []).append(item)
        warm_on.append(frozenset(one.name for one in (shapes(1, node)[0] for node in on)))
    made = tuple(
        replace(one, held_mib=_held_mib(luck, one.gpus), warm=tuple(sorted(warm.get(i, []))))
        for i, one in enumerate(shapes(nodes))
    )
    return Warmth(made, tuple(warm_on), tuple(luck.randrange(models) for _ in range(pods)))


def model_of(model: int) -> str:
    return f"org/model-{model:03d}"


def key_of(model: int) -> str:
    return f"cache-{model:03d}"


def pools(models: int) -> list[Body]:
    return [pool_object(_pool_of(model), model=model_of(model)) for model in range(models)]


def our_pod(name: str, model: int) -> Body:
    """One GPU, most of its memory: nobody else fits beside it."""
    told = {"model": model_of(model), "compileKey": key_of(model)}
    return engine_pod(name, pool=_pool_of(model), scheduler=SCHEDULER_NAME, extra=told)


def holder_pod(shape: Shape) -> Body:
    """What holds the node's taken GPUs, as the default scheduler sees it."""
    return plain_pod(f"holder-{shape.name}", whole_gpus=shape.taken, node=shape.name)


class Rooms:
    """GPUs with room for a pod, by node; every pod takes one."""

    def __init__(self, plan: Warmth) -> None:
        self._plan = plan
        self._free = {one.name: one.gpus - one.taken for one in plan.shapes}

    def warm_with_room(self, model: int) -> frozenset[str]:
        """The nodes on which a pod of this model would start warm, at this moment."""
        return frozenset(node for node in self._plan.warm_on[model] if self._free[node] > 0)

    def take(self, node: str) -> None:
        self._free[node] -= 1


def _pool_of(model: int) -> str:
    return f"m{model:03d}"


def _held_mib(luck: random.Random, gpus: int) -> tuple[int, ...]:
    if luck.random() < FULL_CHANCE:
        return (ALLOCATABLE_MIB,) * gpus
    taken = luck.randrange(gpus)
    small = (luck.choice((0, luck.randrange(ALLOCATABLE_MIB - AWAKE_MIB))) for _ in range(gpus - taken))
    return (*(ALLOCATABLE_MIB,) * taken, *small)
