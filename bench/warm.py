"""Keep-alive strategies over public traces and made workloads, simulated; with BENCH_PARTS=a,b only these."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

from bench.warming import functions, made, models
from bench.warming.rows import Progress, Row

PARTS: Final[dict[str, Callable[[Progress], list[Row]]]] = {
    "models": models.rows,
    "functions": functions.rows,
    "made": made.rows,
}


def measure() -> list[Row]:
    """All parts, in the order of the table."""
    wanted = [name for name in os.environ.get("BENCH_PARTS", "").split(",") if name] or list(PARTS)
    unknown = sorted(set(wanted) - set(PARTS))
    if unknown:
        raise SystemExit(f"BENCH_PARTS: there is no {', '.join(unknown)}; there are {', '.join(PARTS)}")
    found: list[Row] = []
    for name in wanted:
        found += PARTS[name](partial(_tell, name))
    return found


def _tell(part: str, text: str) -> None:
    print(f"{part}: {text}", file=sys.stderr, flush=True)
