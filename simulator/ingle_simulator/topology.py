"""Nodes of real machines: link matrices of `nvidia-smi topo -m`, as facts about GPUs."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ingle_core.facts import GpuFacts, GpuNodeFacts

# PCI buses between neighbours, made up so that nearer levels have nearer buses: a matrix has no addresses, and a level
# NVn says nothing of PCIe. 256 is another domain.
_BUSES_APART: Final = {"PIX": 1, "PXB": 2, "PHB": 8, "NODE": 32, "SYS": 256}
_LEVEL: Final = re.compile(r"X|NV\d+|PIX|PXB|PHB|NODE|SYS")
GPU_MIB: Final = 80_000


@dataclass(frozen=True, slots=True)
class Topology:
    """One node. `zones`: NUMA zone of each GPU; `levels[i][j]`: X, NVn, PIX, PXB, PHB, NODE or SYS."""

    name: str
    zones: tuple[int, ...]
    levels: tuple[tuple[str, ...], ...]

    def linked(self, i: int, j: int) -> bool:
        """Whether GPUs i and j reach each other by NVLink."""
        return self.levels[i][j].startswith("NV") and self.levels[j][i].startswith("NV")


def read_matrix(name: str, text: str) -> Topology:
    """Reads one matrix: tab separated, `#` begins a remark, only rows of GPUs.

    The zone is the first number of NUMA Affinity (where memory of GPUs is zones too, the one with the CPUs); where
    that column is missing, GPUs with equal CPU Affinity share one. ValueError names the row that is wrong.
    """
    lines = [line.split("\t") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise ValueError(f"{name}: no matrix in it")
    head, rows = lines[0], [row for row in lines[1:] if row[0].startswith("GPU")]
    columns = [i for i, title in enumerate(head) if re.fullmatch(r"GPU\d+", title)]
    if not rows or len(rows) != len(columns):
        raise ValueError(f"{name}: {len(rows)} rows of GPUs but {len(columns)} columns of GPUs")
    affinity = head.index("NUMA Affinity") if "NUMA Affinity" in head else head.index("CPU Affinity")
    for row in rows:
        wrong = [cell for cell in (row[i] for i in columns if i < len(row)) if not _LEVEL.fullmatch(cell)]
        if len(row) <= affinity or wrong:
            raise ValueError(f"{name}: row {row[0]}: {wrong[0] if wrong else 'a column is missing'}")
    told = [row[affinity] for row in rows]
    zones = _zones(told, numbered="NUMA Affinity" in head)
    return Topology(name, zones, tuple(tuple(row[i] for i in columns) for row in rows))


def _zones(told: list[str], numbered: bool) -> tuple[int, ...]:
    if numbered:
        return tuple(int(re.split("[,-]", text)[0]) for text in told)
    places = {text: i for i, text in enumerate(dict.fromkeys(told))}
    return tuple(places[text] for text in told)


def read_folder(folder: Path) -> list[Topology]:
    """All nodes of `nvidia-smi-topo/*.tsv` by name, compared with `gpu_numa_map.csv` beside it.

    FileNotFoundError where either is missing, ValueError where they do not agree on a zone.
    """
    found = [
        read_matrix(path.stem, path.read_text(encoding="utf-8"))
        for path in sorted((folder / "nvidia-smi-topo").glob("*.tsv"))
    ]
    if not found:
        raise FileNotFoundError(f"{folder / 'nvidia-smi-topo'}: no *.tsv")
    by_name = {topology.name: topology for topology in found}
    with (folder / "gpu_numa_map.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            node, gpu, numa = row["node"], int(row["gpu"].removeprefix("GPU")), row["numa"]
            if numa and node in by_name and by_name[node].zones[gpu] != int(re.split("[,-]", numa)[0]):
                raise ValueError(f"gpu_numa_map.csv: {node} GPU{gpu} is on {numa}, its matrix says otherwise")
    return found


def node_of(topology: Topology, free: Collection[int]) -> GpuNodeFacts:
    """The node as placement sees it, with `free` GPUs empty and all others full."""
    count = len(topology.zones)
    buses = [1]
    for i in range(1, count):
        buses.append(buses[-1] + _BUSES_APART.get(topology.levels[i - 1][i], _BUSES_APART["NODE"]))
    return GpuNodeFacts(
        tuple(
            GpuFacts(
                uuid=f"GPU-{topology.name}-{i}",
                product="GPU",
                allocatable_mib=GPU_MIB,
                headroom_mib=GPU_MIB if i in free else 0,
                numa=topology.zones[i],
                nvlink_peers=tuple(
                    f"GPU-{topology.name}-{j}" for j in range(count) if topology.levels[i][j].startswith("NV")
                ),
                pcie=f"{buses[i] >> 8:08x}:{buses[i] & 255:02x}:00.0",
            )
            for i in range(count)
        )
    )
