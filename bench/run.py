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
from typing import Any

from bench import report

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


def write(name: str, rows: list[dict[str, Any]]) -> Path:
    """Writes the result file in the form that docs/benchmarks.md is made from."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    body = {"command": f"make bench NAME={name}", "machine": machine(), "commit": commit(), "rows": rows}
    path.write_text(json.dumps(body, indent=1) + "\n")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=names())
    name = parser.parse_args().name
    rows = importlib.import_module(f"bench.{name.replace('-', '_')}").measure()
    print(write(name, rows), file=sys.stderr)
    report.write()


if __name__ == "__main__":
    main()
