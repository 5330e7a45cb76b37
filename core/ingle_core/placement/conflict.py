"""Wake conflict: the chance that models which share a GPU are wanted at once and do not fit there awake together.

A sleeper is worth only as much as the room it wakes into. For a GPU and an hour of the day the load is Σ asleep MiB of
its residents + Σ (awake − asleep) of those wanted then; models count as wanted independently of each other within an
hour, with the chance that their profile says. A resident without a profile always holds what it claims now.

chance(new, GPU) = mean over the hours of P(new wanted) × P(load > allocatable − awake MiB of new), in [0, 1].
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ingle_core.facts import Columns, GpuFacts
from ingle_core.facts.rowsets import RowSets

if TYPE_CHECKING:
    from ingle_core.placement.view import View

Array = NDArray[Any]

HOURS: Final = 24
LEVELS: Final = 32
"""A load is kept as the nearest 32nd of the GPU: finer than engines keep to their own figures."""
STEPS: Final = 200
"""Chances per hour are kept in steps of half a percent, one byte each."""
CHANCE_MIN: Final = 0.001
TABLES_KEPT: Final = 8192
OUTDATED_AT_ONCE: Final = 32
_NEVER_SEEN: Final = -1


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


class Conflicts:
    """Profiles by pool, and what follows from them for every GPU. Not thread-safe.

    Hand the same one to each `rank` over the same columns: only rows that changed are computed anew (about 50 µs a
    GPU with residents). Memory: 0.8 KB a GPU. Profiles of many pools change together, on the hour: a call takes over
    new ones for at most `OUTDATED_AT_ONCE` rows and looks at the others with the old ones.
    """

    def __init__(self) -> None:
        self._profiles: dict[str, Profile] = {}
        self._tables: OrderedDict[object, Array] = OrderedDict()
        self._columns: Columns | None = None
        self._pools = RowSets()
        self._outdated: dict[int, None] = {}

    def learn(self, pool: str, profile: Profile | None) -> None:
        """The pool's profile from now on; None: there is none."""
        if self._profiles.get(pool) == profile:
            return
        if profile is None:
            del self._profiles[pool]
        else:
            self._profiles[pool] = profile
        self._outdated |= dict.fromkeys(sorted(self._pools.rows(pool)))

    def knows(self, pool: str) -> bool:
        return pool in self._profiles

    def scores(self, view: View) -> Array:
        """(GPUs, rows): −log₁₀(chance) ÷ 3 in [0, 1]: 1 where it is at most 0.1 %, 0 where it is certain.

        Tenfold the chance costs a third, however rare it is: of models that are seldom wanted all chances are small,
        and yet one may be ten times the other. 1 where the memory does not fit anyway; all 1 without a profile.
        """
        scores: Array = np.ones(view.left_mib.shape, dtype=np.float32)
        at, chances = self._chances(view)
        scores[at] = np.log10(np.clip(chances, CHANCE_MIN, 1.0)) / np.log10(CHANCE_MIN)
        return scores

    def chances(self, view: View) -> Array:
        """(GPUs, rows): the chance, 0 where the memory does not fit anyway."""
        found: Array = np.zeros(view.left_mib.shape, dtype=np.float32)
        at, chances = self._chances(view)
        found[at] = chances
        return found

    def _chances(self, view: View) -> tuple[tuple[Array, Array], Array]:
        """Places and rows of GPUs with room now on which a conflict is possible, and the chance on each."""
        profile = self._profiles.get(view.ask.pool)
        if profile is None:
            nowhere: Array = np.zeros(0, dtype=np.intp)
            return (nowhere, nowhere), np.zeros(0, dtype=np.float32)
        self._observe(view.columns)
        gpus, rows = view.left_mib.shape
        places, at = np.nonzero(self._possible[:gpus, :rows] & (view.left_mib >= 0))
        allocatable = view.gpu["allocatable_mib"][places, at]
        cells = places * self._possible.shape[1] + at
        level = np.rint((allocatable - view.ask.memory_mib.awake) * (LEVELS / np.maximum(allocatable, 1)))
        level = np.clip(level, 0, LEVELS - 1).astype(np.intp)
        wanted = np.array(profile.percent, dtype=np.float32) / (100 * HOURS * STEPS)
        per_hour = self._too_full.reshape(-1, HOURS).take(level * self._possible.size + cells, axis=0)
        # not `@`: its threads wait milliseconds for a core on a busy machine
        chances: Array = np.einsum("nh,h->n", per_hour, wanted)
        return (places, at), chances

    def _observe(self, columns: Columns) -> None:
        """Takes over what changed since the last call, row by row."""
        shape = columns.gpu["allocatable_mib"].shape
        if columns is not self._columns or self._possible.shape != shape:
            self._columns, self._pools, self._outdated = columns, RowSets(), {}
            self._version: Array = np.full(shape[1], _NEVER_SEEN, dtype=np.int64)
            self._possible: Array = np.zeros(shape, dtype=np.bool_)
            self._too_full: Array = np.zeros((LEVELS, *shape, HOURS), dtype=np.uint8)
        version = columns.node["version"]
        changed: list[int] = np.flatnonzero(version != self._version).tolist()
        for row in [*changed, *islice(self._outdated, OUTDATED_AT_ONCE)]:
            self._write(columns, row)
            self._outdated.pop(row, None)
        self._version[:] = version

    def _write(self, columns: Columns, row: int) -> None:
        facts = columns.facts.get(columns.names[row]) if row < columns.rows else None
        gpus = facts.gpus if facts is not None and columns.node["live"][row] else ()
        self._pools.put(row, frozenset(one.pool for gpu in gpus for one in gpu.residents))
        self._possible[:, row] = False
        for place, gpu in enumerate(gpus):
            if gpu.residents:
                table = self._too_full[:, place, row] = self._table(gpu)
                self._possible[place, row] = table.any()

    def _table(self, gpu: GpuFacts) -> Array:
        """(LEVELS, HOURS): the chance, in steps, that the load is above that level."""
        known = [self._profiles.get(one.pool) for one in gpu.residents]
        fixed_mib = sum(
            one.memory_mib if profile is None else profile.asleep_mib
            for one, profile in zip(gpu.residents, known, strict=True)
        )
        profiles = tuple(sorted((p for p in known if p is not None), key=lambda p: (p.percent, p.awake_mib)))
        key = (gpu.allocatable_mib, fixed_mib, profiles)
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = _too_full(gpu.allocatable_mib, fixed_mib, profiles)
            if len(self._tables) > TABLES_KEPT:
                self._tables.popitem(last=False)
        return table


def _too_full(allocatable_mib: int, fixed_mib: int, profiles: Sequence[Profile]) -> Array:
    """P(load > level) by level and hour, in steps: the sum of independent loads, one profile after the other."""
    level_mib = max(1, allocatable_mib) / LEVELS
    above: Array = np.zeros((LEVELS, HOURS), dtype=np.float32)
    above[: round(fixed_mib / level_mib)] = 1.0
    for profile in profiles:
        wanted = np.array(profile.percent, dtype=np.float32) / 100
        more = min(LEVELS, round((profile.awake_mib - profile.asleep_mib) / level_mib))
        if_wanted = np.ones_like(above)
        if_wanted[more:] = above[: LEVELS - more]
        above += wanted * (if_wanted - above)
    found: Array = np.rint(above * STEPS).astype(np.uint8)
    return found
