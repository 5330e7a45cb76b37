"""What replays without a control plane: packing, topology, wake conflicts; with BENCH_PARTS=a,b only these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench import placement_conflicts, placement_packing, placement_topology
from bench.parts import Progress, Row, rows_of

PARTS: Final[dict[str, Callable[[Progress], list[Row]]]] = {
    "packing": placement_packing.rows,
    "topology": placement_topology.rows,
    "conflicts": placement_conflicts.rows,
}


def measure() -> list[Row]:
    """All parts, in the order of the table."""
    return rows_of(PARTS)
