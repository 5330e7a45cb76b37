"""Wake conflict: the chance that models which share a GPU are wanted at once and do not fit there awake together.

A sleeper is worth only as much as the room it wakes into. For a GPU and an hour of the day the load is Σ asleep MiB of
its residents + Σ (awake − asleep) of those wanted then; models count as wanted independently of each other within an
hour, with the chance that their profile says. A resident without a profile always holds what it claims now.

chance(new, GPU) = mean over the hours of P(new wanted) × P(load > allocatable − awake MiB of new), in [0, 1].
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ingle_core.facts import Columns, GpuFacts, Resident
from ingle_core.facts.rowsets import RowSets
from ingle_core.placement.loads import HOURS, LEVELS, STEPS, Loads, Profile, too_full

if TYPE_CHECKING:
    from ingle_core.placement.ask import Ask
    from ingle_core.placement.view import View

Array = NDArray[Any]

CHANCE_MIN: Final = 0.001
OUTDATED_AT_ONCE: Final = 32
SCORES_KEPT: Final = 384


_Held = tuple[tuple[int, tuple[Resident, ...]], ...]


class Conflicts:
    """Profiles by pool, and what follows from them for every GPU. Not thread-safe.

    Hand the same one to each `rank` over the same columns: only rows whose residents changed are computed anew (some
    10 µs a GPU with residents). Memory: 0.8 KB a GPU, and 4 B for each of the pools that asked last. Profiles of many
    pools change together, on the hour: a call takes over new ones for at most `OUTDATED_AT_ONCE` rows and looks at the
    others with the old ones.
    """

    def __init__(self) -> None:
        self._profiles: dict[str, Profile] = {}
        self._columns: Columns | None = None
        self._pools = RowSets()
        self._outdated: dict[int, None] = {}
        self._tick, self._changed_at = 0, np.zeros(0, dtype=np.int64)
        self._kept: OrderedDict[Hashable, tuple[int, Array]] = OrderedDict()

    def apart(self) -> Conflicts:
        """The same profiles, now and later, for other columns."""
        other = Conflicts()
        other._profiles = self._profiles
        return other

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

    def take_over(self, columns: Columns, rows: int) -> int:
        """Works ahead of the next call: takes over at most about `rows` rows. How many are left after that."""
        self._fit(columns)
        changed = np.flatnonzero(columns.node["version"] != self._version)
        self._write(columns, changed[:rows].tolist(), islice(self._outdated, max(0, rows - len(changed))))
        return max(0, len(changed) - rows) + len(self._outdated)

    def behind(self, ask: Ask) -> int:
        """How many rows `scores` of this ask would compute, beside what changed since the last call."""
        profile = self._profiles.get(ask.pool)
        if profile is None:
            return 0
        at, _ = self._kept.get((profile.percent, ask.memory_mib.awake), (0, None))
        return int(np.count_nonzero(self._changed_at > at))

    def scores(self, view: View) -> Array:
        """(GPUs, rows): −log₁₀(chance) ÷ 3 in [0, 1]: 1 where it is at most 0.1 %, 0 where it is certain.

        Tenfold the chance costs a third, however rare it is: of models that are seldom wanted all chances are small,
        and yet one may be ten times the other. 1 where the memory does not fit anyway; all 1 without a profile.
        """
        profile = self._profiles.get(view.ask.pool)
        if profile is None:
            return np.ones(view.left_mib.shape, dtype=np.float32)
        self._observe(view.columns)
        gpus, rows = view.left_mib.shape
        kept = self._kept_scores(view, profile.percent)
        return np.where(view.left_mib >= 0, kept[:gpus, :rows], np.float32(1.0))

    def chances(self, view: View) -> Array:
        """(GPUs, rows): the chance, 0 where the memory does not fit anyway."""
        found: Array = np.zeros(view.left_mib.shape, dtype=np.float32)
        profile = self._profiles.get(view.ask.pool)
        if profile is not None:
            self._observe(view.columns)
            gpus, rows = view.left_mib.shape
            at = np.nonzero(self._possible[:gpus, :rows] & (view.left_mib >= 0))
            found[at] = self._chances(view, profile.percent, *at)
        return found

    def _kept_scores(self, view: View, percent: tuple[int, ...]) -> Array:
        """Of every GPU, whatever is left there; the rows that changed since the last time computed anew."""
        key = (percent, view.ask.memory_mib.awake)
        at, kept = self._kept.pop(key, (0, np.ones(self._possible.shape, dtype=np.float32)))
        changed = np.flatnonzero(self._changed_at > at)
        if len(changed):
            places, nth = np.nonzero(self._possible[:, changed])
            rows = changed[nth]
            chances = self._chances(view, percent, places, rows)
            kept[:, changed] = 1.0
            kept[places, rows] = np.log10(np.clip(chances, CHANCE_MIN, 1.0)) / np.log10(CHANCE_MIN)
        self._kept[key] = self._tick, kept
        if len(self._kept) > SCORES_KEPT:
            self._kept.popitem(last=False)
        return kept

    def _chances(self, view: View, percent: tuple[int, ...], places: Array, rows: Array) -> Array:
        allocatable = view.gpu["allocatable_mib"][places, rows]
        level = np.rint((allocatable - view.ask.memory_mib.awake) * (LEVELS / np.maximum(allocatable, 1)))
        level = np.clip(level, 0, LEVELS - 1).astype(np.intp)
        cells = (level * self._possible.shape[0] + places) * self._possible.shape[1] + rows
        wanted = np.array(percent, dtype=np.float32) / (100 * HOURS * STEPS)
        # not `@`: its threads wait milliseconds for a core on a busy machine
        found: Array = np.einsum("nh,h->n", self._too_full.reshape(-1, HOURS).take(cells, axis=0), wanted)
        return found

    def _observe(self, columns: Columns) -> None:
        """Takes over what changed since the last call, row by row."""
        self._fit(columns)
        changed: list[int] = np.flatnonzero(columns.node["version"] != self._version).tolist()
        self._write(columns, changed, islice(self._outdated, OUTDATED_AT_ONCE))

    def _fit(self, columns: Columns) -> None:
        """Makes the tables as large as the columns; others than before: from nothing."""
        shape = columns.gpu["allocatable_mib"].shape
        if columns is self._columns and self._possible.shape == shape:
            return
        self._columns, self._pools, self._outdated = columns, RowSets(), {}
        self._seen: dict[int, _Held] = {}
        self._version: Array = np.zeros(shape[1], dtype=np.int64)  # versions begin with 1
        self._tick, self._changed_at = 0, np.zeros(shape[1], dtype=np.int64)
        self._kept = OrderedDict()
        self._possible: Array = np.zeros(shape, dtype=np.bool_)
        self._too_full: Array = np.zeros((LEVELS, *shape, HOURS), dtype=np.uint8)

    def _write(self, columns: Columns, changed: list[int], outdated: Iterable[int]) -> None:
        """Takes over these rows; of those that changed only what their residents changed in."""
        anew, written = set(outdated), []
        held: dict[tuple[int, int], GpuFacts] = {}
        for row in [*changed, *(anew - set(changed))]:
            gpus = _gpus(columns, row)
            now: _Held = tuple((gpu.allocatable_mib, gpu.residents) for gpu in gpus)
            if now == self._seen.get(row, ()) and row not in anew:
                continue
            self._outdated.pop(row, None)
            self._seen[row] = now
            written.append(row)
            self._pools.put(row, frozenset(one.pool for gpu in gpus for one in gpu.residents))
            self._possible[:, row] = False
            held |= {(place, row): gpu for place, gpu in enumerate(gpus) if gpu.residents}
        self._version[changed] = columns.node["version"][changed]
        if written:
            self._tick += 1
            self._changed_at[written] = self._tick
        if held:
            self._fill(held)

    def _fill(self, held: dict[tuple[int, int], GpuFacts]) -> None:
        """The tables of these GPUs, by place and row."""
        loads, profile_of = Loads(), self._profiles.get
        for gpu in held.values():
            loads.add(gpu.allocatable_mib, ((one.memory_mib, profile_of(one.pool)) for one in gpu.residents))
        places, rows = np.array(list(held), dtype=np.intp).T
        for first, tables in too_full(loads):
            at = slice(first, first + len(tables))
            self._too_full[:, places[at], rows[at]] = tables.transpose(1, 0, 2)
            self._possible[places[at], rows[at]] = tables.any(axis=(1, 2))


def _gpus(columns: Columns, row: int) -> tuple[GpuFacts, ...]:
    """Of the node in the row; nothing where there is none."""
    if row >= columns.rows or not columns.node["live"][row]:
        return ()
    return columns.facts[columns.names[row]].gpus
