"""Replays arrivals through a policy and says how much of all GPUs is allocated as more and more is asked."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ingle_simulator.arrivals import arrivals
from ingle_simulator.baselines import BestFit, Fgd
from ingle_simulator.cluster import Choice, Cluster
from ingle_simulator.ingle import Ingle
from ingle_simulator.openb import TraceNode, TracePod

RATIO: Final = 1.3
FIRST_SEED: Final = 42
Progress = Callable[[int, int], None]
"""Called with pods so far and pods in all."""


class Policy(Protocol):
    """Chooses node and GPUs; told afterwards what was taken."""

    def choose(self, pod: TracePod) -> Choice | None: ...
    def took(self, choice: Choice) -> None: ...


POLICIES: Final[dict[str, Callable[[Cluster, Sequence[TracePod]], Policy]]] = {
    "ingle": Ingle,
    "fgd": Fgd,
    "best-fit": BestFit,
}


@dataclass(frozen=True, slots=True)
class Curve:
    """`allocated_percent[n]`: % of all GPUs allocated while the pods that came ask for at most n % of them."""

    policy: str
    seed: int
    allocated_percent: tuple[float, ...]
    pods: int
    refused: int
    took_s: float

    @property
    def final_percent(self) -> float:
        return self.allocated_percent[-1]


def replay(
    policy: str,
    nodes: Sequence[TraceNode],
    pods: Sequence[TracePod],
    *,
    seed: int,
    ratio: float = RATIO,
    progress: Progress = lambda done, total: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Curve:
    """One run. Nothing ends: pods only arrive. `ratio`: what they ask in all, as a share of all GPUs."""
    cluster = Cluster(nodes)
    if not cluster.total_milli:
        raise ValueError("nodes: none has a GPU")
    coming = arrivals(pods, random.Random(seed), round(ratio * cluster.total_milli))
    chooser = POLICIES[policy](cluster, pods)
    began_s, arrived, allocated, refused = clock(), 0, 0, 0
    steps: list[float] = []
    for done, pod in enumerate(coming, 1):
        choice = chooser.choose(pod)
        if choice is None:
            refused += 1
        else:
            cluster.take(pod, choice)
            chooser.took(choice)
            allocated += pod.total_milli
        arrived += pod.total_milli
        percent = 100 * allocated / cluster.total_milli
        asked_percent = -(-100 * arrived // cluster.total_milli)
        steps += [percent] * (asked_percent + 1 - len(steps))
        steps[-1] = percent
        if done % 100 == 0 or done == len(coming):
            progress(done, len(coming))
    steps += [steps[-1] if steps else 0.0] * (round(100 * ratio) + 1 - len(steps))
    return Curve(policy, seed, tuple(steps), len(coming), refused, clock() - began_s)


def mean_curve(curves: Sequence[Curve]) -> tuple[float, ...]:
    """Mean over seeds, value by value; the last is the mean of the final ones. At least one curve."""
    shortest = min(len(curve.allocated_percent) for curve in curves)
    values = [sum(curve.allocated_percent[n] for curve in curves) / len(curves) for n in range(shortest - 1)]
    return (*values, sum(curve.final_percent for curve in curves) / len(curves))
