"""Which GPUs of one node are near each other: NVLink, NUMA zone, PCIe. Sets of GPUs are bit masks, bit i is GPU i.

A set may stand for tensor parallel where all its GPUs are linked with each other (`near` by link), are in one zone
(by zone), or both. Whether a set of k exists among any GPUs is looked up in a table of all 2^GPUs masks, made once
per shape and shared by all nodes of that shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingle_core.facts.gpunode import GpuFacts

Array = NDArray[Any]
Kind = Literal["link", "zone", "both"]
KINDS: Final[tuple[Kind, ...]] = ("link", "zone", "both")
MAX_GROUPED: Final = 16  # whole GPUs a node; more are in no group of several
LEAST_LIMIT: Final = 1 << 20
FAR_BUSES: Final = 1 << 8  # what another PCI domain counts as; a domain has 256 buses


@dataclass(frozen=True, slots=True)
class Shape:
    """Nearness of a node's whole GPUs. For each GPU: its zone's number within the node (−1 unknown), the mask of GPUs
    linked with it, and its PCI domain and bus as one number (−1 unknown)."""

    zones: tuple[int, ...]
    links: tuple[int, ...]
    buses: tuple[int, ...]

    def near(self, kind: Kind) -> tuple[int, ...]:
        """For each GPU the mask of the others it is near to. An unknown zone is near to none."""
        if kind == "link":
            return self.links
        same = tuple(
            sum(1 << j for j, other in enumerate(self.zones) if j != i and other == zone >= 0)
            for i, zone in enumerate(self.zones)
        )
        return same if kind == "zone" else tuple(a & b for a, b in zip(same, self.links, strict=True))


class Candidates(NamedTuple):
    """All sets of k GPUs of a shape, in the order of their positions. Arrays of (sets,), `places` of (sets, k).

    `zones`: NUMA zones spanned, an unknown one counts by itself. `unlinked`: pairs without NVLink. `distance`: Σ over
    those pairs of the gap between their PCI buses (numbers are given depth first, so that devices below one switch
    have near ones; another domain counts 256 and more); 0 where unknown.
    """

    places: Array
    zones: Array
    unlinked: Array
    distance: Array


def shape_of(
    uuids: Sequence[str], numa: Sequence[int], peers: Sequence[Sequence[str]], pcie: Sequence[str]
) -> Shape:
    """The shape of at most MAX_GROUPED GPUs. A link that only one side reports does not count; zones below 0 are
    unknown."""
    at = {uuid: i for i, uuid in enumerate(uuids)}
    told = [sum({1 << at[peer] for peer in set(p) if peer in at}) for p in peers]
    links = tuple(
        sum(1 << j for j in range(len(told)) if j != i and mine >> j & 1 and told[j] >> i & 1)
        for i, mine in enumerate(told)
    )
    numbers = {zone: i for i, zone in enumerate(dict.fromkeys(z for z in numa if z >= 0))}
    return Shape(tuple(numbers.get(zone, -1) for zone in numa), links, tuple(bus_of(text) for text in pcie))


def bus_of(pcie: str) -> int:
    """Domain × 256 + bus of a PCI address such as 00000000:18:00.0; −1 where it is none."""
    domain, _, rest = pcie.partition(":")
    try:
        return int(domain, 16) * FAR_BUSES + int(rest.partition(":")[0], 16)
    except ValueError:
        return -1


@lru_cache(maxsize=128)
def largest_sets(near: tuple[int, ...]) -> Array:
    """For each mask of GPUs the size of the largest set inside it whose GPUs are all near each other; int8."""
    count = len(near)
    largest: Array = np.zeros(1 << count, dtype=np.int8)
    whole: Array = np.ones(1, dtype=np.bool_)  # the mask itself is such a set
    for i, mine in enumerate(near):
        below = np.arange(1 << i)
        whole = np.concatenate([whole, whole & (below & ~mine == 0)])
    sizes = sum((np.arange(1 << count) >> i & 1 for i in range(count)), np.zeros(1 << count, dtype=np.int64))
    largest[whole] = sizes[whole]
    for i in range(count):  # what is inside a mask is inside every wider one
        halves = largest.reshape(-1, 2, 1 << i)
        np.maximum(halves[:, 1], halves[:, 0], out=halves[:, 1])
    return largest


@lru_cache(maxsize=64)
def candidates(shape: Shape, count: int) -> Candidates:
    """All sets of `count` GPUs; at most 12 870 (8 of 16)."""
    gpus = len(shape.zones)
    sets = list(combinations(range(gpus), count))
    places: Array = np.array(sets, dtype=np.int8).reshape(len(sets), count)
    zones = np.array([z if z >= 0 else MAX_GROUPED + i for i, z in enumerate(shape.zones)], dtype=np.int8)
    spanned = np.sort(zones[places], axis=1)
    unlinked: Array = np.zeros(len(sets), dtype=np.int32)
    distance: Array = np.zeros(len(sets), dtype=np.int64)
    apart, gap = _pairs(shape)
    for i, j in combinations(range(count), 2):
        a, b = places[:, i], places[:, j]
        unlinked += apart[a, b]
        distance += gap[a, b]
    return Candidates(places, 1 + (np.diff(spanned, axis=1) != 0).sum(axis=1), unlinked, distance)


def _pairs(shape: Shape) -> tuple[Array, Array]:
    """For each pair: whether it has no NVLink, and then the gap between its buses."""
    gpus = len(shape.links)
    linked = np.array([[mine >> j & 1 for j in range(gpus)] for mine in shape.links], dtype=np.int32)
    apart: Array = 1 - linked.reshape(gpus, gpus)
    buses = np.array(shape.buses, dtype=np.int64)
    known = buses >= 0
    gap = np.abs(buses[:, None] - buses[None, :]) * (known[:, None] & known[None, :])
    return apart, gap * apart


class Grouping(NamedTuple):
    """A node's shape, the positions of its whole GPUs in the shape's order, and columns that follow from them."""

    shape: Shape
    places: tuple[int, ...]
    columns: dict[str, list[int]]
    source: tuple[Any, ...]


def grouping(gpus: Sequence[GpuFacts], before: Grouping | None = None) -> Grouping:
    """Groups of a node's GPUs; `before` is given back where nothing changed. MIG instances and their parents are in
    none: a process can use one instance only."""
    source = tuple((gpu.uuid, gpu.numa, gpu.nvlink_peers, gpu.pcie, gpu.parent) for gpu in gpus)
    if before is not None and before.source == source:
        return before
    position = {gpu.uuid: i for i, gpu in enumerate(gpus)}
    split = {gpu.parent for gpu in gpus if gpu.parent}
    whole = [i for i, gpu in enumerate(gpus) if not gpu.parent and gpu.uuid not in split][:MAX_GROUPED]
    members = [gpus[i] for i in whole]
    shape = shape_of(
        [gpu.uuid for gpu in members],
        [gpu.numa for gpu in members],
        [gpu.nvlink_peers for gpu in members],
        [gpu.pcie for gpu in members],
    )
    columns = {"parent_at": [position.get(gpu.parent, -1) for gpu in gpus]}
    by_bit = {"bit": [1 << bit for bit in range(len(whole))]}
    by_bit |= {f"near_{kind}": list(shape.near(kind)) for kind in KINDS}
    for name, values in by_bit.items():
        columns[name] = [0] * len(gpus)
        for at, value in zip(whole, values, strict=True):
            columns[name][at] = value
    return Grouping(shape, tuple(whole), columns, source)


class Tables:
    """`largest_sets` of many shapes one after another, so that one numpy lookup answers for all nodes."""

    def __init__(self) -> None:
        self._offsets: dict[Shape, int] = {}
        self._limit = LEAST_LIMIT
        self.largest: dict[Kind, Array] = {kind: np.zeros(1, dtype=np.int8) for kind in KINDS}

    @property
    def full(self) -> bool:
        """True when there are so many entries that those of shapes without a node should go."""
        return len(self.largest["link"]) > self._limit

    def settle(self) -> None:
        """Says that all entries are needed now."""
        self._limit = max(LEAST_LIMIT, 2 * len(self.largest["link"]))

    def offset(self, shape: Shape) -> int:
        """Where the shape's entries begin, one for each of its 2^GPUs masks; made on first sight."""
        shape = replace(shape, buses=())
        found = self._offsets.get(shape)
        if found is None:
            found = self._offsets[shape] = len(self.largest["link"])
            for kind in KINDS:
                added = largest_sets(shape.near(kind))
                self.largest[kind] = np.concatenate([self.largest[kind], added])
        return found
