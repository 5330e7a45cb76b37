"""Bursty Zipf load, from a seed: who asks which model when. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ask:
    """One request: seconds after the start, pool, tokens in and out."""

    at_s: float
    pool: str
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Bursts:
    """Bursts come as a Poisson process; each belongs to one model, drawn with weights 1 / rank**exponent.

    A burst is `1 + geometric` requests, `requests_mean` of them on average, with exponential gaps of `gap_s` on
    average. Tokens are those of llm-d's test of its own router: 200 in, 100 out.
    """

    every_s: float = 3.0
    requests_mean: float = 6.0
    gap_s: float = 0.4
    exponent: float = 1.0
    prompt_tokens: int = 200
    output_tokens: int = 100


def bursty(pools: Sequence[str], length_s: float, seed: int, bursts: Bursts) -> list[Ask]:
    """All requests of `length_s`, in order; the first of `pools` is asked most. The same seed gives the same load."""
    luck = random.Random(seed)
    weights = [1 / (rank + 1) ** bursts.exponent for rank in range(len(pools))]
    asks: list[Ask] = []
    at_s = luck.expovariate(1 / bursts.every_s)
    while at_s < length_s:
        (pool,) = luck.choices(pools, weights)
        asks += _burst(at_s, pool, luck, bursts)
        at_s += luck.expovariate(1 / bursts.every_s)
    return sorted((ask for ask in asks if ask.at_s < length_s), key=lambda ask: (ask.at_s, ask.pool))


def _burst(at_s: float, pool: str, luck: random.Random, bursts: Bursts) -> list[Ask]:
    more = 1 - 1 / bursts.requests_mean
    asks = []
    while True:
        asks.append(Ask(at_s, pool, bursts.prompt_tokens, bursts.output_tokens))
        if luck.random() >= more:
            return asks
        at_s += luck.expovariate(1 / bursts.gap_s)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of them do not exceed (nearest rank); 0 for none."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)] if ordered else 0.0
