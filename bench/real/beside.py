"""A slice of the openb trace: its nodes and pods as objects, and the same arrivals replayed without a cluster. Pure."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from bench.real.objects import LABEL_PRODUCT, Body, Shape, engine_pod, plain_pod, pool_object
from ingle_core.facts import Columns, GpuFacts, GpuNodeFacts
from ingle_core.placement import Context, Ranking, rank
from ingle_core.placement.fragmentation import Fragmentation
from ingle_core.placement.mix import Cpu, Mix
from ingle_kit.objects.inferencepool import MAX_REPLICAS
from ingle_kit.poolfacts import known_pools
from ingle_simulator.arrivals import arrivals
from ingle_simulator.cluster import Choice, Cluster
from ingle_simulator.ingle import Ingle, ask_of
from ingle_simulator.openb import GPU_MILLI, TraceNode, TracePod
from ingle_simulator.placement import RATIO

UNTOLD: Final[Body] = {"numa": "None", "nvlink": "None"}
"""Neither links nor zones are in the trace."""


@dataclass(frozen=True)
class Slice:
    """Every so many-th node of the trace, and what arrives: pods that ask for 130 % of the GPUs of these nodes."""

    nodes: tuple[TraceNode, ...]
    coming: tuple[TracePod, ...]

    @property
    def total_milli(self) -> int:
        return GPU_MILLI * sum(node.gpus for node in self.nodes)


def slice_of(nodes: Sequence[TraceNode], pods: Sequence[TracePod], every: int, seed: int) -> Slice:
    """In the order of the file, so that products keep their shares; arrivals as `replay` has them."""
    kept = tuple(nodes[::every])
    total_milli = GPU_MILLI * sum(node.gpus for node in kept)
    return Slice(kept, tuple(arrivals(pods, random.Random(seed), round(RATIO * total_milli))))


def shape(node: TraceNode) -> Shape:
    """1 000 MiB a GPU; the trace knows no limit on pods."""
    return Shape(
        node.name,
        gpus=node.gpus,
        product=node.product,
        allocatable_mib=GPU_MILLI,
        cpu_milli=node.cpu_milli,
        pods=1000,
        zones=0,
    )


def our_pod(name: str, pod: TracePod, cpu_scheduler: str) -> Body:
    """One that asks no GPU is not ours: it goes to `cpu_scheduler`."""
    if not pod.gpus:
        return plain_pod(name, cpu_milli=pod.cpu_milli, scheduler=cpu_scheduler)
    return engine_pod(
        name,
        gpus=pod.gpus,
        memory_mib=pod.gpu_milli,
        host_mib=0,
        watts=0,
        cpu_milli=pod.cpu_milli,
        products=pod.products,
        extra=UNTOLD,
    )


def device_pod(name: str, pod: TracePod, scheduler: str) -> Body:
    """The same without us: GPUs are whole devices, a share of one takes it all; products by the node's label."""
    body = plain_pod(name, cpu_milli=pod.cpu_milli, whole_gpus=pod.gpus, scheduler=scheduler)
    if pod.products:
        wanted = {"key": LABEL_PRODUCT, "operator": "In", "values": list(pod.products)}
        terms = {"nodeSelectorTerms": [{"matchExpressions": [wanted]}]}
        affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
        body["spec"]["affinity"] = affinity
    return body


def pools(pods: Iterable[TracePod]) -> list[Body]:
    """Pools that together may have as many replicas of each kind as the trace has pods of it.

    CPU, and pods that ask nothing else, are not in them: pools do not say it.
    """
    counts = Counter((pod.gpus, pod.gpu_milli, pod.products) for pod in pods if pod.gpus)
    found: list[Body] = []
    for (gpus, milli, products), count in counts.most_common():
        for first in range(0, count, MAX_REPLICAS):
            name = f"openb-{len(found):03d}"
            replicas = min(MAX_REPLICAS, count - first)
            found.append(
                pool_object(
                    name, model=name, replicas=replicas, gpus=gpus, memory_mib=milli, products=products
                )
            )
    return found


