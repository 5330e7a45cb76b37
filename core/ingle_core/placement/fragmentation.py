"""Fragmentation: GPU memory that a typical ask could not use, and how a choice changes it.

The measure is that of Weng et al., Beware of Fragmentation (USENIX ATC 2023): for a class m of asks, all idle memory
of a node is a fragment where m does not fit, else only that of GPUs too small for m. A node's F is the mean over the
classes, by their shares. Unit: milli, a thousandth of one GPU's allocatable memory, so GPUs of all sizes count alike.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ingle_core.placement.measure import MILLI, Idle, Measure, Steps, Sums
from ingle_core.placement.mix import Cpu, Mix

if TYPE_CHECKING:
    from ingle_core.placement.ask import Ask
    from ingle_core.placement.view import View

Array = NDArray[Any]

LEVELS: Final = 100
SHAPES_KEPT: Final = 512
CHUNK: Final = 4096  # candidates computed at once: what fits in the processor's cache
WIDE_CHUNK: Final = 256  # the same where each class has its own row
PLENTY_MILLI: Final = 1 << 40


def level(growth_milli: Array) -> Array:
    """⌊100 × sigmoid(−growth of F ÷ 1000)⌋ ÷ 100, in [0, 1]; ½ where F stays.

    Coarse on purpose: with finer levels nodes that are about as good no longer tie, and packing gets worse.
    """
    return (_hundredths(growth_milli) / np.float32(LEVELS)).astype(np.float32)


class Fragmentation:
    """Scores by a mix; computes anew only rows whose idle memory or CPU changed. Bounded. Not thread-safe.

    Hand the same one to each `rank` over the same columns. Memory: about 70 B a class and node, 1 B a GPU and shape.
    """

    def __init__(self, mix: Mix) -> None:
        self.mix = mix
        self._products: dict[str, int] | None = None
        self._idle: Idle
        self._tick = 0
        self._changed_at: Array = np.zeros(0, dtype=np.int64)
        self._shapes: OrderedDict[Hashable, tuple[int, Array]] = OrderedDict()

    @property
    def rows(self) -> int:
        """How many it has figures of."""
        return len(self._changed_at)

    def gpu_scores(self, view: View, cpu: Cpu | None = None) -> Array:
        """(GPUs, rows): `level` of what F grows by where the pod takes this GPU; 0 where it does not fit.

        A pod that asks several GPUs takes the fullest that fit of the row, so all fitting GPUs of a row score alike.
        """
        self._observe(view, cpu)
        asked_milli = cpu.asked_milli if cpu else 0
        key = (*_shape(view.ask), asked_milli)
        return self._found(key, lambda rows: self._compute(view, rows, asked_milli), view.left_mib.shape)

    def node_scores(self, view: View, cpu: Cpu) -> Array:
        """(rows,): the same for a pod that asks CPU and no GPU; 0 where the CPU is not enough."""
        self._observe(view, cpu)
        asked_milli = cpu.asked_milli
        return self._found(asked_milli, lambda rows: self._of_cpu(rows, asked_milli), cpu.left_milli.shape)

    def fragments_milli(self, view: View, cpu: Cpu | None = None) -> Array:
        """(rows,): F of each node."""
        self._observe(view, cpu)
        return self._fragments.copy()

    def take_over(self, view: View) -> None:
        """Works ahead of the next call, which then has the rows that changed since."""
        self._observe(view, None)

    def behind(self, ask: Ask) -> int:
        """How many rows `gpu_scores` of this ask, without CPU, would compute, beside what changed since the last call."""
        at, _ = self._shapes.get((*_shape(ask), 0), (0, None))
        return int(np.count_nonzero(self._changed_at > at))

    def _observe(self, view: View, cpu: Cpu | None) -> None:
        idle, products = _idle(view, cpu), view.columns.products
        if self._products is not products or self._stale(idle):
            self._reset(products, idle)
            return
        changed = idle.changed(self._idle)
        self._idle = idle
        if len(changed):
            self._write(changed)

    def _stale(self, idle: Idle) -> bool:
        return len(self._products or ()) != self._measure.products or idle.mib.shape != self._idle.mib.shape

    def _reset(self, products: dict[str, int], idle: Idle) -> None:
        self._products, self._measure, self._idle = products, Measure(self.mix, products), idle
        classes, rows = len(self._measure.shares), idle.mib.shape[1]
        self._sums = Sums(np.zeros((classes, rows), np.int8), np.zeros((classes, rows)), np.zeros(rows))
        tables = [np.zeros((rows, classes + 1)) for _ in range(3)]
        self._steps = Steps(tables[0], tables[1], tables[2], np.zeros(rows, np.intp))
        self._fragments: Array = np.zeros(rows)
        self._changed_at, self._shapes = np.zeros(rows, dtype=np.int64), OrderedDict()
        self._write(np.arange(rows))

    def _write(self, changed: Array) -> None:
        self._tick += 1
        self._changed_at[changed] = self._tick
        for rows in map(_as_slice, _chunks(changed, WIDE_CHUNK)):
            idle = self._idle.at(rows)
            sums = self._measure.sums(idle)
            for column, values in zip(self._sums, sums, strict=True):
                column[..., rows] = values
            for table, values in zip(self._steps, self._measure.steps(sums, idle), strict=True):
                table[rows] = values
            self._fragments[rows] = self._measure.fragments(sums, idle.cpu_milli)

    def _found(self, key: Hashable, compute: Callable[[Array], Array], shape: tuple[int, ...]) -> Array:
        """What is known for this shape of pod, with the rows that changed since computed anew."""
        at, kept = self._shapes.pop(key, (0, np.zeros(shape, dtype=np.uint8)))
        for rows in _chunks(np.flatnonzero(self._changed_at > at)):
            kept[..., rows] = compute(rows)
        self._shapes[key] = self._tick, kept
        if len(self._shapes) > SHAPES_KEPT:
            self._shapes.popitem(last=False)
        found: Array = kept / np.float32(LEVELS)
        return found

    def _compute(self, view: View, rows: Array, asked_milli: int) -> Array:
        """(GPUs, rows): levels in hundredths."""
        idle, count, memory_mib = self._idle.at(rows), view.ask.gpus, view.ask.memory_mib.awake
        fits = (idle.mib >= memory_mib) & _product_asked(view)[idle.product]
        found: Array = np.zeros(fits.shape, dtype=np.uint8)
        if count == 1:
            place, row = np.nonzero(fits)
            found[place, row] = self._one_taken(rows[row], place, memory_mib, asked_milli)
        elif count <= len(fits):
            row = np.flatnonzero(fits.sum(axis=0) >= count)
            left_mib = np.where(fits, idle.mib, np.iinfo(np.int32).max)[:, row]
            places = np.argsort(left_mib, axis=0, kind="stable")[:count]
            found[:, row] = fits[:, row] * self._after(rows[row], places, memory_mib, asked_milli)
        return found

    def _one_taken(self, rows: Array, places: Array, memory_mib: int, asked_milli: int) -> Array:
        """Levels where a pod takes one GPU; by the steps, but for rows of several products and pods that ask CPU."""
        if asked_milli:
            return self._after(rows, places[None], memory_mib, asked_milli)
        growth = self._measure.growth_by_steps(self._steps, self._idle, rows, places, memory_mib)
        found = _hundredths(growth)
        mixed = np.flatnonzero(self._steps.product[rows] < 0)
        for at in _chunks(mixed):
            found[at] = self._after(rows[at], places[None, at], memory_mib, asked_milli)
        return found

    def _of_cpu(self, rows: Array, asked_milli: int) -> Array:
        left_milli = self._idle.cpu_milli[rows] - asked_milli
        after = self._measure.fragments(self._at(rows), left_milli)
        return np.where(left_milli >= 0, _hundredths(after - self._fragments[rows]), np.uint8(0))

    def _after(self, rows: Array, places: Array, memory_mib: int, asked_milli: int) -> Array:
        """Levels where `memory_mib` is taken from each of `places`, (count, len(rows)), one class after the other."""
        found: Array = np.zeros(len(rows), dtype=np.uint8)
        for at in _chunks(np.arange(len(rows)), WIDE_CHUNK):
            idle = self._idle.at(rows[at])
            sums = self._measure.taken(self._at(rows[at]), idle, places[:, at], memory_mib)
            growth = self._measure.fragments(sums, idle.cpu_milli - asked_milli) - self._fragments[rows[at]]
            found[at] = _hundredths(growth)
        return found

    def _at(self, rows: Array) -> Sums:
        return Sums(*(column[..., rows] for column in self._sums))


def _hundredths(growth_milli: Array) -> Array:
    found: Array = np.floor(LEVELS / (1.0 + np.exp(growth_milli / MILLI)) + 1e-6).astype(np.uint8)
    return found


def _shape(ask: Ask) -> tuple[Hashable, ...]:
    return (ask.memory_mib.awake, ask.gpus, frozenset(ask.products))


def _idle(view: View, cpu: Cpu | None) -> Idle:
    usable = view.gpu["healthy"] & (view.gpu["headroom_mib"] > 0)
    rows = view.columns.rows
    left_milli = (
        np.full(rows, PLENTY_MILLI, dtype=np.int64) if cpu is None else cpu.left_milli.astype(np.int64)
    )
    mib: Array = np.where(usable, view.gpu["headroom_mib"], np.int32(0))
    return Idle(mib, view.gpu["allocatable_mib"].copy(), view.gpu["product"].copy(), left_milli)


def _product_asked(view: View) -> Array:
    """By number of the product: the pod may take it."""
    known = view.columns.products
    asked: Array = np.full(max(1, len(known)), not view.ask.products)
    asked[[known[name] for name in view.ask.products if name in known]] = True
    return asked


def _as_slice(rows: Array) -> Any:
    """The same rows, as a slice where they are consecutive: those are copied much faster."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if last - first + 1 == len(rows) else rows


def _chunks(rows: Array, size: int = CHUNK) -> list[Array]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]
