"""Arrivals with token counts from a public trace: the busiest stretch, spread over models by a Zipf law."""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True)
class Arrival:
    """One request: seconds after the start of the stretch, and its tokens."""

    at_s: float
    prompt_tokens: int
    output_tokens: int


def read_azure(path: Path) -> list[Arrival]:
    """Rows of an Azure LLM inference trace (TIMESTAMP, ContextTokens, GeneratedTokens), in order of arrival.

    Raises ValueError that names the file and line.
    """
    arrivals: list[Arrival] = []
    first_s: float | None = None
    with path.open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                stamp = datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp()
                tokens = int(row["ContextTokens"]), int(row["GeneratedTokens"])
            except (KeyError, ValueError, TypeError) as error:
                raise ValueError(
                    f"{path}, line {number}: {error}; wanted TIMESTAMP, ContextTokens, GeneratedTokens"
                ) from None
            first_s = stamp if first_s is None else first_s
            arrivals.append(Arrival(stamp - first_s, *tokens))
    return sorted(arrivals, key=lambda a: a.at_s)


def busiest(arrivals: list[Arrival], length_s: float) -> list[Arrival]:
    """The stretch of `length_s` with the most arrivals, its times counted from its start."""
    best = (0, 0, 0)
    end = 0
    for start, arrival in enumerate(arrivals):
        while end < len(arrivals) and arrivals[end].at_s < arrival.at_s + length_s:
            end += 1
        best = max(best, (end - start, -start, end))
    chosen = arrivals[-best[1] : best[2]]
    return [Arrival(a.at_s - chosen[0].at_s, a.prompt_tokens, a.output_tokens) for a in chosen]


def by_zipf(models: list[str], count: int, seed: int, exponent: float = 1.0) -> list[str]:
    """`count` models drawn with weights 1 / rank**exponent, the first model most often."""
    weights = [1 / (rank + 1) ** exponent for rank in range(len(models))]
    return random.Random(seed).choices(models, weights, k=count)
