"""The cluster of a replay: what is idle on each node, in thousandths of a CPU and of a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingle_simulator.openb import GPU_MILLI, TraceNode, TracePod

Array = NDArray[Any]


class Choice(NamedTuple):
    """A node's number and the positions of the GPUs there; none for a pod that asks CPU only."""

    node: int
    gpus: tuple[int, ...]


class Cluster:
    """Arrays (GPUs, nodes) and (nodes,). A GPU that a node lacks is never idle."""

    def __init__(self, nodes: Sequence[TraceNode]) -> None:
        self.nodes = tuple(nodes)
        most = max((node.gpus for node in nodes), default=0)
        self.exists: Array = np.arange(max(1, most))[:, None] < np.array([node.gpus for node in nodes])
        self.idle_milli: Array = np.where(self.exists, GPU_MILLI, 0)
        self.cpu_milli: Array = np.array([node.cpu_milli for node in nodes], dtype=np.int64)
        self.product: Array = np.array([node.product for node in nodes])
        self.total_milli = int(self.idle_milli.sum())

    def suits(self, products: tuple[str, ...]) -> Array:
        """(nodes,): the node's product is allowed."""
        if not products:
            return np.ones(len(self.nodes), dtype=np.bool_)
        return np.isin(self.product, products)

    def fits(self, pod: TracePod) -> Array:
        """(nodes,): CPU, product and GPUs are enough."""
        enough: Array = self.suits(pod.products) & (self.cpu_milli >= pod.cpu_milli)
        if pod.gpus:
            enough = enough & ((self.idle_milli >= pod.gpu_milli).sum(axis=0) >= pod.gpus)
        return enough

    def take(self, pod: TracePod, choice: Choice) -> None:
        """Places the pod; ValueError where it does not fit, so no policy can cheat."""
        node, gpus = choice
        idle_milli = self.idle_milli[list(gpus), node]
        if (
            self.cpu_milli[node] < pod.cpu_milli
            or len(set(gpus)) != pod.gpus
            or (idle_milli < pod.gpu_milli).any()
        ):
            raise ValueError(f"{pod.name} does not fit on {self.nodes[node].name}, GPUs {gpus}")
        self.cpu_milli[node] -= pod.cpu_milli
        self.idle_milli[list(gpus), node] -= pod.gpu_milli
