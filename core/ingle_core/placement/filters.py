"""Filters: yes or no, with a reason. A filter is one function and one line in `FILTERS`.

Each looks at a `View` and answers with a boolean array: (rows,) about nodes, or (GPUs, rows) about GPUs. A node
passes GPU filters while enough of its GPUs pass all of them so far.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from ingle_core.facts.groups import Kind
from ingle_core.placement.reasons import Reason
from ingle_core.placement.view import Array, View

Filter = Callable[[View, Array], Array]  # (view, GPUs that passed so far)


def ready(view: View, _: Array) -> Array:
    """Inputs: the Node's Ready condition."""
    return view.node["ready"]


def uncordoned(view: View, _: Array) -> Array:
    """Inputs: the Node's `spec.unschedulable`."""
    return np.logical_not(view.node["cordoned"])


def fresh(view: View, _: Array) -> Array:
    """The agent was heard within `silent_after_s` and vouches for the node. Inputs: heartbeat, conditions."""
    return view.fresh


def whole(view: View, _: Array) -> Array:
    """Every engine on the node has its claim; one without (the ledger was restored from a backup, or lost) may take
    room that looks free. Inputs: pods bound to the node, the ledger's pods."""
    return view.node["whole"]


def product(view: View, passed: Array) -> Array:
    """The GPU's product is one of the ask's; an empty list allows all. Several GPUs are never MIG instances, since
    a process can use only one of those. Inputs: status product, ledger parent."""
    known = view.columns.products
    if view.ask.gpus > 1:
        passed = passed & (view.gpu["parent_at"] < 0)
    if not view.ask.products:
        return passed
    allowed = np.zeros(len(known) + 1, dtype=np.bool_)
    for name in view.ask.products:
        allowed[known.get(name, len(known))] = True
    allowed[len(known)] = False
    chosen: Array = np.take(allowed, view.gpu["product"])
    return chosen


def healthy(view: View, _: Array) -> Array:
    """Inputs: status health, and that the agent reports the GPU at all."""
    return view.gpu["healthy"]


def memory(view: View, _: Array) -> Array:
    """min(allocatable − Σ claims, measured free − claimed but not taken) ≥ awake MiB; for a spare allocatable ≥ awake."""
    enough: Array = view.left_mib >= 0
    return enough


def watts(view: View, passed: Array) -> Array:
    """Growth of Σ max(floor, claims) by the cheapest GPUs ≤ allotted − charged; growth 0 always fits. In W."""
    count = view.ask.gpus
    growth = np.where(passed, view.growth_w, 1 << 30)
    if count == 1:
        cheap: Array = (growth <= view.node["spare_w"]) | (growth == 0)
        return cheap
    if count > growth.shape[0]:
        return np.zeros_like(passed)
    spare_w = view.node["spare_w"]
    most = count * view.growth_w.max(axis=0).astype(np.int64)
    affordable: Array = (most <= spare_w) & (passed.sum(axis=0, dtype=np.int8) >= count)
    unsure = np.flatnonzero(~affordable)  # to sort is what costs: only where the dearest would not fit
    least = np.sort(growth[:, unsure], axis=0)[:count].sum(axis=0, dtype=np.int64)
    affordable[unsure] = (least <= spare_w[unsure]) | (least == 0)
    return np.broadcast_to(affordable, passed.shape)


def quiet(view: View, _: Array) -> Array:
    """The GPU's transition slot is free: nobody on it is starting, sleeping, waking or stopping. Inputs: ledger pods."""
    return np.logical_not(view.gpu["busy"])


def host_memory(view: View, passed: Array) -> Array:
    """A zone has the sleeper's MiB; the GPU's own zone where NUMA is Required. Inputs: ledger zones."""
    host_mib = view.ask.memory_mib.host
    if host_mib == 0:
        return passed
    if view.ask.numa == "Required":
        return view.host_near()
    somewhere: Array = np.asarray((view.zone_headroom_mib >= host_mib).any(axis=0))
    return np.broadcast_to(somewhere, passed.shape)


def one_zone(view: View, passed: Array) -> Array:
    """NUMA Required: enough GPUs in one zone. Inputs: status numa (never the GPU's index)."""
    if view.ask.gpus == 1 or view.ask.numa != "Required":
        return passed
    return in_near_set(view, passed, "zone")


def one_link_group(view: View, passed: Array) -> Array:
    """NVLink Required: enough GPUs each linked with all others, in one zone too where NUMA is Required."""
    if view.ask.gpus == 1 or view.ask.nvlink != "Required":
        return passed
    return in_near_set(view, passed, "both" if view.ask.numa == "Required" else "link")


def in_near_set(view: View, passed: Array, kind: Kind) -> Array:
    """GPUs that with enough others that passed make a set near each other: exact, a GPU passes if and only if it is
    in such a set."""
    some = view.largest_near(passed, kind) >= view.ask.gpus
    rows = np.flatnonzero(some)
    result = np.zeros_like(passed)
    mask = view.mask(passed)[rows]
    around = view.gpu[f"near_{kind}"][:, rows] & mask  # of those near me, how many are near each other
    others = view.columns.tables.largest[kind][view.node["sets_at"][rows] + around]
    result[:, rows] = passed[:, rows] & (others >= view.ask.gpus - 1)
    return result


NODE_FILTERS: Final[tuple[tuple[Reason, Filter], ...]] = (
    (Reason.NODE_NOT_READY, ready),
    (Reason.CORDONED, uncordoned),
    (Reason.AGENT_SILENT, fresh),
    (Reason.LEDGER_BEHIND, whole),
)
GPU_FILTERS: Final[tuple[tuple[Reason, Filter], ...]] = (
    (Reason.WRONG_PRODUCT, product),
    (Reason.GPU_UNHEALTHY, healthy),
    (Reason.INSUFFICIENT_MEMORY, memory),
    (Reason.INSUFFICIENT_WATTS, watts),
    (Reason.TRANSITION_BUSY, quiet),
    (Reason.INSUFFICIENT_HOST_MEMORY, host_memory),
    (Reason.NUMA_SPLIT, one_zone),
    (Reason.NVLINK_SPLIT, one_link_group),
)
