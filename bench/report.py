"""Makes `docs/benchmarks.md` from `bench/results/*.json`; `--check` fails where the two differ."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Made by `python -m bench.report` from `bench/results/`; do not edit. GPUs, nodes and engines are simulated wherever a
figure comes from the lab; the control plane, Envoy and all of Ingle are real. `placement` and `warm` replay traces on a
virtual clock: all of their figures are simulated ([warm-pools.md](warm-pools.md) says what `warm` assumes).
[warm-real.md](warm-real.md) says what `warm-real` does, and what is computed in it.
"""


def text() -> str:
    """The page: a table for each result file."""
    parts = [HEAD]
    for path in sorted((ROOT / "bench" / "results").glob("*.json")):
        result = json.loads(path.read_text())
        parts.append(
            f"\n## {path.stem}\n\n`{result['command']}` on {result['machine']}, {_commits(result['rows'])}.\n"
        )
        parts.append("\n| what | value | target | met | baseline |\n|---|---|---|---|---|\n")
        parts += [_line(row) for row in result["rows"]]
    return "".join(parts)


def _commits(rows: list[dict[str, Any]]) -> str:
    """What was measured; with their rows where parts were measured at several commits."""
    count = Counter(row["commit"] for row in rows)
    if len(count) == 1:
        return f"commit {next(iter(count))}"
    return "commits " + ", ".join(f"{commit} ({rows_of_it} rows)" for commit, rows_of_it in count.items())


def _line(row: dict[str, Any]) -> str:
    met = {True: "yes", False: "**no**", None: ""}[row["met"]]
    baseline = "" if row["baseline"] is None else f"{row['baseline']}: {_number(row['baseline_value'])}"
    target = "" if row["target"] is None else str(row["target"])
    return f"| {row['name']} | {_number(row['value'])} {row['unit']} | {target} | {met} | {baseline} |\n"


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def write() -> None:
    PAGE.write_text(text())


def main() -> None:
    if "--check" not in sys.argv[1:]:
        write()
    elif not PAGE.exists() or PAGE.read_text() != text():
        sys.exit("docs/benchmarks.md differs from bench/results/: run python -m bench.report")


if __name__ == "__main__":
    main()
