"""Demand of the clients of a ServeGen model: from rates in windows of 600 s to spans in which a model is wanted awake.

Source: Xiang et al., ServeGen, arXiv 2505.09999; found by INGLE_DATA, see README.md there. The set has rates and the
distribution of pauses, no arrivals: those are drawn.
"""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DATA = Path("servegen") / "m-mid_client_rates.csv.gz"
WINDOW_S = 600
DAY_S = 86_400
DRAWN_MAX = 3000  # more requests than this in a window leave no pause that would let a model sleep


@dataclass(frozen=True, slots=True)
class Window:
    """Ten minutes of one client; `shape`: of the Gamma or Weibull distribution of pauses."""

    start_s: int
    rate_rps: float
    kind: str
    shape: float


@dataclass(frozen=True, slots=True)
class Span:
    """A model is wanted awake in [start_s, end_s)."""

    start_s: float
    end_s: float


def path() -> Path:
    """The file of rates; SystemExit where it is not there."""
    found = Path(os.environ.get("INGLE_DATA", "../shared/data")) / DATA
    if not found.exists():
        raise SystemExit(f"{found} is not there: set INGLE_DATA to the folder of public data sets")
    return found


def clients(file: Path) -> dict[str, list[Window]]:
    """The windows of each client in which it asks, in the order of time."""
    found: dict[str, list[Window]] = {}
    with gzip.open(file, "rt") as lines:
        for row in csv.DictReader(lines):
            windows = found.setdefault(row["client"], [])
            if row["iat_dist"] and float(row["rate_rps"]) > 0:
                windows.append(
                    Window(int(float(row["t_s"])), float(row["rate_rps"]), row["iat_dist"], float(row["p1"]))
                )
    return found


def spans(windows: Sequence[Window], hold_s: float, luck: np.random.Generator) -> list[Span]:
    """From a request until `hold_s` after the last one that came in time."""
    found: list[Span] = []
    for first_s, last_s in _bursts(windows, hold_s, luck):
        if found and first_s <= found[-1].end_s:
            found[-1] = Span(found[-1].start_s, max(found[-1].end_s, last_s + hold_s))
        else:
            found.append(Span(first_s, last_s + hold_s))
    return found


def _bursts(
    windows: Sequence[Window], hold_s: float, luck: np.random.Generator
) -> Iterator[tuple[float, float]]:
    """Times of the first and last request of each stretch without a pause longer than `hold_s`, window by window."""
    for window in windows:
        mean = window.rate_rps * WINDOW_S
        if mean > DRAWN_MAX:
            yield window.start_s, window.start_s + WINDOW_S
            continue
        count = int(mean + luck.random())
        if not count:
            continue
        at_s = window.start_s + _arrivals(window, count, luck)
        ends = np.flatnonzero(np.diff(at_s) > hold_s)
        firsts, lasts = np.concatenate(([0], ends + 1)), np.concatenate((ends, [count - 1]))
        yield from zip(at_s[firsts].tolist(), at_s[lasts].tolist(), strict=True)


def _arrivals(window: Window, count: int, luck: np.random.Generator) -> np.ndarray:
    """Pauses of the fitted shape, scaled so that they fill the window, as the source does."""
    shape = max(window.shape, 0.05)
    pauses = luck.gamma(shape, size=count + 1) if window.kind == "Gamma" else luck.weibull(shape, count + 1)
    total = float(pauses.sum())
    if total <= 0:
        return np.sort(luck.random(count)) * WINDOW_S
    placed: np.ndarray = np.cumsum(pauses)[:count] * (WINDOW_S / total)
    return placed


def day(found: Sequence[Span], number: int) -> list[Span]:
    """What falls into day `number`, in seconds of that day."""
    start_s = number * DAY_S
    cut = (Span(max(0.0, s.start_s - start_s), min(DAY_S, s.end_s - start_s)) for s in found)
    return [span for span in cut if span.start_s < span.end_s]
