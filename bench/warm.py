"""Keep-alive strategies over public traces and made workloads, simulated; with BENCH_PARTS=a,b only these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.parts import Progress, Row, rows_of
from bench.warming import ahead, functions, made, models

PARTS: Final[dict[str, Callable[[Progress], list[Row]]]] = {
    "models": models.rows,
    "functions": functions.rows,
    "made": made.rows,
    "ahead": ahead.rows,
}


def measure() -> list[Row]:
    """All parts, in the order of the table."""
    return rows_of(PARTS)
