"""All nodes as numpy columns, kept up to date node by node.

Arrays are (GPUs, rows), (zones, rows) or (rows,), a row being a node: so a sum over a node's GPUs runs along memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingle_core.facts.gpunode import GpuNodeFacts
from ingle_core.facts.groups import Grouping, Tables, grouping
from ingle_core.facts.rowsets import RowSets

NO_LIMIT_W: Final = 1 << 30
SCATTERED_MOST: Final = 64
"""New names since they were last put side by side: fewer are not worth it."""
Array = NDArray[Any]
Table = dict[str, tuple[type, int]]  # name: (type, what is absent there)

_GPU_COLUMNS: Final[Table] = {
    "healthy": (np.bool_, 0),
    "busy": (np.bool_, 0),
    "headroom_mib": (np.int32, 0),
    "allocatable_mib": (np.int32, 0),
    "floor_w": (np.int32, 0),
    "claimed_w": (np.int32, 0),
    "product": (np.int32, 0),
    "zone_at": (np.int32, -1),  # position of the GPU's zone among the node's zones
    "zone_room_mib": (np.int32, -1),  # headroom of host memory in that zone
    "parent_at": (np.int32, -1),  # position of the GPU that a MIG instance is part of
    "bit": (np.int32, 0),  # of a whole GPU in masks of its node's GPUs
    "near_link": (np.int32, 0),  # mask of the GPUs it is linked with
    "near_zone": (np.int32, 0),  # of those in its zone
    "near_both": (np.int32, 0),
}
_NODE_COLUMNS: Final[Table] = {
    "live": (np.bool_, 0),
    "ready": (np.bool_, 0),
    "cordoned": (np.bool_, 0),
    "whole": (np.bool_, 0),
    "reporting": (np.bool_, 0),
    "heard_at_s": (np.float64, 0),
    "fetches": (np.int32, 0),
    "spare_w": (np.int32, 0),  # allotted − charged
    "idle_mib": (np.int32, 0),  # Σ headroom of healthy GPUs
    "version": (np.int64, 0),  # another one after each update
    "sets_at": (np.int64, 0),  # where the node's shape begins in `tables`
}


class Columns:
    """Struct of arrays over all nodes. Not thread-safe. Rows of removed nodes are used again."""

    def __init__(self, *, nodes: int = 64, gpus: int = 8, zones: int = 8) -> None:
        self.row: dict[str, int] = {}
        self.names: list[str] = []  # row -> node; a removed row keeps its old name
        self.facts: dict[str, GpuNodeFacts] = {}
        self.products: dict[str, int] = {}
        self.groupings: dict[str, Grouping] = {}
        self.place: dict[str, dict[str, int]] = {}  # node -> UUID of a GPU -> its position
        self.tables = Tables()
        self.weights = RowSets()  # rows by model
        self.compiled = RowSets()  # rows by key of a compile cache
        self._versions = 0
        self._free: list[int] = []
        self._rows = 0
        self._order: Array | None = None
        self._scattered = 0
        self.gpu = {name: _column((gpus, nodes), kind) for name, kind in _GPU_COLUMNS.items()}
        self.node = {name: _column((nodes,), kind) for name, kind in _NODE_COLUMNS.items()}
        self.zone_headroom_mib: Array = np.full((zones, nodes), -1, dtype=np.int32)

    @property
    def rows(self) -> int:
        """Rows in use, removed ones among them: look at arrays up to here."""
        return self._rows

    def update(self, name: str, facts: GpuNodeFacts) -> None:
        """Takes over all facts of one node; about 50 µs for 8 GPUs."""
        row = self.row.get(name)
        if row is None:
            row = self._new_row(name)
        self._widen(len(facts.gpus), len(facts.zones))
        self.facts[name] = facts
        self.place[name] = {gpu.uuid: i for i, gpu in enumerate(facts.gpus)}
        groups = self.groupings[name] = grouping(facts.gpus, self.groupings.get(name))
        self._write_gpus(row, facts, groups)
        self.zone_headroom_mib[:, row] = -1
        for i, zone in enumerate(facts.zones):
            self.zone_headroom_mib[i, row] = zone.headroom_mib
        charged_w = sum(max(gpu.floor_w, gpu.claimed_w) for gpu in facts.gpus if not gpu.parent)
        spare_w = NO_LIMIT_W if facts.allotted_w is None else facts.allotted_w - charged_w
        idle_mib = sum(max(0, gpu.headroom_mib) for gpu in facts.gpus if gpu.healthy)
        told = (
            True,
            facts.ready,
            facts.cordoned,
            facts.whole,
            facts.reporting,
            facts.heard_at_s,
            facts.fetches,
        )
        self.weights.put(row, facts.weights)
        self.compiled.put(row, facts.compiled)
        node = (*told, spare_w, idle_mib, self._next_version(), self._sets_at(groups))
        for column, value in zip(_NODE_COLUMNS, node, strict=True):
            self.node[column][row] = value

    def remove(self, name: str) -> None:
        """Forgets a node; an unknown name is fine."""
        row = self.row.pop(name, None)
        if row is None:
            return
        del self.facts[name], self.groupings[name], self.place[name]
        self.node["live"][row] = False
        self.node["version"][row] = self._next_version()
        self.weights.put(row, frozenset())
        self.compiled.put(row, frozenset())
        for column, (_, absent) in _GPU_COLUMNS.items():
            self.gpu[column][:, row] = absent
        self._free.append(row)
        self._order = None

    def rows_of(self, names: Sequence[str]) -> Array:
        """The row of each name, −1 where there is none."""
        if self._scattered > max(SCATTERED_MOST, len(self.row) // 8):
            self._gather()
        return np.fromiter(map(self.row.get, names, repeat(-1)), dtype=np.intp, count=len(names))

    def name_order(self) -> Array:
        """For each row the place of its node's name in alphabetical order; the last tie-break."""
        if self._order is None:
            self._order = np.zeros(self._rows, dtype=np.int32)
            for place, name in enumerate(sorted(self.row)):
                self._order[self.row[name]] = place
        return self._order

    def _next_version(self) -> int:
        self._versions += 1
        return self._versions

    def _gather(self) -> None:
        """Copies names and rows side by side in memory: to look up thousands of them takes a third of the time."""
        numbers = [int(str(row)) for row in self.row.values()]  # new objects, one after the other
        self.row = dict(zip([name.encode().decode() for name in self.row], numbers, strict=True))
        self._scattered = 0

    def _new_row(self, name: str) -> int:
        if self._free:
            row = self._free.pop()
            self.names[row] = name
        else:
            row = self._rows
            self._rows += 1
            self.names.append(name)
            if self._rows > self._capacity:
                self._lengthen(2 * self._capacity)
        self.row[name] = row
        self._scattered += 1
        self._order = None
        return row

    def _sets_at(self, groups: Grouping) -> int:
        """Forgets shapes that no node has any more, once there are twice as many entries as were needed."""
        if self.tables.full:
            tables = Tables()
            for name, row in self.row.items():
                self.node["sets_at"][row] = tables.offset(self.groupings[name].shape)
            self.tables = tables
            tables.settle()
        return self.tables.offset(groups.shape)

    def _write_gpus(self, row: int, facts: GpuNodeFacts, groups: Grouping) -> None:
        zone_at = {zone.zone: i for i, zone in enumerate(facts.zones)}
        at = [zone_at.get(gpu.numa, -1) for gpu in facts.gpus]
        values: dict[str, Sequence[int]] = {
            "healthy": [gpu.healthy for gpu in facts.gpus],
            "busy": [gpu.busy for gpu in facts.gpus],
            "headroom_mib": [gpu.headroom_mib for gpu in facts.gpus],
            "allocatable_mib": [gpu.allocatable_mib for gpu in facts.gpus],
            "floor_w": [gpu.floor_w for gpu in facts.gpus],
            "claimed_w": [gpu.claimed_w for gpu in facts.gpus],
            "product": [self.products.setdefault(gpu.product, len(self.products)) for gpu in facts.gpus],
            "zone_at": at,
            "zone_room_mib": [-1 if place < 0 else facts.zones[place].headroom_mib for place in at],
            **groups.columns,
        }
        for column, (_, absent) in _GPU_COLUMNS.items():
            self.gpu[column][:, row] = absent
            self.gpu[column][: len(facts.gpus), row] = values[column]

    @property
    def _capacity(self) -> int:
        return len(self.node["live"])

    def _lengthen(self, nodes: int) -> None:
        for table, columns in ((_GPU_COLUMNS, self.gpu), (_NODE_COLUMNS, self.node)):
            for name, (_, absent) in table.items():
                columns[name] = _padded(columns[name], (*columns[name].shape[:-1], nodes), absent)
        self.zone_headroom_mib = _padded(self.zone_headroom_mib, (self.zone_headroom_mib.shape[0], nodes), -1)

    def _widen(self, gpus: int, zones: int) -> None:
        if gpus > self.gpu["healthy"].shape[0]:
            for name, (_, absent) in _GPU_COLUMNS.items():
                self.gpu[name] = _padded(self.gpu[name], (gpus, self._capacity), absent)
        if zones > self.zone_headroom_mib.shape[0]:
            self.zone_headroom_mib = _padded(self.zone_headroom_mib, (zones, self._capacity), -1)


def _column(shape: tuple[int, ...], kind: tuple[type, int]) -> Array:
    return np.full(shape, kind[1], dtype=kind[0])


def _padded(array: Array, shape: tuple[int, ...], absent: int) -> Array:
    wider: Array = np.full(shape, absent, dtype=array.dtype)
    wider[tuple(slice(0, n) for n in array.shape)] = array
    return wider
