"""Which GPUs of one node, and which NUMA zone for the sleeper's host memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ingle_core.placement.reasons import Reason
from ingle_core.placement.view import Array, View


class Choice(NamedTuple):
    """Positions of GPUs on the node, in order; the zone's number, None where no host memory is asked."""

    places: tuple[int, ...]
    host_zone: int | None


def choose(view: View, row: int, passed: Array, scores: Array) -> Choice | Reason:
    """The best group of GPUs of row `row` that fits in watts and host memory, or why there is none.

    Groups are tried from the nearest GPUs to any; within a group the best scores, then the cheapest in watts.
    """
    why = Reason.INSUFFICIENT_WATTS
    for members in _groups(view, row, np.flatnonzero(passed[:, row]).tolist(), scores):
        for places in _picks(view, row, members, scores):
            growth_w = int(view.growth_w[places, row].sum())
            if growth_w > 0 and growth_w > view.node["spare_w"][row]:
                continue
            fits, zone = _host_zone(view, row, places)
            if fits:
                return Choice(tuple(sorted(places)), zone)
            why = Reason.INSUFFICIENT_HOST_MEMORY
    return why


def _picks(view: View, row: int, members: list[int], scores: Array) -> Iterator[list[int]]:
    count = view.ask.gpus
    yield sorted(members, key=lambda i: (-scores[i, row], i))[:count]
    if count > 1:
        yield sorted(members, key=lambda i: (view.growth_w[i, row], i))[:count]


def _groups(view: View, row: int, places: list[int], scores: Array) -> Iterator[list[int]]:
    """Groups large enough, nearest kind first, within a kind the best first."""
    count = view.ask.gpus
    if count == 1:
        yield places
        return
    for kind in _kinds(view):
        groups: dict[int, list[int]] = {}
        for i in places:
            groups.setdefault(0 if kind == "any" else int(view.gpu[kind][i, row]), []).append(i)
        large = [members for number, members in groups.items() if number >= 0 and len(members) >= count]
        yield from sorted(
            large, key=lambda m: (-sum(sorted((scores[i, row] for i in m), reverse=True)[:count]), m)
        )


def _kinds(view: View) -> list[str]:
    numa, nvlink = view.ask.numa, view.ask.nvlink
    kinds = ["joint_group"] if numa != "None" and nvlink != "None" else []
    if nvlink != "None" and numa != "Required":
        kinds.append("link_group")
    if numa != "None" and nvlink != "Required":
        kinds.append("zone_group")
    return kinds if "Required" in (numa, nvlink) else [*kinds, "any"]


def _host_zone(view: View, row: int, places: list[int]) -> tuple[bool, int | None]:
    """Own zone of the GPUs first (only that where Required), else the zone with most room."""
    host_mib = view.ask.memory_mib.host
    if host_mib == 0:
        return True, None
    rooms = view.zone_headroom_mib[:, row]
    near = (
        [] if view.ask.numa == "None" else sorted({int(view.gpu["zone_at"][i, row]) for i in places} - {-1})
    )
    far = [] if view.ask.numa == "Required" else np.argsort(-rooms, kind="stable").tolist()
    zones = view.columns.facts[name_at(view, row)].zones
    for at in [*near, *far]:
        if at < len(zones) and rooms[at] >= host_mib:
            return True, zones[at].zone
    return False, None


def name_at(view: View, row: int) -> str:
    """Name of the node in row `row`."""
    return view.columns.names[row]
