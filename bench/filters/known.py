"""Filter calls where all is known that an extender can know: a loaded ledger, demand profiles, the mix of all pools."""

from __future__ import annotations

import sys
import time
from collections import deque
from dataclasses import dataclass, replace
from functools import partial

import msgspec
import numpy as np

from ingle_core.facts import Columns, GpuFacts, GpuNodeFacts, Resident, ZoneFacts
from ingle_core.placement import Ask, AskMemory
from ingle_core.placement.pools import PoolFacts, VariantFacts
from ingle_core.placement.pools import Pools as KnownPools
from ingle_extender.ahead import Ahead
from ingle_extender.assumptions import Assumptions
from ingle_extender.decisions import Decisions
from ingle_extender.filtering import Filtering
from ingle_extender.memory import settle
from ingle_extender.nodes import Nodes
from ingle_extender.wire import FilterArgs
from ingle_kit.names import ANNOTATION_PLACEMENT

GPU_MIB = 80_000
ASLEEP_MIB = 1_600
ZONES = (3, 3, 1, 1, 7, 7, 5, 5)
HEARTBEATS_A_CALL = 5  # of 5 000 nodes each 30 s, at some 30 calls a second
RESIDENTS_MOST = 5
CALLS_BETWEEN = 6  # the extender works ahead every 0.2 s, at some 30 calls a second
ON_THEIR_WAY = 50  # choices whose claims are not seen yet


@dataclass(frozen=True)
class Taken:
    """Milliseconds of the first call and of those after it; seconds of the work done before the first."""

    ahead_s: float
    first_ms: float
    taken_ms: list[float]


@dataclass(frozen=True)
class Pools:
    """Pools of all sizes, one in five on one product, each with its own hours."""

    facts: list[PoolFacts]

    @classmethod
    def drawn(cls, count: int, luck: np.random.Generator) -> Pools:
        found = []
        for number in range(count):
            awake_mib = int(luck.integers(6, 78)) * 1000
            gpus = int(luck.choice([1, 1, 1, 2, 4]))
            variant = VariantFacts(awake_mib, ASLEEP_MIB, gpus, () if number % 5 else ("H100",))
            percent = tuple(int(value) for value in luck.integers(0, 40, 24))
            found.append(PoolFacts((variant,), int(luck.integers(1, 9)), percent))
        return cls(found)

    def name(self, number: int) -> str:
        return f"d/p{number}"

    def ask(self, number: int) -> Ask:
        one = self.facts[number].variants[0]
        memory = AskMemory(one.awake_mib, one.asleep_mib, 17_000)
        return Ask(memory, pool=self.name(number), gpus=one.gpus, watts=300, products=one.products)


def measure_known(nodes: int, pools: int, rounds: int, seed: int = 7) -> Taken:
    """Whole filter calls without HTTP, each for a pod of a pool drawn by luck; claims and heartbeats between them."""
    luck = np.random.default_rng(seed)
    cluster = Cluster(nodes, Pools.drawn(pools, luck), luck)
    print(f"what {pools} pools say of {nodes} nodes, before the first call", file=sys.stderr)
    ahead_s = cluster.work_ahead()
    settle()
    print(f"profiles and mix known: {rounds} rounds over {nodes} nodes", file=sys.stderr)
    taken = []
    for i in range(rounds + 1):
        taken.append(cluster.call(i))
        if i % CALLS_BETWEEN == 0:
            cluster.work_ahead()
    return Taken(ahead_s, taken[0], taken[1:])


