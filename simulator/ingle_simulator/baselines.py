"""What others do: FGD and best fit, as their authors describe them, straight over arrays. For comparison only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from ingle_simulator.cluster import Array, Choice, Cluster
from ingle_simulator.openb import GPU_MILLI, TracePod

CPU_MOST_MILLI: Final = 128_000
GPU_MOST_MILLI: Final = 8_000
POPULAR: Final = 0.95
Shape = tuple[int, int, int, tuple[str, ...]]


def shape_of(pod: TracePod) -> Shape:
    return pod.cpu_milli, pod.gpus, pod.gpu_milli, pod.products


class BestFit:
    """The node with least left of CPU and GPU together (score in whole hundredths), then the first; fullest GPUs."""

    def __init__(self, cluster: Cluster, pods: Sequence[TracePod]) -> None:
        del pods
        self._cluster = cluster

    def choose(self, pod: TracePod) -> Choice | None:
        cluster = self._cluster
        fits = np.flatnonzero(cluster.fits(pod))
        if not len(fits):
            return None
        cpu = (cluster.cpu_milli[fits] - pod.cpu_milli) / CPU_MOST_MILLI
        gpu = (cluster.idle_milli[:, fits].sum(axis=0) - pod.total_milli) / GPU_MOST_MILLI
        node = int(fits[np.argmax(np.floor(100 * (1 - (cpu + gpu) / 2)))])
        return Choice(node, fullest(cluster, node, pod))

    def took(self, choice: Choice) -> None:
        """Looks at the cluster anew each time."""


class Fgd:
    """The node whose fragmentation grows least (Weng et al., ATC 2023; 101 levels), then with least idle, then first."""

    def __init__(self, cluster: Cluster, pods: Sequence[TracePod]) -> None:
        self._cluster = cluster
        typical = [
            (shape, share) for shape, share in _typical(pods) if shape[1]
        ]  # for the others all is fragment
        self._shares: Array = np.array([share for _, share in typical])
        self._cpu_milli: Array = np.array([[shape[0]] for shape, _ in typical])
        self._gpus: Array = np.array([[shape[1]] for shape, _ in typical])
        self._gpu_milli: Array = np.array([[[shape[2]]] for shape, _ in typical])
        self._suits: Array = np.array([cluster.suits(shape[3]) for shape, _ in typical])
        self._changes: list[int] = []
        self._known: dict[Shape, tuple[int, Array, Array]] = {}

    def choose(self, pod: TracePod) -> Choice | None:
        cluster = self._cluster
        scores, places = self._scored(pod)
        best = scores.max(initial=-1.0)
        if best < 0:
            return None
        ties = np.flatnonzero(scores == best)
        node = int(ties[np.argmin(cluster.idle_milli[:, ties].sum(axis=0))])
        if pod.gpus == 1:
            return Choice(node, (int(places[node]),))
        return Choice(
            node, tuple(np.flatnonzero(cluster.idle_milli[:, node] >= pod.gpu_milli)[: pod.gpus].tolist())
        )

    def took(self, choice: Choice) -> None:
        self._changes.append(choice.node)

    def _scored(self, pod: TracePod) -> tuple[Array, Array]:
        """(nodes,): score, −1 where the pod does not fit; GPU. Only what changed since this shape came last is new."""
        everything = range(len(self._cluster.nodes))
        none = np.full(len(everything), -1.0), np.zeros(len(everything), dtype=np.int64)
        seen, scores, places = self._known.get(shape_of(pod), (-1, *none))
        changed = np.array(sorted(set(everything if seen < 0 else self._changes[seen:])), dtype=np.int64)
        if len(changed):
            self._score(pod, changed, scores, places)
        self._known[shape_of(pod)] = len(self._changes), scores, places
        return scores, places

    def _score(self, pod: TracePod, nodes: Array, scores: Array, places: Array) -> None:
        cluster = self._cluster
        idle, cpu = cluster.idle_milli[:, nodes], cluster.cpu_milli[nodes] - pod.cpu_milli
        before = self._measure(idle, cluster.cpu_milli[nodes], nodes)
        fits = cluster.fits(pod)[nodes]
        scores[nodes] = -1.0
        for gpu in range(len(idle) if pod.gpus == 1 else 1):
            taken = idle >= pod.gpu_milli
            taken &= (
                np.cumsum(taken, axis=0) <= pod.gpus
                if pod.gpus != 1
                else np.arange(len(idle))[:, None] == gpu
            )
            after = self._measure(idle - taken * pod.gpu_milli, cpu, nodes)
            score = np.floor(100 / (1 + np.exp((after - before) / GPU_MILLI)) + 1e-6)
            better = fits & (taken.sum(axis=0) == pod.gpus) & (score > scores[nodes])
            scores[nodes[better]], places[nodes[better]] = score[better], gpu

    def _measure(self, idle: Array, cpu: Array, nodes: Array) -> Array:
        enough = idle >= self._gpu_milli  # (classes, GPUs, nodes)
        usable = (enough.sum(axis=1) >= self._gpus) & (cpu >= self._cpu_milli) & self._suits[:, nodes]
        fragments: Array = idle.sum(axis=0) - self._shares @ (usable * (enough * idle).sum(axis=1))
        return fragments


def fullest(cluster: Cluster, node: int, pod: TracePod) -> tuple[int, ...]:
    """The GPUs of the node with least idle that are enough."""
    idle = cluster.idle_milli[:, node]
    order = np.argsort(idle, kind="stable")
    return tuple(sorted(order[idle[order] >= pod.gpu_milli][: pod.gpus].tolist())) if pod.gpus else ()


def _typical(pods: Sequence[TracePod]) -> list[tuple[Shape, float]]:
    counts, taken, had = Counter(map(shape_of, pods)), [], 0
    for shape, count in counts.most_common():
        if had >= POPULAR * counts.total():
            break
        taken.append((shape, count))
        had += count
    return [(shape, count / had) for shape, count in taken]
