"""All nodes as one pod sees them: the columns, less what is assumed for other pods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingle_core.facts import Columns
from ingle_core.facts.groups import Kind
from ingle_core.placement.ask import Ask
from ingle_core.placement.context import NOTHING_ELSE, Context

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Assumed:
    """A choice that is on its way into a ledger. Memory (MiB) and watts per GPU; host memory in one zone."""

    pod_uid: str
    node: str
    gpus: tuple[str, ...]
    memory_mib: int
    watts: int
    host_zone: int | None = None
    host_mib: int = 0


class View:
    """Arrays of shape (GPUs, rows), (zones, rows) and (rows,), copied where assumptions change them."""

    def __init__(
        self,
        ask: Ask,
        columns: Columns,
        assumed: Sequence[Assumed],
        *,
        now_s: float,
        silent_after_s: float,
        context: Context = NOTHING_ELSE,
    ) -> None:
        rows = columns.rows
        self.ask = ask
        self.columns = columns
        self.context = context
        self.gpu: dict[str, Array] = {name: column[:, :rows] for name, column in columns.gpu.items()}
        self.node: dict[str, Array] = {name: column[:rows] for name, column in columns.node.items()}
        silent_s = now_s - self.node["heard_at_s"]
        self.fresh: Array = self.node["reporting"] & (silent_s <= silent_after_s)
        self.zone_headroom_mib: Array = columns.zone_headroom_mib[:, :rows]
        self.touched: Array = np.zeros(0, dtype=np.intp)  # rows that assumptions change
        if assumed:
            self._copy()
            self._subtract(assumed)
        charged_w = np.maximum(self.gpu["floor_w"], self.gpu["claimed_w"])
        after_w = np.maximum(self.gpu["floor_w"], self.gpu["claimed_w"] + ask.charge_w)
        self.growth_w: Array = after_w - charged_w
        self.left_mib: Array = self.gpu["headroom_mib"] - ask.charge_mib
        if ask.spare:
            self.left_mib = np.where(self.gpu["allocatable_mib"] >= ask.memory_mib.awake, self.left_mib, -1)

    def mask(self, passed: Array) -> Array:
        """Per row the whole GPUs that passed, bit i the i-th."""
        found: Array = np.where(passed, self.gpu["bit"], 0).sum(axis=0)
        return found

    def largest_near(self, passed: Array, kind: Kind) -> Array:
        """Per row how many of the GPUs that passed are at most near each other."""
        found: Array = self.columns.tables.largest[kind][self.node["sets_at"] + self.mask(passed)]
        return found

    def host_near(self) -> Array:
        """Per GPU: its own NUMA zone has room for the sleeping replica."""
        at, host_mib = self.gpu["zone_at"], self.ask.memory_mib.host
        near: Array = (at >= 0) & (self.gpu["zone_room_mib"] >= host_mib)
        if len(self.touched):
            at = at[:, self.touched]
            room = np.take_along_axis(self.zone_headroom_mib[:, self.touched], np.maximum(at, 0), axis=0)
            near[:, self.touched] = (at >= 0) & (room >= host_mib)
        return near

    def _copy(self) -> None:
        for name in ("headroom_mib", "claimed_w", "busy"):
            self.gpu[name] = self.gpu[name].copy()
        for name in ("spare_w", "idle_mib", "fetches"):
            self.node[name] = self.node[name].copy()
        self.zone_headroom_mib = self.zone_headroom_mib.copy()

    def _same_power(self, at: int, row: int) -> Array:
        """The MIG instances of the parent of this one, and that: one set of watts."""
        parent = self.gpu["parent_at"][at, row]
        places = np.arange(self.gpu["parent_at"].shape[0])
        found: Array = places[(self.gpu["parent_at"][:, row] == parent) | (places == parent)]
        return found

    def _subtract(self, assumed: Sequence[Assumed]) -> None:
        """Many at once, for each would cost some 20 µs; those on MIG instances one by one, since their watts are shared."""
        cells: list[tuple[int, int, int, int]] = []  # place, row, MiB, W
        zones: list[tuple[int, int, int]] = []  # place, row, MiB
        rows: list[int] = []
        for one in assumed:
            row = self.columns.row.get(one.node)
            if row is None:
                continue
            facts, place = self.columns.facts[one.node], self.columns.place[one.node]
            rows.append(row)
            places = [place[uuid] for uuid in one.gpus if uuid in place]
            if any(facts.gpus[i].parent for i in places):
                self._subtract_shared(one, row, places)
            else:
                cells += [(i, row, one.memory_mib, one.watts) for i in places]
            if one.host_zone is not None:
                zones += [
                    (i, row, one.host_mib) for i, zone in enumerate(facts.zones) if zone.zone == one.host_zone
                ]
        self.touched = np.array(sorted(set(rows)), dtype=np.intp)
        np.add.at(self.node["fetches"], rows, 1)
        if cells:
            self._subtract_cells(*np.array(cells).T)
        if zones:
            place, row_at, mib = np.array(zones).T
            np.subtract.at(self.zone_headroom_mib, (place, row_at), mib)

    def _subtract_cells(self, places: Array, rows: Array, mib: Array, watts: Array) -> None:
        """From whole GPUs, some of them perhaps several times: what a GPU is charged grows by all its watts together."""
        claimed, floor = self.gpu["claimed_w"], self.gpu["floor_w"]
        width = claimed.shape[1]
        place, row = np.divmod(np.array(sorted(set((places * width + rows).tolist()))), width)
        before = np.maximum(floor[place, row], claimed[place, row])
        np.add.at(claimed, (places, rows), watts)
        after = np.maximum(floor[place, row], claimed[place, row])
        np.subtract.at(self.node["spare_w"], row, after - before)
        np.subtract.at(self.gpu["headroom_mib"], (places, rows), mib)
        np.subtract.at(self.node["idle_mib"], rows, mib)
        self.gpu["busy"][places, rows] = True

    def _subtract_shared(self, one: Assumed, row: int, places: Sequence[int]) -> None:
        claimed, floor = self.gpu["claimed_w"], self.gpu["floor_w"]
        for i in places:
            grown = max(floor[i, row], claimed[i, row] + one.watts) - max(floor[i, row], claimed[i, row])
            self.node["spare_w"][row] -= grown
            claimed[self._same_power(i, row), row] += one.watts
            self.gpu["headroom_mib"][i, row] -= one.memory_mib
            self.gpu["busy"][i, row] = True
            self.node["idle_mib"][row] -= one.memory_mib
