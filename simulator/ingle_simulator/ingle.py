"""Our own `rank`, as the extender calls it, over the nodes of a trace: a GPU is 1 000 MiB, CPU narrows the offer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ingle_core.facts import Columns, GpuFacts, GpuNodeFacts
from ingle_core.placement import Ask, AskMemory, Context, rank
from ingle_core.placement.fragmentation import Fragmentation
from ingle_core.placement.mix import AskClass, Cpu, mix_of
from ingle_core.placement.view import View
from ingle_simulator.cluster import Choice, Cluster
from ingle_simulator.openb import GPU_MILLI, TracePod


class Ingle:
    """Pods that ask GPUs go through `rank`. Those that ask none are never ours in a cluster; here they go, as with FGD,
    where the fragmentation grows least, so that the figures compare."""

    def __init__(self, cluster: Cluster, pods: Sequence[TracePod]) -> None:
        self._cluster = cluster
        self._columns = Columns(nodes=len(cluster.nodes))
        self._numbers = {node.name: i for i, node in enumerate(cluster.nodes)}
        self._names = np.array([node.name for node in cluster.nodes], dtype=object)
        mix = mix_of(class_of(pod) for pod in pods)
        self._fragmentation = None if mix is None else Fragmentation(mix)
        self._now_s = 0.0
        for number in range(len(cluster.nodes)):
            self._write(number)

    def choose(self, pod: TracePod) -> Choice | None:
        self._now_s += 1.0
        if not pod.gpus:
            return self._without_gpus(pod)
        cpu = Cpu(pod.cpu_milli, self._cluster.cpu_milli)
        offered = self._names[self._cluster.cpu_milli >= pod.cpu_milli].tolist()
        context = Context(fragmentation=self._fragmentation, cpu=cpu)
        ranking = rank(ask_of(pod), self._columns, offered, now_s=self._now_s, context=context)
        if ranking.node is None:
            return None
        return Choice(
            self._numbers[ranking.node], tuple(int(uuid.rpartition("/")[2]) for uuid in ranking.gpus)
        )

    def took(self, choice: Choice) -> None:
        if choice.gpus:
            self._write(choice.node)

    def _without_gpus(self, pod: TracePod) -> Choice | None:
        cpu, idle_milli = Cpu(pod.cpu_milli, self._cluster.cpu_milli), self._cluster.idle_milli
        fits = self._cluster.fits(pod)
        if self._fragmentation is None or not fits.any():
            return None
        view = View(Ask(AskMemory(awake=1)), self._columns, (), now_s=self._now_s, silent_after_s=math.inf)
        scores = np.where(fits, self._fragmentation.node_scores(view, cpu), -1.0)
        ties = np.flatnonzero(scores == scores.max())
        return Choice(int(ties[np.argmin(idle_milli[:, ties].sum(axis=0))]), ())

    def _write(self, number: int) -> None:
        node = self._cluster.nodes[number]
        gpus = tuple(
            GpuFacts(f"{node.name}/{i}", node.product, GPU_MILLI, int(self._cluster.idle_milli[i, number]))
            for i in range(node.gpus)
        )
        self._columns.update(node.name, GpuNodeFacts(gpus, heard_at_s=math.inf))


def ask_of(pod: TracePod) -> Ask:
    """Neither links nor zones are in the trace, so none are asked."""
    memory = AskMemory(awake=pod.gpu_milli)
    return Ask(memory, gpus=pod.gpus, products=pod.products, numa="None", nvlink="None")


def class_of(pod: TracePod) -> AskClass:
    return AskClass(pod.gpu_milli, pod.gpus, pod.products, pod.cpu_milli)
