"""How full GPUs get: the load of residents that are wanted at some hours and not at others (`conflict.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

HOURS: Final = 24
LEVELS: Final = 32
"""A load is kept as the nearest 32nd of the GPU: finer than engines keep to their own figures."""
STEPS: Final = 200
"""Chances per hour are kept in steps of half a percent, one byte each."""
BATCH: Final = 64  # GPUs computed at once: what fits in the processor's cache


@dataclass(frozen=True, slots=True)
class Profile:
    """A pool's engines: MiB on each GPU awake and asleep; for each hour of the day (UTC) the percent of it in which
    one is wanted awake."""

    awake_mib: int
    asleep_mib: int
    percent: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.percent) != HOURS or not all(0 <= value <= 100 for value in self.percent):
            raise ValueError(f"percent must be {HOURS} whole numbers from 0 to 100, not {self.percent}")
        if not 0 <= self.asleep_mib <= self.awake_mib:
            raise ValueError(f"asleep_mib must be in [0, {self.awake_mib}], not {self.asleep_mib}")


class Loads:
    """GPUs with their residents, as lists that become arrays. Memory in MiB."""

    def __init__(self) -> None:
        self.allocatable_mib: list[int] = []
        self.fixed_mib: list[int] = []
        self.profiles: list[list[Profile]] = []

    def add(self, allocatable_mib: int, residents: Iterable[tuple[int, Profile | None]]) -> None:
        """One more GPU. `residents`: what each claims now, and its profile where it has one."""
        fixed_mib, known = 0, []
        for claimed_mib, profile in residents:
            fixed_mib += claimed_mib if profile is None else profile.asleep_mib
            if profile is not None:
                known.append(profile)
        self.allocatable_mib.append(allocatable_mib)
        self.fixed_mib.append(fixed_mib)
        self.profiles.append(known)


def too_full(loads: Loads) -> Iterator[tuple[int, Array]]:
    """P(load > level), in steps, as tables (GPUs, LEVELS, HOURS) of some GPUs after the other, each with the first."""
    numbers: dict[int, int] = {}  # by identity: profiles are shared, and their equality looks at 24 values
    distinct: list[Profile] = []
    rows: list[list[int]] = []
    for profiles in loads.profiles:
        row = []
        for profile in profiles:
            number = numbers.setdefault(id(profile), len(distinct))
            if number == len(distinct):
                distinct.append(profile)
            row.append(number)
        rows.append(row)
    wanted = np.array([one.percent for one in distinct], dtype=np.float32).reshape(-1, HOURS) / 100
    more_mib = np.array([one.awake_mib - one.asleep_mib for one in distinct], dtype=np.float64)
    level_mib = np.maximum(1, np.array(loads.allocatable_mib)) / LEVELS
    fixed = np.rint(np.array(loads.fixed_mib) / level_mib).astype(np.intp)
    for first in range(0, len(rows), BATCH):
        batch = slice(first, first + BATCH)
        yield first, _tables(rows[batch], fixed[batch], level_mib[batch], wanted, more_mib)


def _tables(
    profiles: list[list[int]], fixed: Array, level_mib: Array, wanted: Array, more_mib: Array
) -> Array:
    """The sum of independent loads, one resident of every GPU after the other."""
    # the lower half stands for loads below 0, which are always exceeded
    above: Array = np.zeros((len(profiles), 2 * LEVELS, HOURS), dtype=np.float32)
    above[np.arange(2 * LEVELS) < LEVELS + fixed[:, None]] = 1.0
    for turn in range(max(map(len, profiles), default=0)):
        gpus = np.array([i for i, known in enumerate(profiles) if len(known) > turn], dtype=np.intp)
        number = np.array([known[turn] for known in profiles if len(known) > turn], dtype=np.intp)
        more = np.minimum(LEVELS, np.rint(more_mib[number] / level_mib[gpus])).astype(np.intp)
        levels = np.arange(LEVELS, 2 * LEVELS)[None, :] - more[:, None]
        if_wanted = above[gpus[:, None], levels]
        if_not = above[gpus, LEVELS:]
        above[gpus, LEVELS:] = if_not + wanted[number][:, None, :] * (if_wanted - if_not)
    found: Array = np.rint(above[:, LEVELS:] * STEPS).astype(np.uint8)
    return found
