"""Warm pools on the stand-ins, with a real control plane; with BENCH_PARTS=a,b only these, BENCH_SMALL=1 much less.

Takes about three quarters of an hour on two quiet cores. docs/warm-real.md says what each part does and assumes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.parts import Progress, Row, rows_of
from bench.warmreal import ahead, burst, faults, traces, zipf

PARTS: Final[dict[str, Callable[[Progress], list[Row]]]] = {
    "zipf": zipf.rows,
    "ahead": ahead.rows,
    "burst": burst.rows,
    "traces": traces.rows,
    "faults": faults.rows,
}


def measure() -> list[Row]:
    """All parts, in the order of the table."""
    return rows_of(PARTS)
