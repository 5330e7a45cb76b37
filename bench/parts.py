"""Which parts of a benchmark to run: all, or those that BENCH_PARTS names."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

Row = dict[str, Any]
Progress = Callable[[str], None]


def wanted(known: Iterable[str]) -> list[str]:
    """Of the known ones, in their order. SystemExit where BENCH_PARTS names another."""
    names = list(known)
    asked = [name for name in os.environ.get("BENCH_PARTS", "").split(",") if name] or names
    unknown = sorted(set(asked) - set(names))
    if unknown:
        raise SystemExit(f"BENCH_PARTS: there is no {', '.join(unknown)}; there are {', '.join(names)}")
    return [name for name in names if name in asked]


def rows_of(parts: Mapping[str, Callable[[Progress], list[Row]]]) -> list[Row]:
    """The rows of all parts that are wanted; each tells on standard error how far it is."""
    return [row for name in wanted(parts) for row in parts[name](tell_as(name))]


def tell_as(part: str) -> Progress:
    """Tells how far a part is, on standard error."""
    return partial(_tell, part)


def _tell(part: str, text: str) -> None:
    print(f"{part}: {text}", file=sys.stderr, flush=True)
