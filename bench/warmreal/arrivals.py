"""Arrivals of public traces, their busiest stretch, dealt out to pools. Pure but for reading the files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

from bench.warmreal.load import Ask
from ingle_lab.demo.trace import Arrival, busiest, by_zipf


def read_mooncake(path: Path) -> list[Arrival]:
    """Rows of a Mooncake trace (timestamp in ms, input_length, output_length), in order of arrival.

    Raises ValueError that names the file and line.
    """
    arrivals: list[Arrival] = []
    with gzip.open(path, "rt") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
                tokens = int(row["input_length"]), int(row["output_length"])
                arrivals.append(Arrival(row["timestamp"] / 1000, *tokens))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
    return sorted(arrivals, key=lambda arrival: arrival.at_s)


def dealt(
    arrivals: Sequence[Arrival], pools: Sequence[str], length_s: float, seed: int, context_tokens: int
) -> list[Ask]:
    """The busiest `length_s` over the pools by a Zipf law (exponent 1); what does not fit the context is left out."""
    chosen = busiest(list(arrivals), length_s)
    asks = [
        Ask(arrival.at_s, pool, arrival.prompt_tokens, max(1, arrival.output_tokens))
        for arrival, pool in zip(chosen, by_zipf(list(pools), len(chosen), seed), strict=True)
    ]
    return [ask for ask in asks if ask.prompt_tokens + ask.output_tokens <= context_tokens]


def together(*loads: Sequence[Ask]) -> list[Ask]:
    """Several loads at once, in order."""
    return sorted((ask for load in loads for ask in load), key=lambda ask: (ask.at_s, ask.pool))
