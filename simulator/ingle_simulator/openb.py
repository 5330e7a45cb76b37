"""Reads the Alibaba GPU cluster trace of 2023 (openb): nodes, and lists of pods, plain or gzip.

CPU and GPU shares are in thousandths ("milli"). The nodes' GPU memory is not in the trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ingle_simulator.lines import Line, lines
from ingle_simulator.lines import TraceError as TraceError

NODES: Final = "openb_node_list_all_node.csv"
PODS: Final = "openb_pod_list_"
DEFAULT: Final = "default"
GPU_MILLI: Final = 1000
NODES_MOST: Final = 100_000
PODS_MOST: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class TraceNode:
    name: str
    cpu_milli: int
    gpus: int
    product: str


@dataclass(frozen=True, slots=True)
class TracePod:
    """`gpus` 0: CPU only. `gpu_milli` per GPU, 1 to 1000. No products: any."""

    name: str
    cpu_milli: int
    gpus: int
    gpu_milli: int
    products: tuple[str, ...] = ()

    @property
    def total_milli(self) -> int:
        return self.gpus * self.gpu_milli


def lists(folder: Path) -> list[str]:
    """Names of the lists of pods there are, `default` first."""
    found = {_list_name(path) for path in _list_paths(folder)}
    return sorted(found, key=lambda name: (name != DEFAULT, name))


def read_nodes(folder: Path) -> list[TraceNode]:
    """In the order of the file. TraceError names file, line and column of what is wrong."""
    path = folder / NODES
    return [
        TraceNode(line.text("sn"), line.number("cpu_milli"), line.number("gpu"), line.text("model"))
        for line in lines(path, ("sn", "cpu_milli", "gpu", "model"), NODES_MOST)
    ]


def read_pods(folder: Path, name: str = DEFAULT) -> list[TracePod]:
    """The list `name`, in the order of the file. TraceError names file, line and column of what is wrong."""
    path = next((path for path in _list_paths(folder) if _list_name(path) == name), None)
    if path is None:
        known = ", ".join(lists(folder)) or "none"
        raise TraceError(f"{folder}: no list of pods `{name}`; there are: {known}")
    columns = ("name", "cpu_milli", "num_gpu", "gpu_milli")
    return [_pod(line) for line in lines(path, columns, PODS_MOST)]


def _pod(line: Line) -> TracePod:
    gpus, gpu_milli = line.number("num_gpu"), line.number("gpu_milli")
    if gpus and not 1 <= gpu_milli <= GPU_MILLI:
        raise TraceError(f"{line.place('gpu_milli')}: must be 1 to {GPU_MILLI}, not {gpu_milli}")
    products = tuple(filter(None, line.text("gpu_spec").split("|")))
    return TracePod(line.text("name"), line.number("cpu_milli"), gpus, gpu_milli if gpus else 0, products)


def _list_paths(folder: Path) -> list[Path]:
    return [path for where in (folder, folder / "variants") for path in sorted(where.glob(f"{PODS}*.csv*"))]


def _list_name(path: Path) -> str:
    return path.name.removeprefix(PODS).removesuffix(".gz").removesuffix(".csv")