class Cluster:
    """The extender's parts over a loaded ledger that changes with every call."""

    def __init__(self, nodes: int, pools: Pools, luck: np.random.Generator) -> None:
        self._pools, self._luck = pools, luck
        self._nodes, self._known = Nodes(on_claimed=lambda _: None), KnownPools()
        self._columns = self._nodes.columns = _loaded(nodes, pools, luck)
        for number, facts in enumerate(pools.facts):
            self._known.learn(pools.name(number), facts)
        self._assumptions = Assumptions(ttl_s=30, limit=10_000)
        self._filtering = Filtering(
            self._nodes, self._assumptions, Decisions(), silent_s=90, pools=self._known, clock=lambda: 0.0
        )
        assumed = partial(self._filtering.assumed, "")
        self._ahead = Ahead(self._nodes, self._known, assumed=assumed, every_s=1.0, clock=lambda: 0.0)
        self._unclaimed: deque[str] = deque()

    def work_ahead(self) -> float:
        """Seconds."""
        start = time.perf_counter()
        while self._ahead.step():
            pass
        return time.perf_counter() - start

    def call(self, i: int) -> float:
        """Milliseconds."""
        ask = self._pools.ask(int(self._luck.integers(len(self._pools.facts))))
        annotations = {ANNOTATION_PLACEMENT: msgspec.json.encode(ask).decode()}
        pod = {"metadata": {"name": f"p{i}", "uid": str(i), "annotations": annotations}}
        body = msgspec.json.encode({"Pod": pod, "Nodes": None, "NodeNames": list(self._columns.row)})
        start = time.perf_counter()
        msgspec.json.encode(self._filtering.filter(msgspec.json.decode(body, type=FilterArgs)))
        taken_ms = (time.perf_counter() - start) * 1000
        self._unclaimed.append(str(i))
        if len(self._unclaimed) > ON_THEIR_WAY:
            self._claim(self._unclaimed.popleft())
        for row in self._luck.integers(0, self._columns.rows, HEARTBEATS_A_CALL):
            name = self._columns.names[row]
            self._columns.update(name, replace(self._columns.facts[name], heard_at_s=float(i % 50)))
        return taken_ms

    def _claim(self, uid: str) -> None:
        """The ledger shows what was chosen."""
        pending = self._assumptions.get(uid, 0.0)
        if pending is None:
            return
        one = pending.assumed
        self._assumptions.drop([uid])
        facts, held = self._columns.facts[one.node], Resident(pending.pool, one.memory_mib)
        gpus = tuple(_with(gpu, held) if gpu.uuid in one.gpus else gpu for gpu in facts.gpus)
        self._columns.update(one.node, replace(facts, gpus=gpus))


def _with(gpu: GpuFacts, held: Resident) -> GpuFacts:
    return replace(
        gpu, headroom_mib=gpu.headroom_mib - held.memory_mib, residents=(*gpu.residents, held), busy=True
    )


def _loaded(nodes: int, pools: Pools, luck: np.random.Generator) -> Columns:
    """Sleepers on most GPUs, an engine awake on every second."""
    columns = Columns(nodes=nodes)
    for n in range(nodes):
        uuids = [f"GPU-{n}-{i}" for i in range(8)]
        product = "H100" if n % 10 else "A100"
        gpus = tuple(_gpu(uuid, uuids, ZONES[i], product, pools, luck) for i, uuid in enumerate(uuids))
        zones = tuple(ZoneFacts(z, int(luck.integers(0, 300)) * 1000) for z in range(8))
        columns.update(f"gpu-{n:05d}", GpuNodeFacts(gpus, zones, allotted_w=4500))
    return columns


def _gpu(
    uuid: str, uuids: list[str], zone: int, product: str, pools: Pools, luck: np.random.Generator
) -> GpuFacts:
    here = luck.integers(0, len(pools.facts), int(luck.integers(0, RESIDENTS_MOST)))
    residents = [Resident(pools.name(int(one)), ASLEEP_MIB, asleep=True) for one in here]
    awake_mib = pools.facts[int(here[0])].variants[0].awake_mib if len(here) else 0
    if awake_mib and luck.random() < 0.5 and awake_mib + ASLEEP_MIB * (len(here) - 1) <= GPU_MIB:
        residents[0] = Resident(pools.name(int(here[0])), awake_mib)
    used_mib = sum(one.memory_mib for one in residents)
    return GpuFacts(
        uuid=uuid,
        product=product,
        allocatable_mib=GPU_MIB,
        headroom_mib=GPU_MIB - used_mib,
        busy=bool(luck.random() < 0.1),
        numa=zone,
        floor_w=100,
        claimed_w=300 if used_mib else 0,
        nvlink_peers=tuple(other for other in uuids if other != uuid),
        residents=tuple(residents),
    )
