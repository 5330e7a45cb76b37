"""The keep-alive strategies under the names that replays give them, and which public trace lies in a folder."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ingle_core.warmpool.keepalive import ExpectedUse, Fixed, GreedyDual, Histogram, Strategy
from ingle_simulator import functions, genai
from ingle_simulator.lines import TraceError

PRICE: Final = 0.3
"""Cold starts that a minute of one GB is worth: what the functions are replayed at. Slots need no price."""
WITHIN_MINUTE_S: Final = 1.0
"""A use in minute 0 kept for 10 min covers minute 10 too."""
SLOTS: Final[dict[str, Callable[[], Strategy]]] = {
    "expected-use": ExpectedUse,
    "greedy-dual": GreedyDual,
    "histogram": Histogram,
    "fixed": Fixed,
    "lru": lambda: Fixed(math.inf),
}
MINUTES: Final[dict[str, Callable[[], Strategy]]] = {
    "expected-use": lambda: ExpectedUse(PRICE),
    "histogram": lambda: Histogram(600.0 + WITHIN_MINUTE_S),
    "fixed": lambda: Fixed(600.0 + WITHIN_MINUTE_S),
}


def kind(folder: Path) -> str:
    """`genai` or `functions`. TraceError where it is neither."""
    if (folder / genai.REQUESTS).is_file():
        return "genai"
    if (folder / functions.CONTAINERS).is_file():
        return "functions"
    raise TraceError(f"{folder}: neither {genai.REQUESTS} nor {functions.CONTAINERS} is there")
