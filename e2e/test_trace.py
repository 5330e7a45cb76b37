"""Real arrivals, token counts and all: every request is answered."""

from __future__ import annotations

import csv
import os
import random
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ingle_lab.demo.replay import replay
from ingle_lab.demo.scene import Scene

SLICE_S = int(os.environ.get("INGLE_E2E_TRACE_S", "30"))
TRACE = Path("azure-llm-2023") / "AzureLLMInferenceTrace_conv.csv"


def made_trace(path: Path, seed: int) -> Path:
    """Five arrivals a second with long-tailed token counts, in the columns of the public trace."""
    luck = random.Random(seed)
    at = datetime(2023, 11, 16, 18, 15)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("TIMESTAMP", "ContextTokens", "GeneratedTokens"))
        for _ in range(5 * SLICE_S):
            at += timedelta(seconds=luck.expovariate(5))
            tokens = int(luck.lognormvariate(6.5, 1)), int(luck.lognormvariate(5, 0.8)) + 1
            rows.writerow((at.strftime("%Y-%m-%d %H:%M:%S.%f") + "0", *tokens))
    return path


@pytest.mark.timeout(SLICE_S + 90)
async def test_every_request_of_the_busiest_stretch_is_answered(
    scene: Scene, tmp_path: Path, seed: int
) -> None:
    path = Path(os.environ.get("INGLE_DATA", "")) / TRACE
    if not path.is_file():
        path = made_trace(tmp_path / "trace.csv", seed)
    await replay(scene, path, SLICE_S)
    figures = scene.figures
    assert figures["requests"] > 100
    assert figures["requests_failed"] == 0
    assert figures["requests_hot"] > 0
    assert figures["requests_woken"] > 0
    assert figures["requests_cold"] > 0