class Beside:
    """The extender's decisions without a cluster: `rank` with this mix; CPU decides which nodes are offered.

    `cpu_known`: and it is looked at as the simulator does, which the extender cannot.
    """

    def __init__(self, nodes: Sequence[TraceNode], mix: Mix | None, *, cpu_known: bool = False) -> None:
        self.cluster = Cluster(nodes)
        self._numbers = {node.name: i for i, node in enumerate(nodes)}
        self._names = np.array([node.name for node in nodes], dtype=object)
        self._columns = Columns(nodes=len(nodes))
        self._fragmentation = None if mix is None else Fragmentation(mix)
        self._cpu_known = cpu_known
        for number in range(len(nodes)):
            self._write(number)

    def rank(self, pod: TracePod) -> Ranking:
        """Among the nodes with CPU enough."""
        left_milli = self.cluster.cpu_milli
        cpu = Cpu(pod.cpu_milli, left_milli) if self._cpu_known else None
        offered = self._names[left_milli >= pod.cpu_milli].tolist()
        context = Context(fragmentation=self._fragmentation, cpu=cpu)
        return rank(ask_of(pod), self._columns, offered, now_s=0.0, context=context)

    def place(self, pod: TracePod, seen: str) -> Choice | None:
        """Takes room for the pod. One without GPUs is nothing of ours: it goes where it was `seen`, "" for nowhere;
        nowhere too once the two have gone so far apart that it does not fit there."""
        if not pod.gpus:
            choice = self._where_seen(pod, seen)
        else:
            ranking = self.rank(pod)
            places = tuple(int(uuid.rpartition("-")[2]) for uuid in ranking.gpus)
            choice = None if ranking.node is None else Choice(self._numbers[ranking.node], places)
        if choice is not None:
            self.cluster.take(pod, choice)
            self._write(choice.node)
        return choice

    def _where_seen(self, pod: TracePod, seen: str) -> Choice | None:
        number = self._numbers.get(seen)
        return None if number is None or not self.cluster.fits(pod)[number] else Choice(number, ())

    def _write(self, number: int) -> None:
        node = self.cluster.nodes[number]
        gpus = tuple(
            GpuFacts(uuid, node.product, GPU_MILLI, int(self.cluster.idle_milli[i, number]))
            for i, uuid in enumerate(shape(node).uuids)
        )
        self._columns.update(node.name, GpuNodeFacts(gpus, heard_at_s=math.inf))


Seen = tuple[str, tuple[str, ...]]
"""Node and GPUs' UUIDs of a pod."""
NOWHERE: Final[Seen] = ("", ())


@dataclass(frozen=True)
class Compared:
    """`same`: pods with GPUs for which both chose the same node and GPUs, or none; of `asked`."""

    allocated_percent: float
    same: int
    asked: int


def compared(part: Slice, seen: Sequence[Seen], beside: Beside) -> Compared:
    """Replays the slice and compares it with what a cluster did."""
    same = allocated = asked = 0
    for pod, (node, gpus) in zip(part.coming, seen, strict=True):
        choice = beside.place(pod, node)
        if pod.gpus:
            asked += 1
            same += (node, tuple(sorted(gpus))) == _seen(part, choice)
        allocated += pod.total_milli if choice is not None else 0
    return Compared(100 * allocated / part.total_milli, same, asked)


def _seen(part: Slice, choice: Choice | None) -> Seen:
    if choice is None:
        return NOWHERE
    node = shape(part.nodes[choice.node])
    return node.name, tuple(sorted(node.uuids[i] for i in choice.gpus))


def plain(part: Slice, pods: Sequence[TracePod]) -> list[Seen]:
    """Where the simulator puts the arrivals, pods without GPUs too; its mix is that of `pods`, CPU included."""
    cluster = Cluster(part.nodes)
    chooser, found = Ingle(cluster, pods), []
    for pod in part.coming:
        choice = chooser.choose(pod)
        if choice is not None:
            cluster.take(pod, choice)
            chooser.took(choice)
        found.append(_seen(part, choice))
    return found


def mix_of_pools(bodies: Iterable[Body]) -> Mix | None:
    """As the extender reads it from them."""
    fragmentation = known_pools(bodies).context(now_s=0.0).fragmentation
    return None if fragmentation is None else fragmentation.mix


def allocated_percent(part: Slice, seen: Iterable[Seen]) -> float:
    """Asked shares of GPUs that got their place, of all."""
    placed = (pod.total_milli for pod, (node, _) in zip(part.coming, seen, strict=True) if node)
    return 100 * sum(placed) / part.total_milli


def ask_body(pod: TracePod) -> dict[str, Any]:
    """The ask of a pod as the extender's what-if takes it."""
    return {
        "memoryMiB": {"awake": pod.gpu_milli},
        "gpus": pod.gpus,
        "products": list(pod.products),
        **UNTOLD,
    }


def named(pods: Iterable[TracePod]) -> Iterator[tuple[str, TracePod]]:
    """Each with the name of its object, in order."""
    return ((f"t{number:05d}", pod) for number, pod in enumerate(pods))
