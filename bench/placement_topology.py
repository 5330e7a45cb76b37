"""Tensor parallel groups on real node shapes: how many cross NUMA zones or leave NVLink although they need not."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, Final, NamedTuple

from ingle_core.facts import Columns
from ingle_core.placement import Ask, AskMemory, rank
from ingle_simulator.topology import GPU_MIB, Topology, node_of, read_folder

SIZES: Final = (2, 4, 8)
TRIES: Final = 300  # occupancies a node and size
SEED: Final = 20
BASELINE: Final = "the first free GPUs by index (kubelet)"
Group = tuple[int, ...]
Progress = Callable[[str], None]


class Case(NamedTuple):
    """One occupancy of one node and the size of the group that is to be placed."""

    topology: Topology
    free: Group
    size: int


def rows(
    progress: Progress, topologies: list[Topology] | None = None, tries: int = TRIES
) -> list[dict[str, Any]]:
    """Result rows; `tries` occupancies a node and size. `topologies` None: those of INGLE_DATA/gpu-topology,
    FileNotFoundError where it is missing."""
    if topologies is None:
        topologies = read_folder(Path(os.environ.get("INGLE_DATA", "../shared/data")) / "gpu-topology")
    found = []
    wrong_verdicts = verdicts = 0
    for size in SIZES:
        ours = theirs = 0
        cases = list(_cases(topologies, size, tries))
        for case in cases:
            best = _best(case)
            ours += _needless(case, place(case), best)
            theirs += _needless(case, case.free[:size], best)
            wrong_verdicts += _wrong_verdicts(case)
        progress(f"tensor parallel {size}: {len(cases)} groups, ours {ours}, first free {theirs}")
        found.append(_row(f"needless_splits_tp{size}", ours, f"of {len(cases)} groups", theirs))
        verdicts += 3 * len(cases)
    return [*found, _row("required_wrong_verdicts", wrong_verdicts, f"of {verdicts} verdicts", None)]


def place(case: Case, **levels: Any) -> Group:
    """Our choice, empty where nothing fits."""
    columns = Columns(nodes=1)
    columns.update("node", node_of(case.topology, case.free))
    ranking = rank(Ask(AskMemory(GPU_MIB), gpus=case.size, **levels), columns, now_s=0.0)
    return tuple(int(uuid.rpartition("-")[2]) for uuid in ranking.gpus)


def _cases(topologies: list[Topology], size: int, tries: int) -> Iterator[Case]:
    luck = random.Random(SEED + size)
    for topology in topologies:
        gpus = len(topology.zones)
        for _ in range(tries if gpus >= size else 0):
            free = luck.sample(range(gpus), luck.randint(size, gpus))
            yield Case(topology, tuple(sorted(free)), size)


def _linked(case: Case, group: Group) -> bool:
    return all(case.topology.linked(i, j) for i, j in combinations(group, 2))


def _one_zone(case: Case, group: Group) -> bool:
    return len({case.topology.zones[i] for i in group}) == 1


class Possible(NamedTuple):
    """What some group of the free GPUs can be, found by trying all."""

    linked: bool
    one_zone: bool
    both: bool


def _best(case: Case) -> Possible:
    kinds = [(_linked(case, g), _one_zone(case, g)) for g in combinations(case.free, case.size)]
    return Possible(any(k[0] for k in kinds), any(k[1] for k in kinds), any(all(k) for k in kinds))


def _needless(case: Case, group: Group, best: Possible) -> bool:
    """The group leaves NVLink where one inside was free, or crosses zones where one as well linked was inside."""
    linked = _linked(case, group)
    inside = best.both if linked else best.one_zone
    return (best.linked and not linked) or (inside and not _one_zone(case, group))


def _wrong_verdicts(case: Case) -> int:
    """How often Required is refused though a group exists, or granted with another."""
    best, wrong = _best(case), 0
    asked = {"nvlink": (best.linked, True, False), "numa": (best.one_zone, False, True)}
    for level, (exists, links, zone) in asked.items():
        group = place(case, **{level: "Required"})
        good = not (links and not _linked(case, group)) and not (
            zone and group and not _one_zone(case, group)
        )
        wrong += bool(group) != exists or not good
    group = place(case, nvlink="Required", numa="Required")
    kept = not group or (_linked(case, group) and _one_zone(case, group))
    return wrong + (bool(group) != best.both or not kept)


def _row(name: str, value: int, unit: str, baseline: int | None) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "target": "0",
        "met": value == 0,
        "baseline": BASELINE if baseline is not None else None,
        "baseline_value": baseline,
    }


def measure() -> list[dict[str, Any]]:
    """All nodes of the data, told on standard error."""
    return rows(lambda text: print(text, file=sys.stderr))
