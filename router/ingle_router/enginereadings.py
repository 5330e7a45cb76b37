"""What engines say of their load in their metrics: requests that queue inside, KV cache in use, time to first token.

The router reads that page anyway, for the sleep gauge. The time to first token is the engine's own histogram: its response
headers, which the gateway sees, come before the first token of a stream and with the last one of any other answer.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ingle_core.scaling.desired import EngineReading

WINDOW_S: Final = 60.0
QUANTILE: Final = 0.9
_QUEUE: Final = ("vllm:num_requests_waiting", "sglang:num_queue_reqs")
_KV: Final = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage")
_TTFT: Final = ("vllm:time_to_first_token_seconds_bucket", "sglang:time_to_first_token_seconds_bucket")
_LE: Final = re.compile(r'le="([^"]+)"')

Buckets = dict[float, float]
"""Upper bound in seconds to the number of requests at or below it since the engine started."""


@dataclass
class Said:
    """One page. Several ranks of one engine are taken together: queues add up, the fullest cache counts."""

    queue: float | None = None
    kv_fraction: float | None = None
    ttft: Buckets = field(default_factory=dict)


def read(metrics: str) -> Said:
    """Raises ValueError where a number cannot be read."""
    said = Said()
    for line in metrics.splitlines():
        name = line[: min(len(line), line.find("{") if "{" in line else line.find(" "))]
        if name in _QUEUE:
            said.queue = (said.queue or 0.0) + _value(line)
        elif name in _KV:
            said.kv_fraction = max(said.kv_fraction or 0.0, _value(line))
        elif name in _TTFT and (bound := _LE.search(line)):
            said.ttft[float(bound[1])] = said.ttft.get(float(bound[1]), 0.0) + _value(line)
    return said


def _value(line: str) -> float:
    value = float(line.rpartition("}")[2].split()[0] if "}" in line else line.split()[1])
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{value} is no count")
    return value


def quantile_s(old: Mapping[float, float], new: Mapping[float, float]) -> float | None:
    """The `QUANTILE` of what came between two pages, linear within a bucket; None where nothing came.

    Above the last finite bound: that bound.
    """
    counts = sorted((bound, count - old.get(bound, 0.0)) for bound, count in new.items())
    total = counts[-1][1] if counts else 0.0
    if total <= 0 or any(count < 0 for _, count in counts):
        return None
    rank, low_s, below = QUANTILE * total, 0.0, 0.0
    for bound_s, count in counts:
        if count >= rank:
            share = (rank - below) / (count - below) if count > below else 1.0
            return low_s if math.isinf(bound_s) else low_s + share * (bound_s - low_s)
        low_s, below = bound_s, count
    return low_s


class EngineReadings:
    """The last reading of each engine, by pod UID; at most one page per period of the last `WINDOW_S` is kept."""

    def __init__(self) -> None:
        self._pages: dict[str, deque[tuple[float, Buckets]]] = {}
        self.last: dict[str, EngineReading] = {}

    def take(self, uid: str, metrics: str, now_s: float) -> None:
        """A new page of an engine; one that cannot be read counts as none."""
        try:
            said = read(metrics)
        except (ValueError, IndexError):
            self.drop(uid)
            return
        pages = self._pages.setdefault(uid, deque(maxlen=64))
        while len(pages) > 1 and pages[1][0] <= now_s - WINDOW_S:
            pages.popleft()
        ttft_s = quantile_s(pages[0][1], said.ttft) if pages else None
        pages.append((now_s, said.ttft))
        queue = None if said.queue is None else int(said.queue)
        kv_fraction = None if said.kv_fraction is None else min(1.0, said.kv_fraction)
        self.last[uid] = EngineReading(queue, kv_fraction, ttft_s)

    def drop(self, uid: str) -> None:
        """The engine sleeps, does not answer, or is gone."""
        self._pages.pop(uid, None)
        self.last.pop(uid, None)
