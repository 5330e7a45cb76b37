"""Which GPUs of one node, and which NUMA zone for the sleeper's host memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ingle_core.facts.groups import Candidates, candidates
from ingle_core.placement.reasons import Reason
from ingle_core.placement.view import Array, View


class Choice(NamedTuple):
    """Positions of GPUs on the node, in order; the zone's number, None where no host memory is asked."""

    places: tuple[int, ...]
    host_zone: int | None


def choose(view: View, row: int, passed: Array, scores: Array) -> Choice | Reason:
    """The best set of GPUs of row `row` that fits in watts and host memory, or why there is none.

    Every set of the GPUs that passed is looked at. Nearest first (see `_nearness`), then the best scores, then the
    cheapest in watts, then the first on the node.
    """
    if view.ask.gpus == 1:
        return _choose_one(view, row, passed, scores)
    sets = _sets(view, row)
    near = _nearness(view, sets)
    usable = passed[sets.places, row].all(axis=1) & _allowed(view, sets)
    growth_w = view.growth_w[sets.places, row].sum(axis=1)
    affordable = usable & ((growth_w == 0) | (growth_w <= view.node["spare_w"][row]))
    kept = np.flatnonzero(affordable)
    worth = np.round(scores[sets.places[kept], row].sum(axis=1, dtype=np.float64), 5)
    keys = [growth_w[kept], -worth, *(key[kept] for key in reversed(near))]
    for at in kept[np.lexsort(keys)]:
        places = tuple(sets.places[at].tolist())
        fits, zone = _host_zone(view, row, places)
        if fits:
            return Choice(places, zone)
    return Reason.INSUFFICIENT_HOST_MEMORY if len(kept) else Reason.INSUFFICIENT_WATTS


def _choose_one(view: View, row: int, passed: Array, scores: Array) -> Choice | Reason:
    """The same for a single GPU, which may be a MIG instance: it is near itself. Few numbers, so without numpy."""
    growth_w, spare_w = view.growth_w[:, row].tolist(), int(view.node["spare_w"][row])
    kept = [i for i, one in enumerate(passed[:, row].tolist()) if one and growth_w[i] <= max(0, spare_w)]
    worth = np.round(scores[:, row].astype(np.float64), 5).tolist()
    for place in sorted(kept, key=lambda i: (-worth[i], growth_w[i])):
        fits, zone = _host_zone(view, row, (place,))
        if fits:
            return Choice((place,), zone)
    return Reason.INSUFFICIENT_HOST_MEMORY if kept else Reason.INSUFFICIENT_WATTS


def _sets(view: View, row: int) -> Candidates:
    """All sets of several GPUs, as large as asked, by position on the node."""
    groups = view.columns.groupings[name_at(view, row)]
    found = candidates(groups.shape, view.ask.gpus)
    return found._replace(places=np.array(groups.places, dtype=np.intp)[found.places])


def _nearness(view: View, sets: Candidates) -> list[Array]:
    """Least first: pairs without NVLink, NUMA zones spanned, PCIe distance of the pairs without NVLink.

    NVLink before zones, since GPUs that are linked do not talk through the zones. What is asked as None is left out.
    """
    numa, nvlink = view.ask.numa != "None", view.ask.nvlink != "None"
    keys = [sets.unlinked] if nvlink else []
    keys += [sets.zones] if numa else []
    return [*keys, sets.distance] if keys else []


def _allowed(view: View, sets: Candidates) -> Array:
    """What Required leaves of the sets; a single GPU is always near itself."""
    allowed: Array = np.ones(len(sets.places), dtype=np.bool_)
    if view.ask.nvlink == "Required":
        allowed &= sets.unlinked == 0
    if view.ask.numa == "Required":
        allowed &= sets.zones <= 1
    return allowed


def _host_zone(view: View, row: int, places: tuple[int, ...]) -> tuple[bool, int | None]:
    """Own zone of the GPUs first (only that where Required), else the zone with most room."""
    host_mib = view.ask.memory_mib.host
    if host_mib == 0:
        return True, None
    rooms = view.zone_headroom_mib[:, row].tolist()
    near = (
        [] if view.ask.numa == "None" else sorted({int(view.gpu["zone_at"][i, row]) for i in places} - {-1})
    )
    far = [] if view.ask.numa == "Required" else sorted(range(len(rooms)), key=lambda at: -rooms[at])
    zones = view.columns.facts[name_at(view, row)].zones
    for at in [*near, *far]:
        if at < len(zones) and rooms[at] >= host_mib:
            return True, zones[at].zone
    return False, None


def name_at(view: View, row: int) -> str:
    """Name of the node in row `row`."""
    return view.columns.names[row]
