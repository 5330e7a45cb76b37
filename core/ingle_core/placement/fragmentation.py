"""Fragmentation: GPU memory that a typical ask could not use, and how a choice changes it.

The measure is that of Weng et al., Beware of Fragmentation (USENIX ATC 2023): for a class m of asks, all idle memory
of a node is a fragment where m does not fit, else only that of GPUs too small for m. A node's F is the mean over the
classes, by their shares. Unit: milli, a thousandth of one GPU's allocatable memory, so GPUs of all sizes count alike.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingle_core.placement.mix import Cpu, Mix

if TYPE_CHECKING:
    from ingle_core.placement.view import View

Array = NDArray[Any]

MILLI: Final = 1000
LEVELS: Final = 100
SHAPES_KEPT: Final = 128
CHUNK: Final = 4096  # candidates computed at once: what fits in the processor's cache
PLENTY_MILLI: Final = 1 << 40


class Idle(NamedTuple):
    """What is idle: arrays (GPUs, rows) and, CPU, (rows,). A GPU that is unhealthy or over-committed has nothing."""

    mib: Array
    allocatable_mib: Array
    product: Array
    cpu_milli: Array

    def at(self, rows: Array) -> Idle:
        return Idle(*(column[..., rows] for column in self))

    def changed(self, before: Idle) -> Array:
        """The rows where something is not as before."""
        differs = [now != then for now, then in zip(self, before, strict=True)]
        return np.flatnonzero((differs[0] | differs[1] | differs[2]).any(axis=0) | differs[3])


class Sums(NamedTuple):
    """Per class and row: GPUs that fit and milli idle on them. Per row: milli idle on all GPUs."""

    gpus: Array
    useful: Array
    total: Array


class Measure:
    """A mix as arrays, for columns whose products have the given numbers."""

    def __init__(self, mix: Mix, products: dict[str, int]) -> None:
        shares = [(one, share) for one, share in zip(mix.classes, mix.shares, strict=True) if one.gpus > 0]
        classes = [one for one, _ in shares]
        self.products = len(products)
        self.share_sum = sum(mix.shares)
        self.shares: Array = np.array([share for _, share in shares])
        self.memory_mib: Array = np.array([one.memory_mib for one in classes], dtype=np.int32)
        self.count: Array = np.array([one.gpus for one in classes], dtype=np.int8)[:, None]
        self.cpu_milli: Array = np.array([one.cpu_milli for one in classes], dtype=np.int64)[:, None]
        self.allowed: Array = np.ones((len(classes), max(1, len(products))), dtype=np.bool_)
        for i, one in enumerate(classes):
            if one.products:
                self.allowed[i] = False
                self.allowed[i, [products[name] for name in one.products if name in products]] = True
        self.all_allowed = bool(self.allowed.all())

    def fits(self, idle_mib: Array, product: Array) -> Array:
        """(classes, …): memory and product suit the class."""
        enough: Array = idle_mib >= self.memory_mib.reshape(-1, *[1] * idle_mib.ndim)
        return enough if self.all_allowed else enough & self.allowed[:, product]

    def sums(self, idle: Idle) -> Sums:
        fits, milli = self.fits(idle.mib, idle.product), _milli(idle.mib, idle.allocatable_mib)
        return Sums(fits.sum(axis=1, dtype=np.int8), (fits * milli).sum(axis=1), milli.sum(axis=0))

    def fragments(self, sums: Sums, cpu_milli: Array) -> Array:
        """F per row: Σ share × (all idle milli − those of GPUs that fit, where enough fit and the CPU is enough)."""
        usable = (sums.gpus >= self.count) & (cpu_milli >= self.cpu_milli)
        found: Array = self.share_sum * sums.total - self.shares @ (usable * sums.useful)
        return found

    def taken(self, sums: Sums, idle: Idle, places: Array, memory_mib: int) -> Sums:
        """The sums after `memory_mib` is taken from each of `places`, (count, rows): GPUs of the row."""
        gpus, useful, total = sums.gpus.copy(), sums.useful.copy(), sums.total.copy()
        rows = np.arange(places.shape[1])
        for place in places:
            mib, product = idle.mib[place, rows], idle.product[place, rows]
            scale = MILLI / np.maximum(idle.allocatable_mib[place, rows], 1)
            fitted, fits = self.fits(mib, product), self.fits(mib - memory_mib, product)
            gpus -= fitted ^ fits
            useful += (fits * (mib - memory_mib) - fitted * mib) * scale
            total -= memory_mib * scale
        return Sums(gpus, useful, total)


def level(growth_milli: Array) -> Array:
    """⌊100 × sigmoid(−growth of F ÷ 1000)⌋ ÷ 100, in [0, 1]; ½ where F stays.

    Coarse on purpose: with finer levels nodes that are about as good no longer tie, and packing gets worse.
    """
    sigmoid = 1.0 / (1.0 + np.exp(growth_milli / MILLI))
    found: Array = np.floor(LEVELS * sigmoid + 1e-6) / LEVELS
    return found.astype(np.float32)


class Fragmentation:
    """Scores by a mix; computes anew only rows whose idle memory or CPU changed. Bounded. Not thread-safe.

    Hand the same one to each `rank` over the same columns.
    """

    def __init__(self, mix: Mix) -> None:
        self.mix = mix
        self._products: dict[str, int] | None = None
        self._idle: Idle
        self._tick = 0

    def gpu_scores(self, view: View, cpu: Cpu | None = None) -> Array:
        """(GPUs, rows): `level` of what F grows by where the pod takes this GPU; 0 where it does not fit.

        A pod that asks several GPUs takes the fullest that fit of the row, so all fitting GPUs of a row score alike.
        """
        self._observe(view, cpu)
        asked_milli = cpu.asked_milli if cpu else 0
        key = (view.ask.memory_mib.awake, view.ask.gpus, view.ask.products, asked_milli)
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
        self._fragments: Array = np.zeros(rows)
        self._changed_at: Array = np.zeros(rows, dtype=np.int64)
        self._shapes: OrderedDict[Hashable, tuple[int, Array]] = OrderedDict()
        self._write(np.arange(rows))

    def _write(self, changed: Array) -> None:
        self._tick += 1
        self._changed_at[changed] = self._tick
        for rows in _chunks(changed):
            idle = self._idle.at(rows)
            sums = self._measure.sums(idle)
            for column, values in zip(self._sums, sums, strict=True):
                column[..., rows] = values
            self._fragments[rows] = self._measure.fragments(sums, idle.cpu_milli)

    def _found(self, key: Hashable, compute: Callable[[Array], Array], shape: tuple[int, ...]) -> Array:
        """What is known for this shape of pod, with the rows that changed since computed anew."""
        at, scores = self._shapes.pop(key, (0, np.zeros(shape, dtype=np.float32)))
        for rows in _chunks(np.flatnonzero(self._changed_at > at)):
            scores[..., rows] = compute(rows)
        self._shapes[key] = self._tick, scores
        if len(self._shapes) > SHAPES_KEPT:
            self._shapes.popitem(last=False)
        return scores

    def _compute(self, view: View, rows: Array, asked_milli: int) -> Array:
        idle, count, memory_mib = self._idle.at(rows), view.ask.gpus, view.ask.memory_mib.awake
        fits = (idle.mib >= memory_mib) & _product_asked(view)[idle.product]
        scores: Array = np.zeros(fits.shape, dtype=np.float32)
        if count == 1:
            place, row = np.nonzero(fits)
            scores[place, row] = self._after(rows[row], place[None], memory_mib, asked_milli)
        elif count <= len(fits):
            row = np.flatnonzero(fits.sum(axis=0) >= count)
            left_mib = np.where(fits, idle.mib, np.iinfo(np.int32).max)[:, row]
            places = np.argsort(left_mib, axis=0, kind="stable")[:count]
            scores[:, row] = fits[:, row] * self._after(rows[row], places, memory_mib, asked_milli)
        return scores

    def _of_cpu(self, rows: Array, asked_milli: int) -> Array:
        left_milli = self._idle.cpu_milli[rows] - asked_milli
        after = self._measure.fragments(self._at(rows), left_milli)
        return np.where(left_milli >= 0, level(after - self._fragments[rows]), np.float32(0.0))

    def _after(self, rows: Array, places: Array, memory_mib: int, asked_milli: int) -> Array:
        idle = self._idle.at(rows)
        sums = self._measure.taken(self._at(rows), idle, places, memory_mib)
        return level(self._measure.fragments(sums, idle.cpu_milli - asked_milli) - self._fragments[rows])

    def _at(self, rows: Array) -> Sums:
        return Sums(*(column[..., rows] for column in self._sums))


def _idle(view: View, cpu: Cpu | None) -> Idle:
    usable = view.gpu["healthy"] & (view.gpu["headroom_mib"] > 0)
    rows = view.columns.rows
    left_milli = (
        np.full(rows, PLENTY_MILLI, dtype=np.int64) if cpu is None else cpu.left_milli.astype(np.int64)
    )
    mib: Array = np.where(usable, view.gpu["headroom_mib"], np.int32(0))
    return Idle(mib, view.gpu["allocatable_mib"].copy(), view.gpu["product"].copy(), left_milli)


def _milli(idle_mib: Array, allocatable_mib: Array) -> Array:
    found: Array = idle_mib * (MILLI / np.maximum(allocatable_mib, 1))
    return found


def _product_asked(view: View) -> Array:
    """By number of the product: the pod may take it."""
    known = view.columns.products
    asked: Array = np.full(max(1, len(known)), not view.ask.products)
    asked[[known[name] for name in view.ask.products if name in known]] = True
    return asked


def _chunks(rows: Array) -> list[Array]:
    return [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)]
