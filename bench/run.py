"""`python -m bench.run NAME`: runs one benchmark, writes `bench/results/NAME.json` and `docs/benchmarks.md`.

A benchmark is a module of this folder with `measure() -> list of rows`; a row is `{"name", "value", "unit", "target",
"met", "baseline", "baseline_value"}`. Progress goes to standard error.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from bench import report
from bench.parts import Row

RESULTS = Path(__file__).parent / "results"
NOT_BENCHMARKS = {
    "parts",
    "__init__",
    "run",
    "report",
    "placement_packing",
    "placement_topology",
    "placement_conflicts",
}


def names() -> list[str]:
    """The benchmarks there are."""
    found = {p.stem for p in Path(__file__).parent.glob("*.py")} - NOT_BENCHMARKS
    return sorted(stem.replace("_", "-") for stem in found)


def machine() -> str:
    """Processor and cores, for the reader of a figure."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def commit() -> str:
    """The commit that was measured, with a mark where files differ from it."""
    out = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return out.stdout.strip() or "unknown"


def merged(before: list[Row], rows: list[Row]) -> list[Row]:
    """Rows of a run of some parts, among those of the other parts: in their old places, new ones after the one they follow."""
    measured = {row["name"]: row for row in rows}
    names = [row["name"] for row in before]
    for place, name in enumerate(measured):
        if name not in names:
            follows = list(measured)[place - 1] if place else None
            names.insert(names.index(follows) + 1 if follows else len(names), name)
    old = {row["name"]: row for row in before}
    return [measured.get(name) or old[name] for name in names]


def write(name: str, rows: list[Row], *, some_parts: bool) -> Path:
    """Writes the result file in the form that docs/benchmarks.md is made from. `some_parts`: other rows stay."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    rows = [row | {"commit": commit()} for row in rows]
    if some_parts and path.exists():
        rows = merged(json.loads(path.read_text())["rows"], rows)
    body = {"command": f"make bench NAME={name}", "machine": machine(), "rows": rows}
    path.write_text(json.dumps(body, indent=1) + "\n")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=names())
    name = parser.parse_args().name
    rows = importlib.import_module(f"bench.{name.replace('-', '_')}").measure()
    print(write(name, rows, some_parts="BENCH_PARTS" in os.environ), file=sys.stderr)
    report.write()


if __name__ == "__main__":
    main()
