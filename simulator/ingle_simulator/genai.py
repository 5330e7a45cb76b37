"""Reads the Alibaba GenAI trace of 2026: requests to base models of image generation, and how long such models load.

Load times come from another period and name no model, so each model gets one of them (`load_times`).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from ingle_simulator.lines import Line, TraceError, lines
from ingle_simulator.warmslots import Request

REQUESTS: Final = "lora_request_trace.csv.gz"
LOADS: Final = "basemodel_update_latency_anon.csv.gz"
LINES_MOST: Final = 1_000_000
MS_PER_S: Final = 1000.0


def read_requests(folder: Path) -> list[Request]:
    """All requests, also failed ones, in order of time; the first comes at 0 s. No model named is one of its own."""
    columns = ("gmt_create", "exec_time_seconds", "checkpoint_model_version_id")
    found = [
        Request(_at_s(line), line.text("checkpoint_model_version_id"), line.real("exec_time_seconds"))
        for line in lines(folder / REQUESTS, columns, LINES_MOST)
    ]
    if not found:
        raise TraceError(f"{folder / REQUESTS}: no request")
    found.sort(key=lambda request: request.at_s)
    first_s = found[0].at_s
    return [Request(request.at_s - first_s, request.model, request.exec_s) for request in found]


def read_loads_s(folder: Path) -> list[float]:
    """Measured load times of base models, in order of length."""
    found = sorted(line.real("value") / MS_PER_S for line in lines(folder / LOADS, ("value",), LINES_MOST))
    if not found:
        raise TraceError(f"{folder / LOADS}: no load time")
    return found


def load_times(models: Iterable[str], loads_s: Sequence[float], seed: int) -> dict[str, float]:
    """A model loads always equally long. Its time is a quantile of the measured ones, evenly spread over the models."""
    names = sorted(set(models))
    ranks = list(range(len(names)))
    random.Random(seed).shuffle(ranks)
    return {
        name: loads_s[int((rank + 0.5) / len(names) * len(loads_s))]
        for name, rank in zip(names, ranks, strict=True)
    }


def _at_s(line: Line) -> float:
    text = line.text("gmt_create")
    try:
        return (datetime.fromisoformat(text) - datetime(2024, 1, 1)).total_seconds()
    except (ValueError, TypeError) as error:
        raise TraceError(
            f"{line.place('gmt_create')}: must be a time like 2024-11-15 16:57:50, not `{text}`"
        ) from error
