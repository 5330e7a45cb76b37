"""How long one filter decision takes: 5 000 nodes × 8 GPUs, half full; also where demand and the mix are known."""

from __future__ import annotations

import sys
import time
from typing import Any

import msgspec
import numpy as np

from bench.filters.known import measure_known
from ingle_core.facts import Columns, GpuFacts, GpuNodeFacts, ZoneFacts
from ingle_core.placement import Ask, AskMemory, Assumed, rank
from ingle_extender.assumptions import Assumptions
from ingle_extender.decisions import Decisions
from ingle_extender.filtering import Filtering
from ingle_extender.memory import keep_freed
from ingle_extender.nodes import Nodes
from ingle_extender.wire import FilterArgs
from ingle_kit.names import ANNOTATION_PLACEMENT

TARGET_MS = 5.0
POOLS = 200
ZONES = (3, 3, 1, 1, 7, 7, 5, 5)


def build(nodes: int, seed: int) -> Columns:
    """A cluster whose GPUs are filled at random; every tenth node is one product's."""
    luck = np.random.default_rng(seed)
    columns = Columns(nodes=nodes)
    for n in range(nodes):
        columns.update(f"gpu-{n:05d}", _node(n, luck))
    return columns


def _node(n: int, luck: np.random.Generator) -> GpuNodeFacts:
    uuids = [f"GPU-{n}-{i}" for i in range(8)]
    gpus = []
    for i, uuid in enumerate(uuids):
        headroom_mib = int(luck.integers(0, 80)) * 1000
        gpus.append(
            GpuFacts(
                uuid=uuid,
                product="H100" if n % 10 else "A100",
                allocatable_mib=80000,
                headroom_mib=headroom_mib,
                busy=bool(luck.random() < 0.1),
                numa=ZONES[i],
                floor_w=100,
                claimed_w=0 if headroom_mib > 70000 else 500,
                nvlink_peers=tuple(u for u in uuids if u != uuid),
            )
        )
    zones = tuple(ZoneFacts(z, int(luck.integers(0, 300)) * 1000) for z in range(8))
    return GpuNodeFacts(tuple(gpus), zones, allotted_w=4500, heard_at_s=0.0)


def measure_rank(columns: Columns, ask: Ask, assumed: list[Assumed], rounds: int) -> list[float]:
    """Milliseconds of rank plus the reply's reasons, per round."""
    names = list(columns.row)
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        ranking = rank(ask, columns, names, assumed, now_s=0.0)
        ranking.refused()
        taken.append((time.perf_counter() - start) * 1000)
    return taken


def measure_calls(columns: Columns, ask: Ask, rounds: int) -> list[float]:
    """Milliseconds of a whole filter call without HTTP: JSON in, choice, JSON out; each round is another pod."""
    nodes = Nodes(on_claimed=lambda _: None)
    nodes.columns = columns
    assumptions = Assumptions(ttl_s=30, limit=10_000)
    filtering = Filtering(nodes, assumptions, Decisions(), silent_s=90, clock=lambda: 0.0)
    annotations = {ANNOTATION_PLACEMENT: msgspec.json.encode(ask).decode()}
    decode, encode = msgspec.json.Decoder(FilterArgs).decode, msgspec.json.Encoder().encode
    taken = []
    for i in range(rounds):
        pod = {"metadata": {"name": f"p{i}", "uid": str(i), "annotations": annotations}}
        body = encode({"Pod": pod, "Nodes": None, "NodeNames": list(columns.row)})
        start = time.perf_counter()
        encode(filtering.filter(decode(body)))
        taken.append((time.perf_counter() - start) * 1000)
        assumptions.drop([str(i - 50)])
    return taken


def rows(nodes: int, rounds: int) -> list[dict[str, Any]]:
    """Result rows, one per shape of pod."""
    columns = build(nodes, seed=7)
    assumed = [Assumed(str(i), f"gpu-{i:05d}", (f"GPU-{i}-0",), 20000, 500) for i in range(min(50, nodes))]
    one = Ask(AskMemory(42000, 1600, 17000), watts=500, numa="Preferred")
    asks = {
        "one_gpu": one,
        "one_gpu_product": Ask(AskMemory(42000, 1600, 17000), watts=500, products=("A100",), numa="Required"),
        "four_gpus": Ask(AskMemory(30000, 1600, 60000), gpus=4, watts=300),
        "two_gpus_strict": Ask(AskMemory(30000), gpus=2, watts=300, numa="Required", nvlink="Required"),
        "no_fit": Ask(AskMemory(90000)),
    }
    found = []
    for name, ask in asks.items():
        print(f"{name}: {rounds} rounds over {nodes} nodes", file=sys.stderr)
        found += _rows(f"rank_{name}", measure_rank(columns, ask, assumed, rounds))
    print(f"whole call: {rounds} rounds over {nodes} nodes", file=sys.stderr)
    found += _rows("filter_call", measure_calls(columns, one, rounds))
    known = measure_known(nodes, POOLS, rounds)
    found += _rows("filter_call_profiles_and_mix", known.taken_ms)
    found.append(_row("filter_first_call_profiles_and_mix_ms", known.first_ms))
    return [
        *found,
        {**_row("ahead_of_first_call_s", known.ahead_s), "unit": "s", "target": None, "met": None},
    ]


def _rows(name: str, taken: list[float]) -> list[dict[str, Any]]:
    ordered = sorted(taken)
    marks = {"p50": ordered[len(ordered) // 2], "p99": ordered[int(len(ordered) * 0.99)]}
    return [_row(f"{name}_ms_{mark}", value) for mark, value in marks.items()]


def _row(name: str, value: float) -> dict[str, Any]:
    rest = {"unit": "ms", "target": TARGET_MS, "baseline": None, "baseline_value": None}
    return {"name": name, "value": round(value, 3), "met": value <= TARGET_MS, **rest}


def measure() -> list[dict[str, Any]]:
    """5 000 nodes, 300 rounds a shape of pod; memory is kept as the extender's process keeps it."""
    keep_freed()
    return rows(5000, 300)
