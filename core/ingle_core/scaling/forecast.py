"""What load is expected: from two weeks of peaks to the next two hours. A forecast only ever adds replicas.

The model is MSTL (trend by AutoETS; a season of a day, and of a week once two weeks are known) of statsforecast, of which
the 90th percentile counts. Below it stands a floor that needs no model (seasonal naive, but cautious): the least that came
at this time on the last two days and a week ago. Nothing is forecast above the most that was ever seen, so a trend cannot
run away.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingle_core.scaling.history import DAY_STEPS, STEP_S

Loads = NDArray[np.float64]

HORIZON_STEPS: Final = 8
FLOOR_DAYS: Final = (1, 2, 7)
HISTORY_MIN_STEPS: Final = 2 * DAY_STEPS
TWO_WEEKS_STEPS: Final = 14 * DAY_STEPS
SEEN_MIN_FRACTION: Final = 0.5
LEVEL_PERCENT: Final = 80
"""Width of the interval whose upper end counts: 10 % of outcomes lie above it."""
NOTICED_LOAD: Final = 1.0
"""A smaller expected load is no request: then less than one outcome in ten is."""


@dataclass(frozen=True)
class Forecast:
    """Load expected in each step of `STEP_S` from `first_s` (Unix seconds) on. `method`: what it was made with."""

    first_s: float
    load: tuple[float, ...]
    method: str = ""

    def most(self, from_s: float, to_s: float) -> float:
        """The most expected at any time of [from_s, to_s]; 0 for times that it does not cover."""
        first = math.floor((from_s - self.first_s) / STEP_S)
        last = math.floor((to_s - self.first_s) / STEP_S)
        return max(self.load[max(0, first) : max(0, last + 1)], default=0.0)


def ahead(forecast: Forecast | None, now_s: float, lead_s: float, concurrency: int) -> tuple[int, str]:
    """Replicas that must be awake or on their way now for what is expected within `lead_s`, and why; (0, "") for none.

    `lead_s`: how long a replica needs to become awake.
    """
    if forecast is None:
        return 0, ""
    load = forecast.most(now_s, now_s + lead_s)
    if load < NOTICED_LOAD:
        return 0, ""
    count = math.ceil(round(load, 3) / max(1, concurrency))
    return count, f"forecast ({forecast.method}) of {load:.1f} requests at once within {lead_s:.0f} s"


def floor(peaks: NDArray[np.floating]) -> Loads | None:
    """The least that came at this time on the last two days and, once that is known, a week ago, for each step to come.

    None: too little is known.

    `peaks`: loads of whole steps, oldest first, the last one just before the first forecast; NaN where not known.
    """
    known = _known(peaks)
    if known is None:
        return None
    days = [days for days in FLOOR_DAYS if days * DAY_STEPS <= len(known)]
    same_time = np.array([known[len(known) - n * DAY_STEPS :][:HORIZON_STEPS] for n in days])
    return np.asarray(np.nan_to_num(same_time.min(axis=0), nan=0.0), np.float64)


def expected(peaks: NDArray[np.floating]) -> Loads | None:
    """The load of each of the next `HORIZON_STEPS` steps, as `floor` takes it and gives it, by the model and the floor.

    Takes 0.2 s of CPU with days, 1.2 s with weeks, and statsforecast 200 MiB of memory: call it in a process of its own.
    """
    least, known = floor(peaks), _known(peaks)
    if least is None or known is None:
        return None
    filled = _filled(known)
    top = float(filled.max())
    if top == float(filled.min()):
        return np.full(HORIZON_STEPS, top)
    upper = np.clip(np.nan_to_num(_model(filled), nan=0.0), 0.0, top)
    return np.maximum(upper, least)


def _known(peaks: NDArray[np.floating]) -> Loads | None:
    """The history from its first known step on; None where it is shorter than two days or half of those is missing."""
    values = np.asarray(peaks, np.float64)
    seen = np.flatnonzero(~np.isnan(values))
    if not len(seen):
        return None
    values = values[seen[0] :]
    recent = values[-HISTORY_MIN_STEPS:]
    enough = len(values) >= HISTORY_MIN_STEPS and np.mean(~np.isnan(recent)) >= SEEN_MIN_FRACTION
    return values if enough else None


def _filled(values: Loads) -> Loads:
    """Missing steps get the median of their time of day, else what lies between their neighbours."""
    filled = values.copy()
    time_of_day = np.arange(len(values)) % DAY_STEPS
    for missing in np.flatnonzero(np.isnan(values)):
        same = values[time_of_day == missing % DAY_STEPS]
        same = same[~np.isnan(same)]
        if len(same):
            filled[missing] = np.median(same)
    gaps = np.isnan(filled)
    if gaps.any():
        filled[gaps] = np.interp(np.flatnonzero(gaps), np.flatnonzero(~gaps), filled[~gaps])
    return filled


def _model(values: Loads) -> Loads:
    """Upper end of the model's interval. Imports statsforecast only here: 1.5 s of CPU."""
    from statsforecast.models import MSTL

    values = values[-TWO_WEEKS_STEPS:]
    weeks = len(values) == TWO_WEEKS_STEPS
    model = MSTL(season_length=[DAY_STEPS, 7 * DAY_STEPS] if weeks else [DAY_STEPS])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = model.forecast(y=values, h=HORIZON_STEPS, level=[LEVEL_PERCENT])
    return np.asarray(made[f"hi-{LEVEL_PERCENT}"], np.float64)
