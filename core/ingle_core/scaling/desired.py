"""Replicas wanted awake now, from up to four signals; the one that asks for most decides.

Requests at once are counted exactly, so they ask for what they need at once. Queue, KV cache use and time to first token
are ratios to their targets and can overshoot: one decision at most doubles the engines that reported, or adds
`STEP_REPLICAS`, whichever is more. The ratio form ceil(n × value / target) with a tolerance of 10 % is that of the
Kubernetes HorizontalPodAutoscaler. Going down slowly is the caller's part: nothing sleeps that the most `count` of a
pool's last idleSeconds needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

TOLERANCE_FRACTION: Final = 0.1
STEP_REPLICAS: Final = 4
KEPT_FROM_FRACTION: Final = 0.5
"""From this share of its target on, a queue or a time to first token keeps the replicas that there are."""


@dataclass(frozen=True)
class Targets:
    """One replica's share. None: that signal is not looked at.

    `concurrency`: requests at once. `queue`: requests inside an engine that do not run yet. `kv_fraction`: part of the KV
    cache in use, 0 to 1. `ttft_s`: time from an engine's receipt of a request to its first token.
    """

    concurrency: int
    queue: int | None = None
    kv_fraction: float | None = None
    ttft_s: float | None = None


@dataclass(frozen=True)
class EngineReading:
    """What one awake engine says of itself. None: it does not say, or not lately. `ttft_s`: its 90th percentile."""

    queue: int | None = None
    kv_fraction: float | None = None
    ttft_s: float | None = None


@dataclass(frozen=True)
class Readings:
    """`load`: requests that wait or run, over all routers. `engines`: of those that are awake."""

    load: int
    engines: tuple[EngineReading, ...] = ()


@dataclass(frozen=True)
class Desired:
    """`count` replicas, and what each signal said. `decided_by`: the signal that asked for most; "" for none."""

    count: int
    decided_by: str = ""
    reasons: tuple[str, ...] = ()


def desired(targets: Targets, readings: Readings) -> Desired:
    """Replicas wanted awake, 0 or more; the pool's min and max are not applied here. Without load: 0."""
    need = -(-readings.load // max(1, targets.concurrency))
    asks = [
        ("concurrency", need, f"{readings.load} requests at once, {targets.concurrency} a replica: {need}")
    ]
    if readings.load > 0:
        asks += _asks(targets, readings.engines)
    most = max(asks, key=lambda ask: ask[1])
    return Desired(most[1], most[0] if most[1] else "", tuple(text for _, _, text in asks))


def _asks(targets: Targets, engines: tuple[EngineReading, ...]) -> list[tuple[str, int, str]]:
    """(signal, replicas, text) of each signal that has a target."""
    asks = []
    if targets.queue is not None:
        values = [float(e.queue) for e in engines if e.queue is not None]
        asks.append(_held("queue", "queue of {:.1f} an engine", values, float(targets.queue)))
    if targets.kv_fraction is not None:
        values = [e.kv_fraction for e in engines if e.kv_fraction is not None]
        asks.append(_shared("KV cache", "KV cache {:.0%} full", values, targets.kv_fraction))
    if targets.ttft_s is not None:
        values = [e.ttft_s for e in engines if e.ttft_s is not None]
        asks.append(_held("time to first token", "first token after {:.3g} s", values, targets.ttft_s))
    return asks


def _held(signal: str, text: str, values: list[float], target: float) -> tuple[str, int, str]:
    """A signal that says nothing of how far one may go down: near its target the count is kept, far below it asks 0."""
    if not values:
        return signal, 0, f"{signal}: no engine reports it"
    mean, number = _mean(values), len(values)
    count = _up(number, mean / target)
    if mean <= KEPT_FROM_FRACTION * target:
        count = 0
    return signal, count, f"{text.format(mean)}, target {target:g}: {count}"


def _shared(signal: str, text: str, values: list[float], target: float) -> tuple[str, int, str]:
    """A signal whose sum stays the same however many share it, so it also says how few are enough."""
    if not values:
        return signal, 0, f"{signal}: no engine reports it"
    mean, number = _mean(values), len(values)
    count = _up(number, mean / target) if mean > target else math.ceil(number * mean / target)
    return signal, count, f"{text.format(mean)}, target {target:.0%}: {count}"


def _up(number: int, ratio: float) -> int:
    """ceil(number × ratio) above the tolerance, at most twice as many or `STEP_REPLICAS` more; never below `number`."""
    if ratio <= 1 + TOLERANCE_FRACTION:
        return number
    return min(math.ceil(number * ratio), number + max(number, STEP_REPLICAS))


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)
