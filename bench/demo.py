"""The demonstration's own figures: start, first tokens, picker, wakes, and the witness of watts and bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

AT_MOST = {
    "second_start_s": ("s", 60),
    "cap_reached_s": ("s", 5),
    "picker_added_ms_p50": ("ms", 3),
    "demand_to_wake_ms_p95": ("ms", 100),
    "budget_violations": ("readings", 0),
    "oversold_samples": ("readings", 0),
    "requests_failed": ("requests", 0),
}
TOLD = {
    "ttft_hot_s": "s",
    "ttft_asleep_s": "s",
    "ttft_cold_s": "s",
    "killed_wake_answer_s": "s",
    "demand_to_wake_ms_p50": "ms",
    "wakes": "wakes",
    "picker_requests": "requests",
    "budget_samples": "readings",
    "memory_samples": "readings",
    "requests": "requests",
    "requests_hot": "requests",
    "requests_woken": "requests",
    "requests_cold": "requests",
    "time_scale": "lab seconds a profile second",
}
TRACE = Path("azure-llm-2023/AzureLLMInferenceTrace_conv.csv")


def measure() -> list[dict[str, Any]]:
    """Runs `python -m ingle_lab.demo --once`, with the trace where INGLE_DATA has it."""
    trace = Path(os.environ.get("INGLE_DATA", "../shared/data")) / TRACE
    with tempfile.TemporaryDirectory(prefix="ingle-bench-") as folder:
        command = [sys.executable, "-m", "ingle_lab.demo", "--once"]
        command += ["--trace", str(trace)] if trace.exists() else []
        environment = os.environ | {"INGLE_LAB_DIR": folder}
        subprocess.run(command, env=environment, check=False, stdout=sys.stderr)
        figures = json.loads((Path(folder) / "demo.json").read_text())
    return rows(figures)


def rows(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """The figures as result rows; those with a target first."""
    found = [
        _row(name, figures[name], unit, f"<= {limit}" if limit else "0", figures[name] <= limit, figures)
        for name, (unit, limit) in AT_MOST.items()
        if name in figures
    ]
    return found + [
        _row(n, figures[n], unit, None, None, figures) for n, unit in TOLD.items() if n in figures
    ]


def _row(
    name: str, value: Any, unit: str, target: str | None, met: bool | None, figures: dict[str, Any]
) -> dict[str, Any]:
    baseline = {"picker_added_ms_p50": ("Envoy alone, ms", "envoy_alone_ms_p50")}.get(name)
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "target": target,
        "met": met,
        "baseline": baseline[0] if baseline else None,
        "baseline_value": figures[baseline[1]] if baseline else None,
    }
