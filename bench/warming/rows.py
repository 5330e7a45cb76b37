"""Rows of the result, and where the traces are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from bench.parts import Row

DATA: Final = "INGLE_DATA"


def folder(trace: str) -> Path:
    return Path(os.environ.get(DATA, "../shared/data")) / trace


def row(
    name: str,
    value: float,
    unit: str,
    *,
    most: float | None = None,
    baseline: tuple[str, float] | None = None,
) -> Row:
    """`most`: the target, met when the value as shown is not above it."""
    shown = round(value, 2)
    return {
        "name": name,
        "value": shown,
        "unit": unit,
        "target": None if most is None else f"<= {most:g}",
        "met": None if most is None else shown <= most,
        "baseline": None if baseline is None else baseline[0],
        "baseline_value": None if baseline is None else round(baseline[1], 2),
    }
