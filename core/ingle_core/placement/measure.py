"""The arithmetic of `fragmentation.py`: a mix as arrays, and what a node's idle memory is worth to it."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingle_core.placement.mix import Mix

Array = NDArray[Any]

MILLI: Final = 1000
SEVERAL: Final = -1


class Idle(NamedTuple):
    """What is idle: arrays (GPUs, rows) and, CPU, (rows,). A GPU that is unhealthy or over-committed has nothing."""

    mib: Array
    allocatable_mib: Array
    product: Array
    cpu_milli: Array

    def at(self, rows: Any) -> Idle:
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


class Steps(NamedTuple):
    """What F depends on when one GPU loses memory, (rows, classes + 1): at k the sums over the k smallest classes.

    A GPU with x MiB idle fits the k(x) smallest classes, so that a table is all that a candidate needs. `usable`: Σ
    share of classes that fit the row now; `steady`: of these, those that need not this one GPU; `all_lost`: Σ share ×
    useful of those that do. Only for rows whose GPUs are of one `product`; that is `SEVERAL` for others.
    """

    usable: Array
    steady: Array
    all_lost: Array
    product: Array


class Measure:
    """A mix as arrays, smallest class first, for columns whose products have the given numbers."""

    def __init__(self, mix: Mix, products: dict[str, int]) -> None:
        shares = [(one, share) for one, share in zip(mix.classes, mix.shares, strict=True) if one.gpus > 0]
        shares.sort(key=lambda pair: pair[0].memory_mib)
        classes = [one for one, _ in shares]
        self.products = len(products)
        self.share_sum = sum(mix.shares)
        self.shares: Array = np.array([share for _, share in shares], dtype=np.float64)
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
        """Counted by how many classes each GPU has the memory for, so that no class looks at every GPU."""
        fitting = np.searchsorted(self.memory_mib, idle.mib, side="right")
        milli = idle.mib * (MILLI / np.maximum(idle.allocatable_mib, 1))
        shape = (len(self.shares), idle.mib.shape[1])
        gpus, useful = np.zeros(shape, dtype=np.int8), np.zeros(shape)
        for product in (0,) if self.all_allowed else np.unique(idle.product):
            mine = np.ones_like(idle.product, np.bool_) if self.all_allowed else idle.product == product
            rows = np.flatnonzero(mine.any(axis=0))
            gpus_more, useful_more = _from_largest(shape[0], fitting[:, rows], milli[:, rows], mine[:, rows])
            allowed = self.allowed[:, product, None]
            gpus[:, rows] += (allowed * gpus_more).astype(np.int8)
            useful[:, rows] += allowed * useful_more
        return Sums(gpus, useful, milli.sum(axis=0))

    def fragments(self, sums: Sums, cpu_milli: Array) -> Array:
        """F per row: Σ share × (all idle milli − those of GPUs that fit, where enough fit and the CPU is enough)."""
        usable = (sums.gpus >= self.count) & (cpu_milli >= self.cpu_milli)
        # not `@`: its threads wait milliseconds for a core on a busy machine
        of_use: Array = np.einsum("c,cr->r", self.shares, usable * sums.useful)
        found: Array = self.share_sum * sums.total - of_use
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

    def steps(self, sums: Sums, idle: Idle) -> Steps:
        """Their tables, one row a row."""
        product = _only_product(idle)
        usable = (sums.gpus >= self.count) & (idle.cpu_milli >= self.cpu_milli)
        if not self.all_allowed:
            usable &= self.allowed[:, np.maximum(product, 0)]
        share = usable * self.shares[:, None]
        pivotal = sums.gpus == self.count
        steady, all_lost = share * ~pivotal, share * pivotal * sums.useful
        return Steps(_cumulated(share), _cumulated(steady), _cumulated(all_lost), product)

    def growth_by_steps(self, steps: Steps, idle: Idle, rows: Array, places: Array, memory_mib: int) -> Array:
        """What F grows by where `memory_mib` is taken from GPU `places[i]` of `rows[i]`; no CPU is taken.

        With x idle before, a taken and k(x) classes that fit: a class that still fits loses a; one that fits no more
        loses x, or all that it had on the row where it needed this GPU; and a is idle no more.
        """
        mib = idle.mib[places, rows]
        scale = MILLI / np.maximum(idle.allocatable_mib[places, rows], 1)
        before = np.searchsorted(self.memory_mib, mib, side="right")
        after = np.searchsorted(self.memory_mib, mib - memory_mib, side="right")
        width = len(self.shares) + 1
        before, after = rows * width + before, rows * width + after
        usable, steady, all_lost = (one.reshape(-1) for one in (steps.usable, steps.steady, steps.all_lost))
        kept = memory_mib * scale * (usable.take(after) - self.share_sum)
        lost = (steady.take(before) - steady.take(after)) * mib * scale
        found: Array = kept + lost + all_lost.take(before) - all_lost.take(after)
        return found


def _from_largest(classes: int, fitting: Array, milli: Array, mine: Array) -> tuple[Array, Array]:
    """(classes, rows): GPUs of `mine` that fit the class, and milli idle on them; `fitting`: classes that each fits."""
    shape = (fitting.shape[1], classes + 1)
    cells = (fitting + np.arange(shape[0]) * shape[1])[mine]
    gpus = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
    useful = np.bincount(cells, weights=milli[mine], minlength=shape[0] * shape[1]).reshape(shape)
    return _summed_from_largest(gpus), _summed_from_largest(useful)


def _summed_from_largest(by_fitting: Array) -> Array:
    """(classes, rows): for class i the sum of what fits more than i classes."""
    found: Array = np.cumsum(by_fitting[:, :0:-1], axis=1, dtype=by_fitting.dtype)[:, ::-1].T
    return found


def _cumulated(by_class: Array) -> Array:
    """(rows, classes + 1): at k the sum over the first k classes."""
    found: Array = np.zeros((by_class.shape[1], len(by_class) + 1))
    np.cumsum(by_class.T, axis=1, out=found[:, 1:])
    return found


def _only_product(idle: Idle) -> Array:
    """Per row the product of all its GPUs with memory; `SEVERAL` where they differ."""
    there = idle.allocatable_mib > 0
    least = np.where(there, idle.product, np.iinfo(np.int32).max).min(axis=0)
    most = np.where(there, idle.product, SEVERAL).max(axis=0)
    found: Array = np.where(least == most, most, np.where(most == SEVERAL, 0, SEVERAL)).astype(np.intp)
    return found
